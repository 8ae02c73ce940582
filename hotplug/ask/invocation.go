package ask

import (
	"errors"
	"strings"
)

// Invocation is what libxl or udev wants done (xen: tools/libs/light/libxl_linux.c get_hotplug_env; tools/hotplug/Linux/vif-common.sh).
type Invocation struct {
	Command    string // online, offline, add, remove
	Type       string // vif or tap
	XenbusPath string // backend/vif/FE/N, relative to the backend domain; of a tap made from its name where only that was given
	VIF        string // the kernel's name, vifFE.N; may be empty
	Script     string // as it stands in the backend node; may be empty
}

// Nothing says that the invocation is one to which vif-common.sh answers by doing nothing: online and offline are a vif's, add and remove a
// tap's.
func (i Invocation) Nothing() bool {
	vifCommand := i.Command == "online" || i.Command == "offline"
	return vifCommand != (i.Type == "vif")
}

// maxValue bounds each value from the environment, in bytes; real ones are a tenth of it.
const maxValue = 512

// Parse reads an invocation from the arguments after the program's name and from the environment. Every value is checked: each has been
// written by a toolstack, but the path has passed through the store.
func Parse(args []string, getenv func(string) string) (Invocation, error) {
	inv := Invocation{Type: "vif", XenbusPath: getenv("XENBUS_PATH"), VIF: getenv("vif"), Script: getenv("script")}
	for _, a := range args {
		key, value, assigned := strings.Cut(a, "=")
		switch {
		case !assigned && inv.Command == "":
			inv.Command = a
		case !assigned:
			return inv, errors.New("vif-plug: argument " + quote(a) + " is one command too many: want online|offline|add|remove [type_if=vif|tap]")
		case key == "type_if":
			inv.Type = value
		case key == "XENBUS_PATH":
			inv.XenbusPath = value
		case key == "vif":
			inv.VIF = value
		default: // the scripts take any assignment (ip=, bridge=...); the backend node alone decides here
		}
	}
	if inv.Type == "tap" && inv.XenbusPath == "" {
		inv.XenbusPath = tapPath(getenv("INTERFACE")) // udev knows no more
	}
	return inv, inv.check()
}

// tapPath is the backend's path of a tap, as its name tells: vifFE.N-emu, the end of which QEMU may have cut off, or tapFE.N; "" where the name is
// another.
func tapPath(name string) string {
	rest, ok := strings.CutPrefix(name, "tap")
	if !ok {
		rest, ok = strings.CutPrefix(name, "vif")
		cut := strings.IndexByte(rest, '-')
		if !ok || cut < 0 || !strings.HasPrefix("-emu", rest[cut:]) {
			return ""
		}
		rest = rest[:cut]
	}
	front, device, dot := strings.Cut(rest, ".")
	if !dot || !digits(front) || !digits(device) {
		return ""
	}
	return "backend/vif/" + front + "/" + device
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func (i Invocation) check() error {
	switch i.Command {
	case "online", "offline", "add", "remove":
	case "":
		return errors.New("vif-plug: no command: want online|offline|add|remove [type_if=vif|tap]")
	default:
		return errors.New("vif-plug: command " + quote(i.Command) + " is unknown: want online, offline, add or remove")
	}
	if i.Type != "vif" && i.Type != "tap" {
		return errors.New("vif-plug: type_if " + quote(i.Type) + " is unknown: want vif or tap")
	}
	if i.Nothing() {
		return nil
	}
	if i.Type == "tap" && i.XenbusPath == "" {
		return errors.New("vif-plug: neither XENBUS_PATH nor INTERFACE says whose tap it is: want INTERFACE vifDOMID.DEVID-emu or tapDOMID.DEVID, as libxl and udev set it")
	}
	if !safe(i.XenbusPath) || !strings.Contains(i.XenbusPath, "backend/vif/") {
		return errors.New("vif-plug: XENBUS_PATH " + quote(i.XenbusPath) + " is no path of a vif's backend: want backend/vif/DOMID/DEVID, as libxl and udev set it")
	}
	if i.VIF != "" && !safe(i.VIF) {
		return errors.New("vif-plug: vif " + quote(i.VIF) + " is no device name")
	}
	return nil
}

// safe says that a value has only the characters of xenstore paths and device names, so that it needs no escaping anywhere.
func safe(s string) bool {
	if s == "" || len(s) > maxValue {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-_./@", rune(c)) {
			return false
		}
	}
	return true
}

// quote shows text from outside in an error, bounded and on one line.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		s = s[:most] + "..."
	}
	b := []byte{'"'}
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7e || c == '"' {
			b = append(b, '?')
		} else {
			b = append(b, c)
		}
	}
	return string(append(b, '"'))
}
