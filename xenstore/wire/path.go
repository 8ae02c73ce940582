package wire

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrPath says that a path is not one of the protocol's.
var ErrPath = errors.New("invalid path")

// CheckPath says whether p can name a node: absolute, relative, or special (@...). Letters, digits and -/_@ only; no empty element and no
// slash at the end but in the root itself (xen: docs/misc/xenstore.txt; tools/xenstored/core.c canonicalize). The lengths are the documented ones;
// C xenstored may take less, and then says EINVAL.
func CheckPath(p string) error {
	switch {
	case p == "":
		return fmt.Errorf("%w: it is empty", ErrPath)
	case p == "/":
		return nil
	case p[0] == '/' && len(p) > AbsPathMax || p[0] != '/' && len(p) > RelPathMax:
		return fmt.Errorf("%w: %d bytes are too many", ErrPath, len(p))
	case strings.HasSuffix(p, "/"):
		return fmt.Errorf("%w: %q ends with a slash", ErrPath, clip(p))
	case strings.Contains(p, "//"):
		return fmt.Errorf("%w: %q has an empty element", ErrPath, clip(p))
	}
	for i := range len(p) {
		if !pathByte(p[i]) {
			return fmt.Errorf("%w: %q has the byte %#02x", ErrPath, clip(p), p[i])
		}
	}
	return nil
}

func pathByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '/' || c == '_' || c == '@'
}

func clip(s string) string {
	const most = 100
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}

// DomID is a domain's id.
type DomID uint16

// FirstReserved is the lowest id that no ordinary domain has (xen: xen/include/public/xen.h DOMID_FIRST_RESERVED).
const FirstReserved DomID = 0x7ff0

// ParseDomID reads an ordinary domain's id: a plain decimal number below FirstReserved.
func ParseDomID(s string) (DomID, error) {
	if s == "" || len(s) > 5 || len(s) > 1 && s[0] == '0' {
		return 0, fmt.Errorf("xenstore: %q is no domid", clip(s))
	}
	n, err := strconv.ParseUint(s, 10, 16) // takes no sign
	if err != nil || DomID(n) >= FirstReserved {
		return 0, fmt.Errorf("xenstore: %q is no domid", clip(s))
	}
	return DomID(n), nil
}

// Perm is one entry of a node's permissions: n none, r read, w write, b both. The first entry of a list names the owner, and its letter is
// what domains that are not listed may do (xen: docs/misc/xenstore.txt).
type Perm struct {
	Letter byte
	DomID  DomID
}

// String is the entry as it goes over the wire.
func (p Perm) String() string { return string(p.Letter) + strconv.Itoa(int(p.DomID)) }

// ParsePerm reads one entry. Reserved ids are allowed: DOMID_ANY may stand in a list since Xen 4.22.
func ParsePerm(s string) (Perm, error) {
	if len(s) < 2 || len(s) > 6 || !strings.ContainsRune("nrwb", rune(s[0])) || len(s) > 2 && s[1] == '0' {
		return Perm{}, fmt.Errorf("xenstore: permission %q: want n, r, w or b and a domid", clip(s))
	}
	n, err := strconv.ParseUint(s[1:], 10, 16)
	if err != nil {
		return Perm{}, fmt.Errorf("xenstore: permission %q: want n, r, w or b and a domid", clip(s))
	}
	return Perm{Letter: s[0], DomID: DomID(n)}, nil
}
