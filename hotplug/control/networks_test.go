package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge"
	"vifplug/bridge/host"
	"vifplug/bridge/network"
)

// fakeNetworks is a manager that does nothing but remember what it was asked for.
type fakeNetworks struct {
	mu      sync.Mutex // guards all following fields
	applied *network.Spec
	pending *host.Pending
	diffs   []network.Difference
	spec    network.Spec
	opt     host.ApplyOptions
	asked   []string
	err     error // of everything but Applied and Pending

	gate chan struct{} // Apply waits for it between its two steps; nil: it does not
}

func (f *fakeNetworks) ask(what string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, what)
	return f.err
}

func (f *fakeNetworks) questions() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.asked...)
}

func (f *fakeNetworks) Applied() (network.Spec, bool) {
	if f.applied == nil {
		return network.Spec{}, false
	}
	return *f.applied, true
}

func (f *fakeNetworks) Pending() (host.Pending, bool) {
	if f.pending == nil {
		return host.Pending{}, false
	}
	return *f.pending, true
}

func (f *fakeNetworks) Diff() ([]network.Difference, error) { return f.diffs, f.ask("diff") }

func (f *fakeNetworks) Confirm(context.Context) error { return f.ask("confirm") }

func (f *fakeNetworks) Rollback(_ context.Context, why string) error {
	return f.ask("rollback: " + why)
}

// Apply does two steps. It ends with ctx, as the real one does.
func (f *fakeNetworks) Apply(ctx context.Context, s network.Spec, opt host.ApplyOptions) (res host.Result, err error) {
	f.mu.Lock()
	f.spec, f.opt = s, opt
	f.mu.Unlock()
	res.Notes = []string{"a note"}
	for i, name := range []bridge.Name{"first", "second"} {
		r := host.StepResult{Index: i, Of: 2, Step: network.Step{Op: network.OpDelete, Device: name, Reason: "a test"}, Took: time.Millisecond}
		res.Steps = append(res.Steps, r)
		opt.Progress(r)
		if i == 0 && f.gate != nil {
			select {
			case <-f.gate:
			case <-ctx.Done():
				return res, ctx.Err()
			}
		}
	}
	return res, f.ask("applied")
}

// keep gives the service networks.
func (s *service) keep(n Networks) { s.server.opt.Networks = n }

func aSpec() network.Spec {
	return network.Spec{
		Bonds: []network.Bond{{Name: "bond0", Ports: []bridge.Name{"eth0", "eth1"}, Mode: "active-backup", Options: bridge.Settings{"miimon": "100"}}},
		Networks: []network.Network{
			{Number: 1, Name: "management", ID: "10.11.10.0", On: "bond0", Roles: network.ServerManagement, Address: []netip.Prefix{netip.MustParsePrefix("10.11.10.22/24")}},
			{Number: 2, Name: "guests", ID: "4B", On: "bond0", VLAN: 13, Roles: network.VirtualMachine, MTU: 9000},
		},
	}
}

func TestNetworksAreTold(t *testing.T) {
	s := serve(t)
	f := &fakeNetworks{}
	s.keep(f)
	got := s.ask("GET", "/v1/networks")
	assert.Equal(t, 200, got.code)
	assert.JSONEq(t, `{"applied": null, "pending": null}`, got.body)

	spec := aSpec()
	f.applied = &spec
	f.pending = &host.Pending{ID: "ab", Waiting: true, Left: time.Minute, After: spec}
	f.diffs = []network.Difference{{Device: "4B", What: "missing", Want: "bridge", Network: "guests"}}
	st, err := s.client().Networks(t.Context())
	require.NoError(t, err)
	require.NotNil(t, st.Applied)
	assert.Equal(t, spec, *st.Applied)
	require.NotNil(t, st.Pending)
	assert.Equal(t, *f.pending, *st.Pending)
	assert.Equal(t, f.diffs, st.Differences)

	f.err = errors.New("host: the kernel does not answer")
	_, err = s.client().Networks(t.Context())
	require.EqualError(t, err, "host: the kernel does not answer")
	assert.Equal(t, 500, s.ask("GET", "/v1/networks").code)
}

