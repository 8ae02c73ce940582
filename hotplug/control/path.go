package control

import (
	"context"
	"net/http"
	"net/url"

	"vifplug/hotplug"
	"vifplug/hotplug/paths"
)

// PathWish is which path a NIC's frames are to take; "": as its network and the host have it.
type PathWish struct {
	Path paths.Path `json:"path"`
}

// postPath has a NIC's frames take a path, and answers when they do, or when it is known that they cannot: that is no error.
func (s *Server) postPath(w http.ResponseWriter, r *http.Request) {
	var to PathWish
	if err := content(w, r, &to); err != nil {
		refuse(w, r, http.StatusBadRequest, err)
		return
	}
	k, err := s.nic(r.PathValue("name"))
	if err == nil {
		err = s.tools().SetPath(r.Context(), k, to.Path)
	}
	if err == nil {
		err = s.follow(r.Context(), k, PlugWait)
	}
	if err == nil {
		err = s.settled(r.Context(), k)
	}
	if err != nil {
		s.refuseNIC(w, r, err)
		return
	}
	s.opt.Logger.Info("path", "vif", k.VIF(), "path", string(to.Path))
	s.answerNIC(w, r, http.StatusOK, k)
}

// settled waits until it is known which path a NIC's frames take.
func (s *Server) settled(ctx context.Context, k hotplug.Key) error {
	ctx, cancel := context.WithTimeout(ctx, PlugWait)
	defer cancel()
	return s.opt.Engine.PathsSettled(ctx, k)
}

// SetPath has a NIC's frames take a path, and waits until they do, or cannot. What the answer says of it is what they take.
func (c *Client) SetPath(ctx context.Context, vif string, p paths.Path) (hotplug.NICStatus, error) {
	var s hotplug.NICStatus
	return s, c.nic(ctx, "/v1/nics/"+url.PathEscape(vif)+"/path", PathWish{p}, &s)
}
