package toolstack

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/hotplug"
	"vifplug/hotplug/paths"
	"vifplug/xenstore"
)

// What xl network-attach of Xen 4.17 leaves in the store for the same NIC: the test in test/dom0 compares with xl itself.
const attached = `/libxl/5 = "" (n0)
/libxl/5/device = "" (n0)
/libxl/5/device/vif = "" (n0)
/libxl/5/device/vif/0 = "" (n0)
/libxl/5/device/vif/0/backend = "/local/domain/0/backend/vif/5/0" (n0)
/libxl/5/device/vif/0/bridge = "4B" (n0)
/libxl/5/device/vif/0/frontend = "/local/domain/5/device/vif/0" (n0)
/libxl/5/device/vif/0/frontend-id = "5" (n0)
/libxl/5/device/vif/0/handle = "0" (n0)
/libxl/5/device/vif/0/hotplug-status = "" (n0)
/libxl/5/device/vif/0/ip = "10.0.0.5 10.0.0.6" (n0)
/libxl/5/device/vif/0/mac = "00:16:3e:01:02:03" (n0)
/libxl/5/device/vif/0/mtu = "1400" (n0)
/libxl/5/device/vif/0/online = "1" (n0)
/libxl/5/device/vif/0/rate = "25000,20000" (n0)
/libxl/5/device/vif/0/script = "/etc/xen/scripts/vif-plug" (n0)
/libxl/5/device/vif/0/state = "1" (n0)
/libxl/5/device/vif/0/type = "vif" (n0)
/libxl/5/type = "pv" (n0)
/local/domain/0/backend = "" (n0)
/local/domain/0/backend/vif = "" (n0)
/local/domain/0/backend/vif/5 = "" (n0)
/local/domain/0/backend/vif/5/0 = "" (n0,r5)
/local/domain/0/backend/vif/5/0/bridge = "4B" (n0,r5)
/local/domain/0/backend/vif/5/0/frontend = "/local/domain/5/device/vif/0" (n0,r5)
/local/domain/0/backend/vif/5/0/frontend-id = "5" (n0,r5)
/local/domain/0/backend/vif/5/0/handle = "0" (n0,r5)
/local/domain/0/backend/vif/5/0/hotplug-status = "" (n0,r5)
/local/domain/0/backend/vif/5/0/ip = "10.0.0.5 10.0.0.6" (n0,r5)
/local/domain/0/backend/vif/5/0/mac = "00:16:3e:01:02:03" (n0,r5)
/local/domain/0/backend/vif/5/0/mtu = "1400" (n0,r5)
/local/domain/0/backend/vif/5/0/online = "1" (n0,r5)
/local/domain/0/backend/vif/5/0/rate = "25000,20000" (n0,r5)
/local/domain/0/backend/vif/5/0/script = "/etc/xen/scripts/vif-plug" (n0,r5)
/local/domain/0/backend/vif/5/0/state = "1" (n0,r5)
/local/domain/0/backend/vif/5/0/type = "vif" (n0,r5)
/local/domain/5/device = "" (n0,r5)
/local/domain/5/device/suspend = "" (n0,r5)
/local/domain/5/device/vif = "" (n0,r5)
/local/domain/5/device/vif/0 = "" (n5,r0)
/local/domain/5/device/vif/0/backend = "/local/domain/0/backend/vif/5/0" (n5,r0)
/local/domain/5/device/vif/0/backend-id = "0" (n5,r0)
/local/domain/5/device/vif/0/handle = "0" (n5,r0)
/local/domain/5/device/vif/0/mac = "00:16:3e:01:02:03" (n5,r0)
/local/domain/5/device/vif/0/mtu = "1400" (n0,r5)
/local/domain/5/device/vif/0/state = "1" (n5,r0)
/local/domain/5/device/vif/0/trusted = "1" (n5,r0)
`

func TestAttachWritesWhatLibxlWrites(t *testing.T) {
	each(t, func(h *host) {
		h.domain(5, "web01")
		before := h.nics(5)
		n := NIC{Network: "guests", MAC: "00:16:3E:01:02:03", MTU: 1400, Rate: "10Mb/s@20ms", IP: []string{"10.0.0.5", "10.0.0.6"}}
		k, err := h.Attach(h.Context(), "web01", n)
		require.NoError(h, err)
		assert.Equal(h, hotplug.Key{Front: 5}, k)
		assert.Equal(h, attached, h.nics(5))

		h.closes(k)
		require.NoError(h, h.Detach(within(h.T, 20*time.Second), k, false))
		assert.NotContains(h, h.nics(5), "vif/5", "nothing is left")
		require.NoError(h, h.store.Remove(h.Context(), "/local/domain/0/backend"))
		assert.Equal(h, before, h.nics(5), "nothing else was there")
	})
}

