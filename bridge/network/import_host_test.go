package network_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"vifplug/bridge"
)

// readHost reads a host as testdata/import writes it down, a line a device or route:
//
//	eth0    port     [mac M] [mtu N] [master D] [down] [alias "A B"] [bus xen-backend]
//	bond0   bond     mode 802.3ad miimon 100 ...          options as sysfs spells them; others are the kernel's defaults
//	vlan13  vlan 13  on bond0
//	br0     bridge   stp_state 1 ...                      a MAC address that is not said is that of the first port
//	tap1.0  tun      ...                                  any other kind
//	  address 192.0.2.1/24 [peer P] [for 1h]              of the device above
//	  vlan 2-4094 [pvid] [untagged]
//	route default via 192.0.2.254 dev br0 [metric N] [proto N] [table N] [multipath]
func readHost(text string) (bridge.Host, error) {
	var h bridge.Host
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		if strings.TrimSpace(line) == "" {
			continue
		}
		if err := readLine(&h, line); err != nil {
			return h, fmt.Errorf("line %d: %q: %w", i+1, line, err)
		}
	}
	inherit(&h)
	return h, nil
}

func readLine(h *bridge.Host, line string) error {
	words := fields(line)
	switch {
	case words[0] == "route":
		r, err := readRoute(words[1:])
		h.Routes = append(h.Routes, r)
		return err
	case line[0] == ' ' && words[0] == "address":
		d := &h.Devices[len(h.Devices)-1]
		a, err := readAddress(words[1:])
		d.Addresses = append(d.Addresses, a)
		return err
	case line[0] == ' ' && words[0] == "vlan":
		d := &h.Devices[len(h.Devices)-1]
		v, err := readPortVLAN(words[1:])
		d.PortVLANs = append(d.PortVLANs, v)
		return err
	}
	d, err := readDevice(len(h.Devices)+1, words)
	h.Devices = append(h.Devices, d)
	return err
}

// fields splits at blanks, but not within quotes.
func fields(line string) (out []string) {
	for i, part := range strings.Split(line, `"`) {
		if i%2 == 1 {
			out = append(out, part)
			continue
		}
		out = append(out, strings.Fields(part)...)
	}
	return out
}

func readDevice(index int, words []string) (bridge.Device, error) {
	if len(words) < 2 {
		return bridge.Device{}, fmt.Errorf("want a name and a kind")
	}
	d := bridge.Device{Index: index, Name: bridge.Name(words[0]), Kind: words[1], Running: true, Settings: bridge.Settings{
		bridge.KeyMTU: "1500", bridge.KeyUp: "1", bridge.KeyAlias: "",
	}}
	words = words[2:]
	switch d.Kind {
	case "port":
		d.Kind, d.PermMAC = "", bridge.MAC{0x52, 0x54, 0, 0, 0, byte(index)}
	case "loopback":
		d.Kind, d.Loopback = "", true
	case "vlan":
		d.VLAN, _ = strconv.Atoi(words[0])
		words = words[1:]
	case "bond":
		defaults(&d, bridge.BondOptions)
	case "bridge":
		defaults(&d, bridge.BridgeOptions)
	}
	for len(words) > 0 {
		key := words[0]
		if words = words[1:]; key == "down" {
			d.Settings[bridge.KeyUp] = "0"
			continue
		}
		if len(words) == 0 {
			return d, fmt.Errorf("%s wants a value", key)
		}
		value := words[0]
		switch words = words[1:]; key {
		case "master":
			d.Master = bridge.Name(value)
		case "on":
			d.On = bridge.Name(value)
		case "bus":
			d.ParentBus = value
		default:
			d.Settings[bridge.Key(key)] = value
		}
	}
	return d, nil
}

func defaults(d *bridge.Device, options []bridge.Option) {
	for _, o := range options {
		d.Settings[o.Key] = o.Default
	}
}

func readAddress(words []string) (a bridge.Address, err error) {
	if a.Prefix, err = netip.ParsePrefix(words[0]); err != nil {
		return a, err
	}
	for i := 1; i+1 < len(words); i += 2 {
		switch words[i] {
		case "peer":
			a.Peer, err = netip.ParsePrefix(words[i+1])
		case "for":
			a.Valid, err = time.ParseDuration(words[i+1])
			a.Preferred = a.Valid
		}
	}
	return a, err
}

func readPortVLAN(words []string) (v bridge.PortVLAN, err error) {
	from, to, several := strings.Cut(words[0], "-")
	if v.From, err = strconv.Atoi(from); err != nil {
		return v, err
	}
	if v.To = v.From; several {
		v.To, err = strconv.Atoi(to)
	}
	v.PVID, v.Untagged = slices.Contains(words, "pvid"), slices.Contains(words, "untagged")
	return v, err
}

func readRoute(words []string) (r bridge.Route, err error) {
	r = bridge.Route{Table: 254, Type: 1, Protocol: 3}
	to := words[0]
	for i := 1; i < len(words); i++ {
		if words[i] == "multipath" {
			r.Multipath = true
			continue
		}
		value := words[i+1]
		switch words[i] {
		case "via":
			r.Via, err = netip.ParseAddr(value)
		case "dev":
			r.Device = bridge.Name(value)
		case "metric":
			r.Metric, err = strconv.Atoi(value)
		case "table":
			r.Table, err = strconv.Atoi(value)
		case "proto":
			r.Protocol, err = strconv.Atoi(value)
		}
		if i++; err != nil {
			return r, err
		}
	}
	if to == "default" {
		to = "0.0.0.0/0"
		if r.Via.Is6() {
			to, r.Metric = "::/0", max(r.Metric, 1024)
		}
	}
	r.To, err = netip.ParsePrefix(to)
	return r, err
}

// inherit gives what stands on others their MAC addresses, as the kernel does.
func inherit(h *bridge.Host) {
	for range 3 { // a bridge on a VLAN device on a bond on a port
		for i := range h.Devices {
			d := &h.Devices[i]
			if d.Settings[bridge.KeyMAC] == "" {
				d.Settings[bridge.KeyMAC] = macFrom(h, d)
			}
		}
	}
	for i := range h.Devices {
		d := &h.Devices[i]
		if m := h.Device(d.Master); m != nil && m.Kind == "bond" {
			d.BondPort = &bridge.BondPort{PermMAC: d.PermMAC}
			d.Settings[bridge.KeyMAC] = m.Settings[bridge.KeyMAC]
		}
	}
}

func macFrom(h *bridge.Host, d *bridge.Device) string {
	if d.Kind == "vlan" {
		if on := h.Device(d.On); on != nil {
			return on.Settings[bridge.KeyMAC]
		}
	}
	if d.Kind == "bond" || d.Kind == "bridge" {
		for _, p := range h.Devices {
			if p.Master == d.Name {
				return p.Settings[bridge.KeyMAC]
			}
		}
	}
	if d.Kind == "vlan" || d.Kind == "bond" {
		return ""
	}
	return bridge.MAC{0x52, 0x54, 0, 0, 0, byte(d.Index)}.String()
}
