package view

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"vifplug/bridge"
	"vifplug/bridge/network"
)

// made is a host in the making: what a test says of its devices, the kernel's numbers added.
type made struct {
	bridge.Host
	in Input
}

func (h *made) add(d bridge.Device) *bridge.Device {
	if there := h.Device(d.Name); there != nil { // a name is given once
		there.Master = d.Master
		return there
	}
	d.Index = len(h.Devices) + 1
	if d.Settings == nil {
		d.Settings = bridge.Settings{}
	}
	for k, v := range map[bridge.Key]string{bridge.KeyMTU: "1500", bridge.KeyUp: "1", bridge.KeyMAC: fmt.Sprintf("52:54:00:00:00:%02x", d.Index&0xff)} {
		if _, ok := d.Settings[k]; !ok {
			d.Settings[k] = v
		}
	}
	d.Running = d.Settings[bridge.KeyUp] == "1"
	d.Stats = bridge.Stats{RxBytes: uint64(d.Index) * 1_234_567, TxBytes: uint64(d.Index*d.Index) * 98_765, RxFrames: uint64(d.Index) * 900, TxFrames: 7}
	h.Devices = append(h.Devices, d)
	return &h.Devices[len(h.Devices)-1]
}

func address(s string) bridge.Address { return bridge.Address{Prefix: netip.MustParsePrefix(s)} }

// build puts a declaration in force on the host: every device that it needs.
func (h *made) build() {
	s := h.in.Spec
	for _, b := range s.Bonds {
		for _, p := range b.Ports {
			h.add(bridge.Device{Name: p, Master: b.Name})
		}
	}
	for _, b := range s.Bonds {
		h.add(bridge.Device{Name: b.Name, Kind: "bond", Settings: bridge.Settings{"mode": b.Mode}, BondState: &bridge.BondState{ActivePort: b.Ports[0]}})
	}
	for _, n := range s.Networks {
		top := h.Device(n.On)
		if n.VLAN > 0 {
			top = h.add(bridge.Device{Name: bridge.Name(string(n.On) + "." + strconv.Itoa(n.VLAN)), Kind: "vlan", On: n.On, VLAN: n.VLAN})
		}
		if n.Roles.Has(network.VirtualMachine) {
			if top != nil {
				top.Master = n.ID
			}
			top = h.add(bridge.Device{Name: n.ID, Kind: "bridge"})
		}
		for _, a := range n.Address {
			top.Addresses = append(top.Addresses, bridge.Address{Prefix: a})
		}
	}
}

// plug gives a guest a NIC on a network.
func (h *made) plug(domain string, id uint16, nic int, net bridge.Name, taps ...bool) {
	for _, tap := range append([]bool{false}, taps...) {
		kind, prefix, bus := "", "vif", netback
		if tap {
			kind, prefix, bus = "tun", "tap", ""
		}
		name := bridge.Name(fmt.Sprintf("%s%d.%d", prefix, id, nic))
		h.add(bridge.Device{Name: name, Kind: kind, ParentBus: bus, Master: net, Settings: bridge.Settings{bridge.KeyMAC: "fe:ff:ff:ff:ff:ff"}})
		h.in.Guests = append(h.in.Guests, network.Guest{
			Domain: domain, ID: id, NIC: nic, Device: name, Tap: tap, Network: net, MAC: fmt.Sprintf("00:16:3e:00:%02x:%02x", id&0xff, nic), State: "plugged",
		})
	}
}

func (h *made) input() Input {
	h.in.Host = h.Host
	return h.in
}

// workedSpec is the declaration of the worked example of networks.md.
func workedSpec() network.Spec {
	vm := network.VirtualMachine
	bond := func(name, a, b bridge.Name) network.Bond {
		return network.Bond{Name: name, Ports: []bridge.Name{a, b}, Mode: "active-backup"}
	}
	prefix := func(s string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(s)} }
	return network.Spec{
		Bonds: []network.Bond{bond("bond0", "eth0", "eth1"), bond("bond1", "eth2", "eth3"), bond("bond2", "eth4", "eth5")},
		Networks: []network.Network{
			{Number: 1, Name: "management", ID: "10.11.10.0", On: "bond0", Roles: network.ServerManagement, Address: prefix("10.11.10.22/24")},
			{Number: 2, Name: "heartbeat", ID: "6B20E9B", On: "bond0", VLAN: 11, Roles: network.ClusterHeartbeat, Address: prefix("10.11.11.22/24")},
			{Number: 3, Name: "migration", ID: "8A6CEAD", On: "bond0", VLAN: 12, Roles: network.LiveMigrate, Address: prefix("10.11.12.22/24")},
			{Number: 4, Name: "guests", ID: "21D1F8E", On: "bond0", VLAN: 13, Roles: vm, Address: prefix("10.11.13.22/24"), HostAddress: true},
			{Number: 5, Name: "production", ID: "AB8E18E", On: "bond1", VLAN: 21, Roles: vm},
			{Number: 6, Name: "test", ID: "9F86D08", On: "bond1", VLAN: 22, Roles: vm},
			{Number: 7, Name: "backup", ID: "54D00D8", On: "bond1", VLAN: 23, Roles: vm},
			{Number: 8, Name: "lab", ID: "A51146D", On: "bond2", VLAN: 31, Roles: vm},
		},
	}
}

