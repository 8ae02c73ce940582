package hotplug

import (
	"fmt"
	"strconv"
	"strings"

	"vifplug/xenstore"
)

// Key names one port of one guest as seen from its backend: the guest's domid, the device id ("handle"), and which of the NIC's two devices it
// is. Each of the two is plugged by itself.
type Key struct {
	Front  xenstore.DomID
	Device uint32
	Tap    bool // QEMU's tap, which stands beside the netdev of a NIC that is also emulated
}

// VIF is the name that netback gives the NIC's netdev, cut to 15 bytes as the kernel does (linux: drivers/net/xen-netback/interface.c).
func (k Key) VIF() string {
	n := fmt.Sprintf("vif%d.%d", k.Front, k.Device)
	if len(n) > maxName {
		return n[:maxName]
	}
	return n
}

// Parent is the sysfs name of the netdev's parent device on the xen-backend bus.
func (k Key) Parent() string { return fmt.Sprintf("vif-%d-%d", k.Front, k.Device) }

// String is the kernel's name of the device: it is what people say.
func (k Key) String() string {
	if k.Tap {
		return k.TapName()
	}
	return k.VIF()
}

// maxName is the longest device name, in bytes (linux: IFNAMSIZ less the NUL).
const maxName = 15

// ParseVIF reads a NIC's kernel name, "vifFE.N". It accepts no other spelling of the numbers (no sign, no leading zero).
func ParseVIF(s string) (Key, error) {
	rest, ok := strings.CutPrefix(s, "vif")
	front, device, dot := strings.Cut(rest, ".")
	if !ok || !dot {
		return Key{}, fmt.Errorf("hotplug: vif %q: want vifDOMID.DEVID", clip(s))
	}
	return parseKey(s, front, device)
}

// ParseParent reads the sysfs name of a xen-backend device, "vif-FE-N".
func ParseParent(s string) (Key, error) {
	rest, ok := strings.CutPrefix(s, "vif-")
	front, device, dash := strings.Cut(rest, "-")
	if !ok || !dash {
		return Key{}, fmt.Errorf("hotplug: device %q: want vif-DOMID-DEVID", clip(s))
	}
	return parseKey(s, front, device)
}

// ParseXenbusPath reads XENBUS_PATH as libxl and the kernel give it: "backend/vif/FE/N", or the same below "/local/domain/BE".
// The backend domid of an absolute path is not judged here.
func ParseXenbusPath(s string) (Key, error) {
	rest := s
	if abs, ok := strings.CutPrefix(s, "/local/domain/"); ok {
		be, r, found := strings.Cut(abs, "/")
		if _, err := xenstore.ParseDomID(be); err != nil || !found {
			return Key{}, fmt.Errorf("hotplug: XENBUS_PATH %q: want backend/vif/DOMID/DEVID", clip(s))
		}
		rest = r
	}
	rest, ok := strings.CutPrefix(rest, "backend/vif/")
	front, device, slash := strings.Cut(rest, "/")
	if !ok || !slash {
		return Key{}, fmt.Errorf("hotplug: XENBUS_PATH %q: want backend/vif/DOMID/DEVID", clip(s))
	}
	return parseKey(s, front, device)
}

func parseKey(whole, front, device string) (Key, error) {
	id, err := xenstore.ParseDomID(front)
	if err != nil {
		return Key{}, fmt.Errorf("hotplug: %q: %w", clip(whole), err)
	}
	n, err := parseDecimal(device, 32)
	if err != nil {
		return Key{}, fmt.Errorf("hotplug: %q: device id: %w", clip(whole), err)
	}
	return Key{Front: id, Device: uint32(n)}, nil
}

// parseDecimal reads a plain decimal number: digits only, no leading zero but "0" itself.
func parseDecimal(s string, bits int) (uint64, error) {
	if s == "" || (len(s) > 1 && s[0] == '0') || strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' }) >= 0 {
		return 0, fmt.Errorf("%q is not a plain decimal number", clip(s))
	}
	n, err := strconv.ParseUint(s, 10, bits)
	if err != nil {
		return 0, fmt.Errorf("%q is out of range", clip(s))
	}
	return n, nil
}

// clip bounds text from outside that is to be quoted in a message, by what it is when quoted: a byte that is no text takes four there.
func clip(s string) string {
	const most = 80
	quoted := 0
	for i, r := range s {
		if quoted += len(strconv.QuoteRune(r)) - 2; quoted > most {
			return s[:i] + "..."
		}
	}
	return s
}

// layout builds the xenstore paths of a backend domain's vifs.
type layout struct{ root string }

func newLayout(self xenstore.DomID) layout {
	return layout{root: fmt.Sprintf("/local/domain/%d/backend/vif", self)}
}

func (l layout) backend(k Key) string {
	return l.root + "/" + strconv.Itoa(int(k.Front)) + "/" + strconv.FormatUint(uint64(k.Device), 10)
}

func domainPath(id xenstore.DomID) string { return "/local/domain/" + strconv.Itoa(int(id)) }

func frontendPath(k Key) string {
	return domainPath(k.Front) + "/device/vif/" + strconv.FormatUint(uint64(k.Device), 10)
}

// split reads a path at or below the vif directory: how deep it lies, its key where it has one, and the leaf below the NIC's own directory.
//
//	depth 0 the directory itself or above, 1 a domain, 2 a NIC, 3 a node of a NIC (leaf set), -1 nothing of ours
func (l layout) split(path string) (k Key, leaf string, depth int) {
	rest, ok := strings.CutPrefix(path, l.root)
	if !ok {
		return Key{}, "", -1
	}
	if rest == "" {
		return Key{}, "", 0
	}
	if rest[0] != '/' { // a name that only begins like ours
		return Key{}, "", -1
	}
	front, rest, more := strings.Cut(rest[1:], "/")
	id, err := xenstore.ParseDomID(front)
	if err != nil {
		return Key{}, "", -1
	}
	if !more {
		return Key{Front: id}, "", 1
	}
	device, leaf, more := strings.Cut(rest, "/")
	n, err := parseDecimal(device, 32)
	if err != nil {
		return Key{}, "", -1
	}
	k = Key{Front: id, Device: uint32(n)}
	if !more {
		return k, "", 2
	}
	return k, leaf, 3
}
