package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"vifplug/bridge"
	"vifplug/bridge/bridgetest"
	"vifplug/bridge/host"
	"vifplug/bridge/network"
)

const (
	manyNetworks = 100
	manyGuests   = 2000
	uplink       = "eth0"
	planRounds   = 21
	applyRounds  = 9
)

// declared is a declaration of many VLAN networks for guests on one port, and of one for the host.
func declared() (network.Spec, error) {
	s := network.Spec{Networks: []network.Network{{
		Name: "management", On: uplink, Roles: network.ServerManagement, Address: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24")},
	}}}
	for i := range manyNetworks {
		s.Networks = append(s.Networks, network.Network{
			Name: fmt.Sprintf("net%d", i), On: uplink, VLAN: 100 + i, Roles: network.VirtualMachine, ID: bridge.Name(fmt.Sprintf("xbr%d", i)),
		})
	}
	return network.Resolve(s, nil)
}

// fullHost is a host with one port and many guests' NICs, of which each asks for one of the networks.
func fullHost() (h bridge.Host, guests []network.Guest) {
	h.Devices = append(h.Devices, bridge.Device{Index: 2, Name: uplink, Settings: bridge.Settings{
		bridge.KeyMTU: "1500", bridge.KeyMAC: "02:00:00:00:00:01", bridge.KeyUp: "1",
	}})
	for i := range manyGuests {
		vif, net := bridge.Name(fmt.Sprintf("vif%d.0", i+1)), i%manyNetworks
		h.Devices = append(h.Devices, bridge.Device{Index: 1000 + i, Name: vif, ParentBus: "xen-backend", Settings: bridge.Settings{
			bridge.KeyMTU: "1500", bridge.KeyMAC: "fe:ff:ff:ff:ff:ff", bridge.KeyUp: "1",
			bridge.KeyAlias: network.PortAlias(fmt.Sprintf("guest%d", i), uint16(i+1), 0, fmt.Sprintf("net%d", net)),
		}})
		guests = append(guests, network.Guest{Domain: fmt.Sprintf("guest%d", i), ID: uint16(i + 1), Device: vif, Network: bridge.Name(fmt.Sprintf("xbr%d", net))})
	}
	return h, guests
}

// planning plans a full host from nothing, and again when all is there.
func planning() error {
	spec, err := declared()
	if err != nil {
		return err
	}
	in := network.Input{Want: spec}
	in.Have, in.Guests = fullHost()
	empty, plan, err := planTime(in)
	if err != nil {
		return err
	}
	if _, in.Have, err = network.Rehearse(in.Have, plan.Steps); err != nil {
		return err
	}
	on := map[bridge.Name]bridge.Name{}
	for _, g := range in.Guests {
		on[g.Device] = g.Network
	}
	for i := range in.Have.Devices {
		if d := &in.Have.Devices[i]; on[d.Name] != "" {
			d.Master = on[d.Name]
		}
	}
	full, again, err := planTime(in)
	if err == nil && len(again.Steps) > 0 {
		err = fmt.Errorf("planning again gives %d steps", len(again.Steps))
	}
	fmt.Printf("planning %d networks with %d guest NICs: %s from nothing (%d steps), %s when all is there (wanted 10 ms at most)\n",
		len(spec.Networks), len(in.Guests), ms(empty), len(plan.Steps), ms(full))
	return err
}

// planTime is the median of some rounds.
func planTime(in network.Input) (took time.Duration, plan network.Plan, err error) {
	var all sample
	for range planRounds {
		start := time.Now()
		if plan, err = network.Make(in); err != nil {
			return 0, plan, err
		}
		all = append(all, time.Since(start))
	}
	return all.median(), plan, nil
}

