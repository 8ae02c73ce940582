package control

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/hotplug"
	"vifplug/hotplug/toolstack"
)

// networks gives the engine declared networks.
func (s *service) networks() {
	p := hotplug.DefaultPolicy()
	p.Networks = hotplug.Networks{
		{Number: 1, Name: "management", ID: "10.11.10.0", Roles: "server-management"},
		{Number: 4, Name: "guests", ID: "4B", Roles: "virtual-machine", Guests: true},
		{Number: 5, Name: "trunk", ID: "5C", Roles: "virtual-machine", Guests: true, Filtering: true},
	}
	s.engine.SetPolicy(p)
}

func (s *service) send(method, path, body string) reply {
	s.Helper()
	return s.askWith(nil, method, path, strings.NewReader(body), "Content-Type: application/json")
}

// said is what an error says.
func said(t *testing.T, r reply) Error {
	t.Helper()
	var e Error
	require.NoError(t, json.Unmarshal([]byte(r.body), &e), r.body)
	return e
}

func TestNICRequestsThatMakeNoSense(t *testing.T) {
	s := serve(t)
	s.networks()
	s.guest(5, "web01")
	for _, c := range []struct {
		method, path, body string
		code               int
		want               string
	}{
		{"POST", "/v1/domains/web01/nics", "", 400, "the body is not as docs/api.md has it"},
		{"POST", "/v1/domains/web01/nics", `{"netwerk": "guests"}`, 400, `unknown field "netwerk"`},
		{"POST", "/v1/domains/web01/nics", `{"network": "` + strings.Repeat("x", maxNIC) + `"}`, 400, "too large"},
		{"POST", "/v1/domains/web01/nics", `{}`, 400, "no network is named"},
		{"POST", "/v1/domains/web01/nics", `{"network": "guests", "rate": "fast"}`, 400, `rate "fast"`},
		{"POST", "/v1/domains/web01/nics?wait=soon", `{"network": "guests"}`, 400, `wait="soon" is no duration`},
		{"POST", "/v1/domains/web01/nics?wait=-1s", `{"network": "guests"}`, 400, "is no duration"},
		{"POST", "/v1/domains/web1/nics", `{"network": "guests"}`, 404, "Did you mean web01?"},
		{"POST", "/v1/domains/web01/nics", `{"network": "gests"}`, 404, "Did you mean guests?"},
		{"POST", "/v1/domains/web01/nics", `{"network": "management"}`, 409, "network management (1) has the roles server-management only"},
		{"POST", "/v1/nics/vif5.0/move", `{"network": "management"}`, 409, "guests need a network with the virtual-machine role"},
		{"POST", "/v1/nics/vif5.0/move", `{"network": "guests", "vlan": 13}`, 409, "does not filter VLANs"},
		{"POST", "/v1/nics/vif5.0/move", `[]`, 400, "the body is not as"},
		{"POST", "/v1/nics/vif5.9/move", `{"network": "guests"}`, 404, "there is no NIC vif5.9"},
		{"POST", "/v1/nics/eth0/move", `{"network": "guests"}`, 404, "Did you mean vif5.0?"},
		{"DELETE", "/v1/nics/vif5.9", "", 404, "there is no NIC vif5.9"},
		{"DELETE", "/v1/nics/vif5.0?force=yes", "", 400, `force="yes"`},
	} {
		r := s.send(c.method, c.path, c.body)
		assert.Equal(t, c.code, r.code, "%s %s %.60s: %s", c.method, c.path, c.body, r.body)
		assert.Contains(t, said(t, r).Error, c.want)
	}
	r := said(t, s.send("POST", "/v1/nics/vif5.0/move", `{"network": "management"}`))
	require.NotNil(t, r.Reason, "a program is told the code")
	assert.Equal(t, hotplug.CodeNetworkRole, r.Reason.Code)
	x, err := s.client().NIC(t.Context(), "vif5.0")
	require.NoError(t, err)
	assert.Equal(t, "xenbr0", x.Backend.Bridge, "nothing was written")
}

// No netback plays here: a NIC is attached, and waited for as long as was asked.
func TestAttachWaitsAsLongAsAsked(t *testing.T) {
	s := serve(t)
	s.networks()
	s.guest(5, "web01")
	st, err := s.client().Attach(t.Context(), "web01", toolstack.NIC{Network: "guests"}, 0)
	require.NoError(t, err)
	assert.Equal(t, []any{"vif5.1", uint32(1), hotplug.Seen}, []any{st.VIF, st.Device, st.State})
	_, err = s.client().Attach(t.Context(), "web01", toolstack.NIC{Network: "guests"}, 50*time.Millisecond)
	require.ErrorContains(t, err, "vif5.2 is attached, but not plugged: netback has not set the device up yet (state 1, Initialising)")
	x, err := s.client().NIC(t.Context(), "vif5.2")
	require.NoError(t, err)
	assert.Equal(t, "4B", x.Backend.Bridge)
	assert.Equal(t, "guests", x.Network)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = s.client().Move(ctx, "vif5.2", toolstack.Place{Network: "trunk", VLAN: 13})
	require.Error(t, err)
	s.serving(0)
}

func TestDetachOverTheSocket(t *testing.T) {
	s := serve(t)
	s.guest(5, "web01")
	require.NoError(t, s.tools.Store.Write(t.Context(), s.tools.BackendDir(5, 0)+"/state", "6")) // the guest has closed
	require.NoError(t, s.client().Detach(t.Context(), "vif5.0", true))
	_, err := s.client().NIC(t.Context(), "vif5.0")
	require.ErrorContains(t, err, `no NIC is called "vif5.0"`)
	_, err = s.tools.Store.Read(t.Context(), "/libxl/5/device/vif/0/backend")
	require.Error(t, err)
}

// A daemon that stops says so to who waits.
func TestStoppingAnswersWhoWaitsForANIC(t *testing.T) {
	s := serve(t)
	s.networks()
	s.guest(5, "web01")
	answers := make(chan error, 1)
	go s.runAttach(answers)
	s.serving(1)
	require.NoError(t, s.server.Close())
	require.Error(t, <-answers)
}

func (s *service) runAttach(answers chan<- error) {
	_, err := s.client().Attach(s.Context(), "web01", toolstack.NIC{Network: "guests"}, PlugWait)
	answers <- err
}