func TestAttachDefaults(t *testing.T) {
	each(t, func(h *host) {
		h.domain(5, "web01")
		k, err := h.Attach(h.Context(), "5", NIC{Network: "5C", VLAN: 13})
		require.NoError(h, err)
		d := dirsOf(0, k)
		for node, want := range map[string]string{
			d.back + "/bridge": "5C", d.back + "/vlan": "13", d.libxl + "/vlan": "13", d.back + "/mtu": "", d.back + "/rate": "", d.back + "/ip": "",
			d.front + "/mtu": "1500",
		} {
			assert.Equal(h, want, h.read(node), node)
		}
		mac := h.read(d.back + "/mac")
		assert.Regexp(h, "^00:16:3e:", mac)
		assert.Equal(h, mac, h.read(d.front+"/mac"))
		_, err = h.Attach(h.Context(), "web01", NIC{Network: "xenbr0", MAC: mac})
		require.ErrorContains(h, err, "is that of vif5.0")
	})
}

// The number is one above all that the domain has, wherever it stands; what an earlier NIC left is no part of the new one.
func TestNextNumber(t *testing.T) {
	h := newHost(t, stores["embedded"](t))
	h.domain(5, "web01")
	for _, node := range []string{"/libxl/5/device/vif/2/backend", "/local/domain/0/backend/vif/5/4/state", "/local/domain/5/device/vif/junk/state"} {
		require.NoError(t, h.store.Write(t.Context(), node, "x"))
	}
	k, err := h.Attach(t.Context(), "web01", NIC{Network: "guests"})
	require.NoError(t, err)
	assert.Equal(t, "vif5.5", k.VIF())
}

// Several at once get numbers and addresses of their own.
func TestAttachAtOnce(t *testing.T) {
	each(t, func(h *host) {
		h.domain(5, "web01")
		const many = 8
		var busy sync.WaitGroup
		keys := make([]hotplug.Key, many)
		errs := make([]error, many)
		for i := range many {
			busy.Go(func() { keys[i], errs[i] = h.Attach(h.Context(), "web01", NIC{Network: "guests"}) })
		}
		busy.Wait()
		seen := map[hotplug.Key]bool{}
		for i := range many {
			require.NoError(h, errs[i])
			seen[keys[i]] = true
		}
		assert.Len(h, seen, many)
		taken, err := h.addresses(h.Context())
		require.NoError(h, err)
		assert.Len(h, taken, many)
	})
}

func TestRefusalsWriteNothing(t *testing.T) {
	h := newHost(t, stores["embedded"](t))
	h.domain(5, "web01")
	h.domain(6, "db01")
	h.domain(7, "twin")
	h.domain(8, "twin")
	require.NoError(t, h.store.Write(t.Context(), "/local/domain/9/name", "left-over")) // never introduced
	whole := h.tree("/")
	for _, c := range []struct {
		domain string
		nic    NIC
		kind   error
		want   string
	}{
		{"web01", NIC{}, ErrArgument, "no network is named. Say --network NAME"},
		{"web01", NIC{Network: "management"}, nil, "network management (1) has the roles server-management only; guests need a network with the virtual-machine role. "},
		{"web01", NIC{Network: "10.11.10.0"}, nil, "network management (1) has the roles server-management only"},
		{"web01", NIC{Network: "guests", VLAN: 13}, nil, "network guests (4) does not filter VLANs, so that a NIC cannot have VLAN 13 there"},
		{"web01", NIC{Network: "xenbr0", VLAN: 13}, ErrArgument, "the bridge xenbr0 does not filter VLANs, so that a NIC cannot have VLAN 13 there"},
		{"web01", NIC{Network: "guest"}, ErrUnknown, `no network and no bridge is called "guest". Did you mean guests?`},
		{"web01", NIC{Network: "xenbr7"}, ErrUnknown, `no network and no bridge is called "xenbr7". Did you mean xenbr0?`},
		{"web1", NIC{Network: "guests"}, ErrUnknown, `no guest is called "web1". Did you mean web01?`},
		{"9", NIC{Network: "guests"}, ErrUnknown, "no guest has the id 9. See vifctl status or xl list"},
		{"left-over", NIC{Network: "guests"}, ErrUnknown, `no guest is called "left-over". Did you mean `},
		{"", NIC{Network: "guests"}, ErrUnknown, `no guest is called ""`},
		{"0", NIC{Network: "guests"}, ErrArgument, "domain 0 is this host itself: NICs are for guests"},
		{"Domain-0", NIC{Network: "guests"}, ErrArgument, "domain Domain-0 is this host itself: NICs are for guests"},
		{"twin", NIC{Network: "guests"}, ErrArgument, `2 guests are called "twin": say which by its id: 7, 8`},
		{"web01", NIC{Network: "guests", Rate: "fast"}, ErrArgument, `rate "fast": it does not end with /s. Say it as 10Mb/s, 250KB/s or 1MB/s@20ms`},
	} {
		_, err := h.Attach(t.Context(), c.domain, c.nic)
		require.ErrorContains(t, err, c.want)
		if c.kind != nil {
			require.ErrorIs(t, err, c.kind)
		} else {
			var r *hotplug.Reason
			require.ErrorAs(t, err, &r)
		}
	}
	assert.Equal(t, whole, h.tree("/"))
}