// What is sent arrives, and the answer tells each step as it is done.
func TestApplyOverTheSocket(t *testing.T) {
	s := serve(t)
	f := &fakeNetworks{gate: make(chan struct{})}
	s.keep(f)
	var steps []bridge.Name
	res, err := s.client().Apply(t.Context(), ApplyRequest{Spec: aSpec(), Confirm: "90s", Force: true}, func(r host.StepResult) {
		steps = append(steps, r.Step.Device)
		if len(steps) == 1 {
			close(f.gate) // so the first was told before the second was done
		}
	})
	require.NoError(t, err)
	assert.Equal(t, []bridge.Name{"first", "second"}, steps)
	assert.Equal(t, []string{"a note"}, res.Notes)
	assert.Len(t, res.Steps, 2)
	assert.Equal(t, aSpec(), f.spec)
	assert.Equal(t, 90*time.Second, f.opt.Confirm)
	assert.True(t, f.opt.Force)

	f.err = errors.New("host: step 2 of 2: no. The host is as before")
	f.gate = nil
	res, err = s.client().Apply(t.Context(), ApplyRequest{Spec: aSpec(), Confirm: "never"}, func(host.StepResult) {})
	require.EqualError(t, err, f.err.Error())
	assert.Len(t, res.Steps, 2, "what was done is told beside the error")
	assert.Equal(t, host.Never, f.opt.Confirm)
	assert.False(t, f.opt.Force)

	f.err = nil
	_, err = s.client().Apply(t.Context(), ApplyRequest{}, func(host.StepResult) {})
	require.NoError(t, err)
	assert.Zero(t, f.opt.Confirm)
}

func TestApplyRequestsThatMakeNoSense(t *testing.T) {
	s := serve(t)
	f := &fakeNetworks{}
	s.keep(f)
	for body, want := range map[string]string{
		"":                                  "the request's body is no declaration: EOF",
		"[]":                                "the request's body is no declaration: ",
		`{"spec": {"Networks": 5}}`:         "the request's body is no declaration: ",
		`{"spek": {}}`:                      `unknown field "spek"`,
		`{"spec": {"Netwerks": []}}`:        `unknown field "Netwerks"`,
		`{"spec": {}} {"force": true}`:      "there is more after it",
		`{"spec": {}, "confirm": "soon"}`:   `confirm "soon": want a duration such as "60s", or "never"`,
		`{"spec": {}, "confirm": "0s"}`:     `confirm "0s": want`,
		`{"spec": {}, "confirm": "-5s"}`:    `confirm "-5s": want`,
		strings.Repeat(" ", maxSpec) + "{}": "the request's body is no declaration: ",
	} {
		r := s.send("POST", "/v1/networks/apply", body)
		assert.Equal(t, 400, r.code, "%.60s: %s", body, r.body)
		assert.Contains(t, said(t, r).Error, want)
	}
	assert.Empty(t, f.questions())
}

func TestConfirmAndRollbackOverTheSocket(t *testing.T) {
	s := serve(t)
	f := &fakeNetworks{}
	s.keep(f)
	require.NoError(t, s.client().Confirm(t.Context()))
	require.NoError(t, s.client().Rollback(t.Context()))
	assert.Equal(t, []string{"confirm", "rollback: the operator asked for it"}, f.questions())
	assert.Equal(t, reply{code: 204}, s.ask("POST", "/v1/networks/confirm"))
	for err, code := range map[error]int{host.ErrNothing: 409, host.ErrLate: 409, host.ErrClosed: 503} {
		f.err = err
		for _, path := range []string{"/v1/networks/confirm", "/v1/networks/rollback"} {
			r := s.ask("POST", path)
			assert.Equal(t, code, r.code, "%s %v", path, err)
			assert.Equal(t, err.Error(), said(t, r).Error)
		}
	}
	f.err = host.ErrNothing
	require.EqualError(t, s.client().Confirm(t.Context()), host.ErrNothing.Error())
}

// networkRoutes are all routes of networks, and what a sensible question to each answers.
var networkRoutes = []struct {
	method, path, body string
	code               int
}{
	{"GET", "/v1/networks", "", 200},
	{"POST", "/v1/networks/apply", `{"spec": {}}`, 200},
	{"POST", "/v1/networks/confirm", "", 204},
	{"POST", "/v1/networks/rollback", "", 204},
}

func TestWithoutNetworks(t *testing.T) {
	s := serve(t)
	for _, r := range networkRoutes {
		got := s.send(r.method, r.path, r.body)
		assert.Equal(t, 404, got.code, r.path)
		assert.Equal(t, "this vifplugd keeps no networks", said(t, got).Error)
	}
}

// Networks are changed by root alone; readers may look.
func TestWhoMayChangeNetworks(t *testing.T) {
	needRoot(t)
	s := serve(t)
	f := &fakeNetworks{}
	s.keep(f)
	s.server.SetReaders(4242)
	for _, who := range []struct {
		uid, gid    int
		read, write bool
	}{{0, 0, true, true}, {1000, 4242, true, false}, {1000, 1000, false, false}} {
		f.asked = nil
		for _, r := range networkRoutes {
			got := s.askWith(dialAs(s.socket, who.uid, who.gid), r.method, r.path, strings.NewReader(r.body))
			may := who.write || r.method == "GET" && who.read
			assert.Equal(t, allowed(may, r.code), got.code, "%+v: %s", who, r.path)
		}
		if !who.write {
			assert.NotContains(t, strings.Join(f.questions(), " "), "applied")
			assert.NotContains(t, strings.Join(f.questions(), " "), "confirm")
			assert.NotContains(t, strings.Join(f.questions(), " "), "rollback")
		}
	}
}

// Half of a change helps nobody: who leaves in the middle, or is cut off by the change itself, does not end it.
func TestWhoLeavesDoesNotEndAnApply(t *testing.T) {
	s := serve(t)
	f := &fakeNetworks{gate: make(chan struct{})}
	s.keep(f)
	c, err := net.Dial("unix", s.socket)
	require.NoError(t, err)
	body := `{"spec": {}}`
	_, err = c.Write([]byte("POST /v1/networks/apply HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\n" + body))
	require.NoError(t, err)
	in := bufio.NewReader(c)
	for line := ""; !strings.Contains(line, `"first"`); {
		line, err = in.ReadString('\n')
		require.NoError(t, err)
	}
	require.NoError(t, c.Close())
	close(f.gate)
	require.Eventually(t, func() bool { return len(f.questions()) == 1 }, 10*time.Second, time.Millisecond)
	assert.Equal(t, []string{"applied"}, f.questions())
	s.serving(0)
}

// A daemon that stops ends an apply, which then undoes what it did, and says so.
func TestStoppingEndsAnApply(t *testing.T) {
	s := serve(t)
	f := &fakeNetworks{gate: make(chan struct{})}
	s.keep(f)
	_, err := s.client().Apply(t.Context(), ApplyRequest{Spec: aSpec()}, func(host.StepResult) {
		s.server.cancel()
	})
	require.ErrorContains(t, err, context.Canceled.Error())
	assert.Empty(t, f.questions())
}

// A daemon that dies in the middle leaves a client that knows what is left to hope for.
func TestApplyOfADaemonThatDies(t *testing.T) {
	for name, text := range map[string]string{
		"after a step": `{"step":{"index":0,"of":2,"step":{"op":"delete","device":"first"}}}` + "\n",
		"at once":      "",
		"in a line":    `{"step":{"ind`,
		"no result":    `{"error":"x"}` + "\n",
		"nothing said": `{}` + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("unix", t.TempDir()+"/c")
			require.NoError(t, err)
			done := make(chan struct{})
			go runDying(l, text, done)
			res, err := NewClient(l.Addr().String()).Apply(t.Context(), ApplyRequest{Spec: aSpec()}, func(host.StepResult) {})
			require.Error(t, err)
			assert.Empty(t, res.Notes)
			<-done
			require.NoError(t, l.Close())
		})
	}
}

// runDying answers one question with the beginning of an answer.
func runDying(l net.Listener, text string, done chan<- struct{}) {
	defer close(done)
	c, err := l.Accept()
	if err != nil {
		return
	}
	defer c.Close()
	in := bufio.NewReader(c)
	for line, err := in.ReadString('\n'); err == nil && line != "\r\n"; line, err = in.ReadString('\n') {
		continue
	}
	_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + text))
}

// The answer's lines are the interface of programs that do without vifctl.
func TestApplyLines(t *testing.T) {
	s := serve(t)
	s.keep(&fakeNetworks{})
	got := s.send("POST", "/v1/networks/apply", `{"spec": {}}`)
	assert.Equal(t, "application/x-ndjson", got.kind)
	var lines []ApplyLine
	for text := range strings.Lines(got.body) {
		var l ApplyLine
		require.NoError(t, json.Unmarshal([]byte(text), &l))
		lines = append(lines, l)
	}
	require.Len(t, lines, 3)
	assert.Equal(t, bridge.Name("first"), lines[0].Step.Step.Device)
	assert.Nil(t, lines[0].Result)
	require.NotNil(t, lines[2].Result)
	assert.Len(t, lines[2].Result.Steps, 2)
}
