package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"vifplug/bridge/network"
	"vifplug/hotplug"
	"vifplug/hotplug/toolstack"
)

// maxNIC bounds what is said of a NIC, in bytes.
const maxNIC = 64 << 10

func (s *Server) nicRoutes(mux *http.ServeMux) {
	mux.HandleFunc("POST /v1/domains/{domain}/nics", s.write(s.postNIC))
	mux.HandleFunc("POST /v1/nics/{name}/move", s.write(s.postMove))
	mux.HandleFunc("POST /v1/nics/{name}/path", s.write(s.postPath))
	mux.HandleFunc("DELETE /v1/nics/{name}", s.write(s.deleteNIC))
}

func (s *Server) tools() *toolstack.Toolstack { return toolstack.New(s.opt.Engine) }

// postNIC attaches a NIC, and answers when it is plugged or cannot be; ?wait=0s when its nodes are written.
func (s *Server) postNIC(w http.ResponseWriter, r *http.Request) {
	var n toolstack.NIC
	wait, err := waitOf(r.URL.Query())
	if err == nil {
		err = content(w, r, &n)
	}
	if err != nil {
		refuse(w, r, http.StatusBadRequest, err)
		return
	}
	k, err := s.tools().Attach(r.Context(), r.PathValue("domain"), n)
	if err != nil {
		s.refuseNIC(w, r, err)
		return
	}
	s.opt.Logger.Info("attached", "vif", k.VIF(), "network", n.Network)
	if wait == 0 {
		answer(w, http.StatusAccepted, hotplug.NICStatus{VIF: k.VIF(), Domain: hotplug.Domain{ID: uint16(k.Front)}, Device: k.Device, State: hotplug.Seen, Since: time.Now()})
		return
	}
	if err := s.follow(r.Context(), k, wait); err != nil {
		s.refuseNIC(w, r, fmt.Errorf("%s is attached, but not plugged: %w", k, err))
		return
	}
	s.answerNIC(w, r, http.StatusCreated, k)
}

// postMove takes a NIC to another network, and answers when it is there or cannot be.
func (s *Server) postMove(w http.ResponseWriter, r *http.Request) {
	var to toolstack.Place
	if err := content(w, r, &to); err != nil {
		refuse(w, r, http.StatusBadRequest, err)
		return
	}
	k, err := s.nic(r.PathValue("name"))
	if err == nil {
		err = s.tools().Move(r.Context(), k, to)
	}
	if err != nil {
		s.refuseNIC(w, r, err)
		return
	}
	s.opt.Logger.Info("moved", "vif", k.VIF(), "network", to.Network)
	if err := s.follow(r.Context(), k, PlugWait); err != nil {
		s.refuseNIC(w, r, fmt.Errorf("%s is to move, but is not plugged there: %w", k, err))
		return
	}
	s.answerNIC(w, r, http.StatusOK, k)
}

// deleteNIC detaches a NIC, and answers when it is gone or does not go.
func (s *Server) deleteNIC(w http.ResponseWriter, r *http.Request) {
	force := r.URL.Query().Get("force")
	if force != "" && force != "0" && force != "1" {
		refuse(w, r, http.StatusBadRequest, fmt.Errorf("force=%q: want 0 or 1", force))
		return
	}
	k, err := s.nic(r.PathValue("name"))
	if err == nil {
		err = s.tools().Detach(r.Context(), k, force == "1")
	}
	if err == nil {
		err = s.gone(r.Context(), k)
	}
	if err != nil {
		s.refuseNIC(w, r, err)
		return
	}
	s.opt.Logger.Info("detached", "vif", k.VIF())
	w.WriteHeader(http.StatusNoContent)
}

// nic finds the NIC of a name: the kernel's vifFE.N, or its device's present one. One that the engine has not seen yet is the store's to know.
func (s *Server) nic(name string) (hotplug.Key, error) {
	if x, ok := s.opt.Engine.Explain(name); ok {
		return hotplug.ParseVIF(x.VIF)
	}
	if k, err := hotplug.ParseVIF(name); err == nil {
		return k, nil
	}
	var names []string
	for _, n := range s.opt.Engine.Status() {
		names = append(names, n.VIF)
	}
	if near := network.Nearest(name, names); near != "" {
		return hotplug.Key{}, fmt.Errorf("%w: no NIC is called %q. Did you mean %s?", errNoNIC, name, near)
	}
	return hotplug.Key{}, fmt.Errorf("%w: no NIC is called %q. There is none", errNoNIC, name)
}