func TestNoGuestAtAll(t *testing.T) {
	h := newHost(t, stores["embedded"](t))
	_, err := h.Attach(t.Context(), "web01", NIC{Network: "guests"})
	require.EqualError(t, err, `no guest is called "web01": none is running`)
}

func TestMove(t *testing.T) {
	each(t, func(h *host) {
		h.domain(5, "web01")
		k, err := h.Attach(h.Context(), "web01", NIC{Network: "trunk", VLAN: 13})
		require.NoError(h, err)
		d := dirsOf(0, k)
		check := func(bridge, vlan string) {
			h.Helper()
			for _, dir := range []string{d.back, d.libxl} {
				assert.Equal(h, bridge, h.read(dir+"/bridge"))
				assert.Equal(h, vlan, h.read(dir+"/vlan"))
			}
		}
		check("5C", "13")
		require.NoError(h, h.Move(h.Context(), k, Place{Network: "guests"}))
		check("4B", "")
		require.NoError(h, h.Move(h.Context(), k, Place{Network: "trunk", VLAN: 14}))
		check("5C", "14")
		require.NoError(h, h.Move(h.Context(), k, Place{Network: "xenbr0"}))
		check("xenbr0", "")

		whole := h.tree("/")
		for _, c := range []struct {
			k    hotplug.Key
			to   Place
			want string
		}{
			{k, Place{Network: "management"}, "guests need a network with the virtual-machine role"},
			{k, Place{Network: "gests"}, "Did you mean guests?"},
			{k, Place{Network: "guests", VLAN: 13}, "does not filter VLANs"},
			{k, Place{Network: "trunk", VLAN: 5000}, "VLAN 5000 is no VLAN id from 1 to 4094"},
			{k, Place{}, "no network is named"},
			{hotplug.Key{Front: 5, Device: 7}, Place{Network: "guests"}, "there is no NIC vif5.7"},
		} {
			require.ErrorContains(h, h.Move(h.Context(), c.k, c.to), c.want)
		}
		assert.Equal(h, whole, h.tree("/"), "nothing was written")

		require.NoError(h, h.store.Write(h.Context(), d.back+"/script", "/etc/xen/scripts/vif-route"))
		require.ErrorContains(h, h.Move(h.Context(), k, Place{Network: "guests"}), "vif5.0 is plugged by its own script /etc/xen/scripts/vif-route")
		require.NoError(h, h.store.Write(h.Context(), d.back+"/online", "0"))
		require.ErrorContains(h, h.Move(h.Context(), k, Place{Network: "guests"}), "vif5.0 is being removed")
	})
}

func TestSetPath(t *testing.T) {
	each(t, func(h *host) {
		h.domain(5, "web01")
		k, err := h.Attach(h.Context(), "web01", NIC{Network: "guests"})
		require.NoError(h, err)
		before := h.tree("/")
		require.ErrorContains(h, h.SetPath(h.Context(), k, "shortcat"), `path "shortcat" is none of auto, bridge, shortcut, socket, af-xdp`)
		require.ErrorContains(h, h.SetPath(h.Context(), hotplug.Key{Front: 5, Device: 7}, paths.Bridge), "there is no NIC vif5.7")
		assert.Equal(h, before, h.tree("/"), "nothing was written")
		require.NoError(h, h.SetPath(h.Context(), k, paths.Bridge))
		assert.Equal(h, "bridge", h.read(dirsOf(0, k).back+"/path"))
		require.NoError(h, h.SetPath(h.Context(), k, ""))
		assert.Equal(h, before, h.tree("/"), "it is as if nobody had ever said")
	})
}