// applying applies the declaration by the daemon's own code, and the same by one ip -batch, in turns. Only a kernel with VLANs can.
func applying(ctx context.Context) error {
	conn, err := bridge.Open()
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // it has served
	if has, err := conn.ProbeVLAN(); has != bridge.Supported {
		return fmt.Errorf("applying needs VLANs, which this kernel lacks and the lab's has (VLANs: %v, %w)", has, err)
	}
	spec, err := declared()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "vifbench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // it lies in the system's directory for such
	var ours, theirs sample
	for i := range 1 + applyRounds {
		took, err := onFreshPort(conn, spec, func() error { return applyOurs(ctx, conn, spec, filepath.Join(dir, fmt.Sprint(i))) })
		if err != nil {
			return fmt.Errorf("vifplug: %w", err)
		}
		ours = append(ours, took)
		took, err = onFreshPort(conn, spec, func() error { return applyTheirs(ctx, spec, filepath.Join(dir, "batch")) })
		if err != nil {
			return fmt.Errorf("ip -batch: %w", err)
		}
		theirs = append(theirs, took)
	}
	ours, theirs = ours[1:], theirs[1:] // the first time is about reading programs from disk
	fmt.Printf("applying %d VLAN networks: vifplug %s (plan, journal, steps, read back), ip -batch %s: ratio %.2f (wanted 1.2 at most)\n",
		manyNetworks, ms(ours.at(0)), ms(theirs.at(0)), float64(ours.at(0))/float64(theirs.at(0)))
	fmt.Printf("  these are the fastest of %d rounds in turns; the medians are %s and %s: ratio %.2f\n",
		len(ours), ms(ours.median()), ms(theirs.median()), float64(ours.median())/float64(theirs.median()))
	return nil
}

func applyOurs(ctx context.Context, conn *bridge.Conn, spec network.Spec, state string) error {
	m, err := host.New(host.Options{Kernel: conn, Dir: state})
	if err != nil {
		return err
	}
	_, err = m.Apply(ctx, spec, host.ApplyOptions{Confirm: host.Never})
	return errors.Join(err, m.Close())
}

func applyTheirs(ctx context.Context, spec network.Spec, file string) error {
	port, err := net.InterfaceByName(uplink)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, []byte(batchOf(spec, port.HardwareAddr)), 0o600); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "ip", "-batch", file).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// batchOf makes the same devices by as few lines as ip can.
func batchOf(s network.Spec, mac net.HardwareAddr) string {
	var b strings.Builder
	fmt.Fprintf(&b, "addr add %s dev %s\nlink set %s up\n", s.Networks[0].Address[0], uplink, uplink)
	for i := range s.Networks {
		n := &s.Networks[i]
		if !n.HasBridge() {
			continue
		}
		alias := fmt.Sprintf("alias \"vifplug: network %s (%d)\"", n.Name, n.Number)
		fmt.Fprintf(&b, "link add link %s name %s up type vlan id %d\n", uplink, n.Segment(), n.VLAN)
		fmt.Fprintf(&b, "link add name %s address %s mtu 1500 type bridge stp_state 0 forward_delay 0\n", n.ID, mac)
		fmt.Fprintf(&b, "link set %s %s master %s\n", n.Segment(), alias, n.ID)
		fmt.Fprintf(&b, "link set %s %s up\n", n.ID, alias)
	}
	return b.String()
}

// onFreshPort times work on a port that has nothing on it, judges it, and takes everything away again.
func onFreshPort(conn *bridge.Conn, spec network.Spec, work func() error) (time.Duration, error) {
	if err := errors.Join(bridgetest.MakeVeth(uplink, "wire"), bridgetest.SetUp("wire")); err != nil {
		return 0, err
	}
	start := time.Now()
	err := work()
	took := time.Since(start)
	if err == nil {
		err = asDeclared(conn, spec)
	}
	for i := range spec.Networks {
		if n := &spec.Networks[i]; n.HasBridge() {
			err = errors.Join(err, conn.Delete(n.ID))
		}
	}
	return took, errors.Join(err, bridgetest.Delete(uplink))
}

func asDeclared(conn *bridge.Conn, spec network.Spec) error {
	h, err := conn.Host()
	if err != nil {
		return err
	}
	if left := network.Compare(network.Input{Want: spec, Before: &spec, Have: h}); len(left) > 0 {
		return fmt.Errorf("the host is not as declared in %d ways: %s", len(left), left[0])
	}
	return nil
}