var errNoNIC = errors.New("no such NIC")

// follow waits until a NIC is plugged as its nodes say now.
func (s *Server) follow(ctx context.Context, k hotplug.Key, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	err := s.opt.Engine.Follow(ctx, k)
	if err != nil && s.ctx.Err() != nil {
		return hotplug.ErrStopping
	}
	return err
}

// gone has a port that netback left behind released, and waits until the engine has seen the NIC go.
func (s *Server) gone(ctx context.Context, k hotplug.Key) error {
	ctx, cancel := context.WithTimeout(ctx, PlugWait)
	defer cancel()
	events := s.opt.Engine.Events().Subscribe(^uint64(0)) // new ones alone
	defer events.Close()
	if err := s.opt.Engine.Unplug(ctx, k); err != nil {
		return err
	}
	for {
		if x, known := s.opt.Engine.Explain(k.VIF()); !known || x.State == hotplug.Gone {
			return nil
		}
		select {
		case <-s.ctx.Done():
			return hotplug.ErrStopping
		case <-ctx.Done():
			return fmt.Errorf("the nodes of %s are gone, but netback keeps its device. Look for xen-netback in the kernel log", k)
		case <-events.Ready():
			events.Take()
		}
	}
}

func (s *Server) answerNIC(w http.ResponseWriter, r *http.Request, code int, k hotplug.Key) {
	x, ok := s.opt.Engine.Explain(k.VIF())
	if !ok {
		refuse(w, r, http.StatusConflict, fmt.Errorf("%s has just gone", k))
		return
	}
	answer(w, code, x.NICStatus)
}

// refuseNIC answers why a NIC is not as asked.
func (s *Server) refuseNIC(w http.ResponseWriter, r *http.Request, err error) {
	code := http.StatusConflict
	switch {
	case errors.Is(err, hotplug.ErrStopping):
		code = http.StatusServiceUnavailable
	case errors.Is(err, toolstack.ErrUnknown), errors.Is(err, errNoNIC):
		code = http.StatusNotFound
	case errors.Is(err, toolstack.ErrArgument):
		code = http.StatusBadRequest
	}
	refuse(w, r, code, err)
}

// content reads a body of JSON that says nothing unknown.
func content(w http.ResponseWriter, r *http.Request, into any) error {
	in := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxNIC))
	in.DisallowUnknownFields()
	if err := in.Decode(into); err != nil {
		return fmt.Errorf("the body is not as docs/api.md has it: %w", err)
	}
	return nil
}

// waitOf reads how long to wait.
func waitOf(q url.Values) (time.Duration, error) {
	text := q.Get("wait")
	if text == "" {
		return PlugWait, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("wait=%q is no duration such as 30s or 0s", text)
	}
	return d, nil
}

// Attach gives a guest a NIC, and waits until it is plugged; not, for a wait of 0.
func (c *Client) Attach(ctx context.Context, domain string, n toolstack.NIC, wait time.Duration) (hotplug.NICStatus, error) {
	var s hotplug.NICStatus
	return s, c.nic(ctx, "/v1/domains/"+url.PathEscape(domain)+"/nics?wait="+url.QueryEscape(wait.String()), n, &s)
}

// Move takes a NIC to another network, and waits until it is there.
func (c *Client) Move(ctx context.Context, vif string, to toolstack.Place) (hotplug.NICStatus, error) {
	var s hotplug.NICStatus
	return s, c.nic(ctx, "/v1/nics/"+url.PathEscape(vif)+"/move", to, &s)
}

// Detach takes a NIC away, and waits until it is gone. force does so also where the guest does not close its side.
func (c *Client) Detach(ctx context.Context, vif string, force bool) error {
	path := "/v1/nics/" + url.PathEscape(vif)
	if force {
		path += "?force=1"
	}
	resp, err := c.do(ctx, http.MethodDelete, path)
	if err == nil {
		err = resp.Body.Close()
	}
	return err
}

// nic sends what is wanted of a NIC.
func (c *Client) nic(ctx context.Context, path string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("control: %s: %w", path, err)
	}
	resp, err := c.send(ctx, http.MethodPost, path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // reading is over
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("control: %s: answer: %w", path, err)
	}
	return nil
}