// A NIC of a toolstack that keeps no copy, as XAPI: none is made.
func TestMoveWithoutLibxl(t *testing.T) {
	h := newHost(t, stores["embedded"](t))
	h.domain(5, "web01")
	k, err := h.Attach(t.Context(), "web01", NIC{Network: "guests"})
	require.NoError(t, err)
	require.NoError(t, h.store.Remove(t.Context(), "/libxl/5"))
	require.NoError(t, h.Move(t.Context(), k, Place{Network: "xenbr0"}))
	assert.Equal(t, "xenbr0", h.read(dirsOf(0, k).back+"/bridge"))
	assert.Equal(t, "\n", h.tree("/libxl/5"))
}

// A guest that does not close keeps its NIC, on its way out; force takes the frontend away first, which is what netback listens to.
func TestDetachAGuestThatDoesNotClose(t *testing.T) {
	each(t, func(h *host) {
		h.Closing = 30 * time.Millisecond
		h.domain(5, "web01")
		k, err := h.Attach(h.Context(), "web01", NIC{Network: "guests"})
		require.NoError(h, err)
		d := dirsOf(0, k)
		err = h.Detach(h.Context(), k, false)
		require.ErrorIs(h, err, ErrOpen)
		require.EqualError(h, err, "the guest has not closed vif5.0 within 30ms: its driver does not answer, or it has none. Say --force to take the NIC away all the same")
		assert.Equal(h, []string{"0", "5"}, []string{h.read(d.back + "/online"), h.read(d.back + "/state")})
		assert.NotEmpty(h, h.read(d.front+"/state"))
		require.NoError(h, h.Detach(h.Context(), k, true))
		assert.NotContains(h, h.tree("/"), "vif/5")
		require.ErrorContains(h, h.Detach(h.Context(), k, true), "there is no NIC vif5.0")
	})
}

// A guest that has closed already, and a backend that has gone with its driver domain, need no waiting.
func TestDetachWhatIsClosed(t *testing.T) {
	h := newHost(t, stores["embedded"](t))
	h.domain(5, "web01")
	for _, change := range []func(d dirs) error{
		func(d dirs) error { return h.store.Write(t.Context(), d.back+"/state", "6") },
		func(d dirs) error { return h.store.Remove(t.Context(), d.back) },
	} {
		k, err := h.Attach(t.Context(), "web01", NIC{Network: "guests"})
		require.NoError(t, err)
		require.NoError(t, change(dirsOf(0, k)))
		require.NoError(t, h.Detach(within(t, 5*time.Second), k, false))
		assert.NotContains(t, h.tree("/libxl", "/local/domain/5"), "vif")
	}
	ctx, cancel := context.WithCancel(t.Context())
	k, err := h.Attach(t.Context(), "web01", NIC{Network: "guests"})
	require.NoError(t, err)
	cancel()
	require.Error(t, h.Detach(ctx, k, true))
	assert.NotEmpty(t, h.read(dirsOf(0, k).front+"/state"), "who asked has gone: nothing is forced")
}

// Another NIC of the domain keeps all that it has.
func TestDetachLeavesOthers(t *testing.T) {
	each(t, func(h *host) {
		h.domain(5, "web01")
		first, err := h.Attach(h.Context(), "web01", NIC{Network: "guests"})
		require.NoError(h, err)
		one := h.nics(5)
		second, err := h.Attach(h.Context(), "web01", NIC{Network: "guests"})
		require.NoError(h, err)
		h.closes(second)
		require.NoError(h, h.Detach(h.Context(), second, false))
		assert.Equal(h, one, h.nics(5))
		assert.Equal(h, "vif5.0", first.VIF())
	})
}

// A domain that goes while its NIC is being attached gets nothing: nobody would ever take it away again.
func TestAttachToADomainThatGoes(t *testing.T) {
	h := newHost(t, stores["embedded"](t))
	h.domain(5, "web01")
	require.NoError(t, h.store.Remove(t.Context(), "/local/domain/5/name"))
	_, err := h.Attach(t.Context(), "5", NIC{Network: "guests"})
	require.EqualError(t, err, "guest 5 has just gone")
	assert.NotContains(t, h.tree("/"), "vif")
}

func TestAddressesOfEveryBackend(t *testing.T) {
	h := newHost(t, stores["embedded"](t))
	for i, node := range []string{"/libxl/5/device/vif/0/mac", "/local/domain/0/backend/vif/6/1/mac", "/libxl/7/device/vif/0/other"} {
		require.NoError(t, h.store.Write(t.Context(), node, fmt.Sprintf("00:16:3E:00:00:0%d", i)))
	}
	got, err := h.addresses(t.Context())
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"00:16:3e:00:00:00": "vif5.0", "00:16:3e:00:00:01": "vif6.1"}, got)
	var _ Host = (*hotplug.Engine)(nil)
	assert.Equal(t, xenstore.DomID(0), h.Self())
}