// worked is the worked example, in force: a PV guest, domain 23, on three of its networks.
func worked() Input {
	h := &made{in: Input{Spec: workedSpec(), Title: "xen1", Now: time.Date(2026, 11, 25, 18, 0, 0, 0, time.UTC)}}
	h.add(bridge.Device{Name: "lo", Kind: "", Loopback: true, Addresses: []bridge.Address{address("127.0.0.1/8"), address("::1/128")}, Settings: bridge.Settings{bridge.KeyMTU: "65536"}})
	h.build()
	h.plug("web01", 23, 0, "21D1F8E")
	h.plug("web01", 23, 1, "AB8E18E")
	h.plug("web01", 23, 2, "A51146D")
	return h.input()
}

// troubled is a host of many troubles: an HVM guest with a tap, a port that is gone, one without carrier, drift, a bridge of somebody else's, a
// guest that failed, and devices that have nothing to do with it.
func troubled() Input {
	in := worked()
	h := &made{Host: in.Host, in: in}
	h.plug("win2022", 24, 0, "AB8E18E", true)
	h.add(bridge.Device{Name: "eth6"})
	h.add(bridge.Device{Name: "eth7"})
	h.Device("eth6").Master = "xenbr0"
	h.add(bridge.Device{Name: "xenbr0", Kind: "bridge", Addresses: []bridge.Address{address("192.0.2.7/24"), address("2001:db8:1234:5678:9abc:def0:1234:5678/64")}})
	h.add(bridge.Device{Name: "docker0", Kind: "bridge", Settings: bridge.Settings{bridge.KeyUp: "0"}})
	h.add(bridge.Device{Name: "wg0", Kind: "wireguard"})
	h.plug("legacy", 7, 0, "xenbr0")
	h.add(bridge.Device{Name: "veth9", Kind: "veth", Master: "9F86D08"})
	h.Device("eth1").Running = false
	h.Device("eth0").Stats.RxErrors = 12
	h.Device("54D00D8").Settings[bridge.KeyUp] = "0"
	h.Device("54D00D8").Running = false
	h.remove("eth5")
	h.remove("bond1.22")
	h.in.Guests = append(h.in.Guests, network.Guest{
		Domain: "db<1>", ID: 31, NIC: 0, Device: "vif31.0", Network: "nosuchbr", State: "failed", Reason: "there is no bridge nosuchbr on this host: create it, or name one that exists",
	})
	h.in.Drift = map[bridge.Name]string{"bond0.13": "its MTU is 1400, declared is 1500", "eth4": "it is declared a port of bond2"}
	h.Device("eth4").Master = ""
	return h.input()
}

func (h *made) remove(name bridge.Name) {
	for i := range h.Devices {
		if h.Devices[i].Name == name {
			h.Devices = append(h.Devices[:i:i], h.Devices[i+1:]...)
			return
		}
	}
}

// crowd is the worked example with as many guests, some with two NICs and some with taps.
func crowd(guests int) Input {
	in := worked()
	in.Guests = nil
	h := &made{Host: in.Host, in: in}
	for _, n := range []bridge.Name{"vif23.0", "vif23.1", "vif23.2"} {
		h.remove(n)
	}
	nets := []bridge.Name{"21D1F8E", "AB8E18E", "9F86D08", "AB8E18E", "54D00D8", "AB8E18E", "A51146D"}
	kinds := []string{"web", "db", "mail", "build", "cache", "desktop"}
	for i := range guests {
		name, id := fmt.Sprintf("%s%02d", kinds[i%len(kinds)], i/len(kinds)+1), uint16(i+1)
		h.plug(name, id, 0, nets[i%len(nets)])
		switch {
		case i%9 == 4:
			h.plug(name, id, 1, nets[(i+2)%len(nets)])
		case i%11 == 5:
			h.plug(name, id, 1, nets[i%len(nets)], true)
		}
	}
	return h.input()
}
