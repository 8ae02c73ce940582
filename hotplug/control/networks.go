package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"vifplug/bridge/host"
	"vifplug/bridge/network"
)

// Networks carries declared networks out. [host.Manager] is the real one.
type Networks interface {
	Applied() (network.Spec, bool)
	Pending() (host.Pending, bool)
	Diff() ([]network.Difference, error)
	Apply(context.Context, network.Spec, host.ApplyOptions) (host.Result, error)
	Confirm(context.Context) error
	Rollback(ctx context.Context, why string) error
}

// NetworksStatus is the answer to GET /v1/networks.
type NetworksStatus struct {
	Applied     *network.Spec        `json:"applied"`               // resolved; null where nothing is declared
	Pending     *host.Pending        `json:"pending"`               // null where nothing waits for its confirmation
	Differences []network.Difference `json:"differences,omitempty"` // what is not as declared
}

// ApplyRequest is the body of POST /v1/networks/apply.
type ApplyRequest struct {
	Spec    network.Spec `json:"spec"`
	Confirm string       `json:"confirm,omitempty"` // a duration such as "60s"; "never"; "": where server-management is touched
	Force   bool         `json:"force,omitempty"`
}

// ApplyLine is one line of the answer: each step as it is done, then either the result or why there is none.
type ApplyLine struct {
	Step   *host.StepResult `json:"step,omitempty"`
	Result *host.Result     `json:"result,omitempty"` // also beside an error, with what was found before it
	Error  string           `json:"error,omitempty"`
}

// maxSpec bounds a declaration that is sent, in bytes: some 10,000 networks.
const maxSpec = 4 << 20

// errNoNetworks answers where no manager runs.
var errNoNetworks = errors.New("this vifplugd keeps no networks")

func (s *Server) networkRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1/networks", s.read(s.getNetworks))
	mux.HandleFunc("POST /v1/networks/apply", s.write(s.postApply))
	mux.HandleFunc("POST /v1/networks/confirm", s.write(s.postConfirm))
	mux.HandleFunc("POST /v1/networks/rollback", s.write(s.postRollback))
}

func (s *Server) getNetworks(w http.ResponseWriter, r *http.Request) {
	if s.opt.Networks == nil {
		refuse(w, r, http.StatusNotFound, errNoNetworks)
		return
	}
	var out NetworksStatus
	if spec, ok := s.opt.Networks.Applied(); ok {
		out.Applied = &spec
	}
	if p, ok := s.opt.Networks.Pending(); ok {
		out.Pending = &p
	}
	var err error
	if out.Differences, err = s.opt.Networks.Diff(); err != nil {
		refuse(w, r, http.StatusInternalServerError, err)
		return
	}
	answer(w, http.StatusOK, out)
}

// postApply does a declaration and streams its steps. A client that leaves does not end it: half of a change helps nobody, and where the change
// has cut the client off, the confirmation that does not come undoes it.
func (s *Server) postApply(w http.ResponseWriter, r *http.Request) {
	if s.opt.Networks == nil {
		refuse(w, r, http.StatusNotFound, errNoNetworks)
		return
	}
	opt, spec, err := applyOf(r.Body)
	if err != nil {
		refuse(w, r, http.StatusBadRequest, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	out, enc := http.NewResponseController(w), json.NewEncoder(w)
	say := func(l ApplyLine) {
		_ = enc.Encode(l) // the client has left: nothing to tell
		_ = out.Flush()
	}
	opt.Progress = func(r host.StepResult) { say(ApplyLine{Step: &r}) }
	if s.opt.Engine != nil {
		opt.Guests = s.opt.Engine.Guests()
	}
	res, err := s.opt.Networks.Apply(s.ctx, spec, opt)
	last := ApplyLine{Result: &res}
	if err != nil {
		last.Error = err.Error()
	}
	say(last)
}

// applyOf reads a request to apply.
func applyOf(body io.Reader) (opt host.ApplyOptions, spec network.Spec, err error) {
	var req ApplyRequest
	in := json.NewDecoder(io.LimitReader(body, maxSpec))
	in.DisallowUnknownFields()
	if err := in.Decode(&req); err != nil {
		return opt, spec, fmt.Errorf("the request's body is no declaration: %w", err)
	}
	if in.More() {
		return opt, spec, errors.New("the request's body is no declaration: there is more after it")
	}
	opt.Force = req.Force
	switch req.Confirm {
	case "":
	case "never":
		opt.Confirm = host.Never
	default:
		if opt.Confirm, err = time.ParseDuration(req.Confirm); err != nil || opt.Confirm <= 0 {
			return opt, spec, fmt.Errorf("confirm %q: want a duration such as \"60s\", or \"never\"", req.Confirm)
		}
	}
	return opt, req.Spec, nil
}

func (s *Server) postConfirm(w http.ResponseWriter, r *http.Request) {
	s.change(w, r, func(n Networks) error { return n.Confirm(r.Context()) })
}

func (s *Server) postRollback(w http.ResponseWriter, r *http.Request) {
	s.change(w, r, func(n Networks) error { return n.Rollback(s.ctx, "the operator asked for it") })
}

func (s *Server) change(w http.ResponseWriter, r *http.Request, do func(Networks) error) {
	if s.opt.Networks == nil {
		refuse(w, r, http.StatusNotFound, errNoNetworks)
		return
	}
	switch err := do(s.opt.Networks); {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	case errors.Is(err, host.ErrClosed):
		refuse(w, r, http.StatusServiceUnavailable, err)
	default:
		refuse(w, r, http.StatusConflict, err)
	}
}

// Networks asks for the declared networks.
func (c *Client) Networks(ctx context.Context) (NetworksStatus, error) {
	var s NetworksStatus
	return s, c.get(ctx, "/v1/networks", &s)
}

// Apply has a declaration carried out; progress hears of each step. The Result is worth reading beside an error too.
func (c *Client) Apply(ctx context.Context, req ApplyRequest, progress func(host.StepResult)) (res host.Result, err error) {
	body, err := json.Marshal(req)
	if err != nil {
		return res, fmt.Errorf("control: the declaration: %w", err)
	}
	resp, err := c.send(ctx, http.MethodPost, "/v1/networks/apply", bytes.NewReader(body))
	if err != nil {
		return res, err
	}
	defer resp.Body.Close() //nolint:errcheck // reading is over
	in := json.NewDecoder(resp.Body)
	for {
		var l ApplyLine
		if err := in.Decode(&l); err != nil {
			return res, fmt.Errorf("control: vifplugd left in the middle: %w. It undoes what it had begun when it starts again", err)
		}
		switch {
		case l.Step != nil:
			progress(*l.Step)
		case l.Result == nil:
			return res, errors.New("control: vifplugd's answer is neither a step nor a result: it is of another version than vifctl")
		case l.Error != "":
			return *l.Result, errors.New(l.Error)
		default:
			return *l.Result, nil
		}
	}
}

// Confirm makes the declaration final that waits for it.
func (c *Client) Confirm(ctx context.Context) error { return c.post(ctx, "/v1/networks/confirm") }

// Rollback takes back the declaration that waits for its confirmation.
func (c *Client) Rollback(ctx context.Context) error { return c.post(ctx, "/v1/networks/rollback") }

func (c *Client) post(ctx context.Context, path string) error {
	resp, err := c.do(ctx, http.MethodPost, path)
	if err == nil {
		err = resp.Body.Close()
	}
	return err
}
