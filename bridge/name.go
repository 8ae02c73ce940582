package bridge

import (
	"errors"
	"fmt"
	"net"
	"strings"
)

// Name is a legal name of a network device.
type Name string

// NameMax is a name's greatest length, in bytes (linux: IFNAMSIZ less the NUL).
const NameMax = 15

// ErrName says that a text is no device name.
var ErrName = errors.New("is no legal device name")

// ParseName reads a device name as the kernel takes it (linux: net/core/dev.c dev_valid_name), and stricter: no control characters, and no
// '%', which in a rename is a template.
func ParseName(s string) (Name, error) {
	switch {
	case s == "":
		return "", fmt.Errorf("%w: it is empty", ErrName)
	case len(s) > NameMax:
		return "", fmt.Errorf("%w: it is longer than %d bytes", ErrName, NameMax)
	case s == "." || s == "..":
		return "", fmt.Errorf("%w: it names a directory", ErrName)
	case s == "all" || s == "default": // of /proc/sys/net/*/conf, so the kernel takes them no better
		return "", fmt.Errorf("%w: it names the settings of every device", ErrName)
	}
	if i := strings.IndexFunc(s, badInName); i >= 0 {
		return "", fmt.Errorf("%w: it has the byte %#02x", ErrName, s[i])
	}
	return Name(s), nil
}

// badInName is what neither sysfs, nor the kernel's templates and colons of old aliases, nor a reader of a log would take rightly. Only
// plain ASCII is left.
func badInName(r rune) bool {
	return r <= ' ' || r > '~' || strings.ContainsRune("/%:;$`'\"\\|&<>(){}*?!#", r)
}

// MAC is an Ethernet address.
type MAC [6]byte

// ParseMAC reads an Ethernet address: six pairs of hexadecimal digits between colons.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != 6 || len(s) != 17 || s[2] != ':' {
		return MAC{}, errors.New("is no MAC address: want six pairs of hexadecimal digits between colons")
	}
	return MAC(hw), nil
}

// String gives lower-case pairs between colons.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }
