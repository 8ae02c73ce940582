package network

import (
	"regexp"

	"vifplug/bridge"
)

// guestPorts are names of what others' guests and containers hang on a bridge by: libvirt's, Proxmox's, Docker's, LXC's, Calico's.
var guestPorts = regexp.MustCompile(`^(vnet[0-9]+|fwpr[0-9]+p[0-9]+|fwln[0-9]+i[0-9]+|tap[0-9]+i[0-9]+|veth.*|lxc.*|cali.*)$`)

// keepers are who makes and keeps bridges of certain names himself: a declaration would only be in his way.
var keepers = []struct {
	name *regexp.Regexp
	who  string
}{
	{regexp.MustCompile(`^(docker[0-9]+|docker_gwbridge|br-[0-9a-f]{12})$`), "Docker"},
	{regexp.MustCompile(`^virbr[0-9]+$`), "libvirt"},
	{regexp.MustCompile(`^(lxcbr|lxdbr|incusbr)[0-9]+$`), "LXC"},
	{regexp.MustCompile(`^(podman|cni-podman|cni)[0-9]+$`), "Podman or a container network plugin"},
	{regexp.MustCompile(`^fwbr[0-9]+i[0-9]+$`), "Proxmox's firewall"},
}

// keeper is who keeps a bridge of the name; "" for nobody known.
func keeper(name bridge.Name) string {
	for _, k := range keepers {
		if k.name.MatchString(string(name)) {
			return k.who
		}
	}
	return ""
}

// ofGuest says that a device belongs to a guest or a container.
func ofGuest(d *bridge.Device) bool {
	return isGuests(d) || d.Kind == "tun" || guestPorts.MatchString(string(d.Name))
}

// isPort says that networks and bonds may stand on a device: hardware, and what takes its place in tests.
func isPort(d *bridge.Device) bool {
	return (d.Kind == "" || d.Kind == "dummy" || d.Kind == "veth") && !d.Loopback && !ofGuest(d)
}

// kindOf calls a device by what it is, for people.
func kindOf(d *bridge.Device) string {
	switch {
	case d.Kind == "vlan":
		return "a VLAN device"
	case d.Kind == "":
		return "a port"
	}
	return "a device of the kind " + d.Kind
}

func isUp(d *bridge.Device) bool { return d.Settings[bridge.KeyUp] == "1" }
