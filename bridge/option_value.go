package bridge

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// ErrValue says that a text is no value of an option.
var ErrValue = errors.New("is no value of it")

// Check says what is wrong with a value, in a sentence that names the values which are right; nil: nothing.
func (o *Option) Check(value string) error {
	_, err := o.Canonical(value)
	return err
}

// Canonical gives a value as [Conn.Host] reports it, so that a declared one can be compared: "15.0" seconds are "15", a name's number is its
// name, a MAC address is in lower case, addresses are between single commas. It refuses what Check refuses.
func (o *Option) Canonical(value string) (string, error) {
	switch o.Kind {
	case "name":
		return o.canonicalName(value)
	case "device":
		if value == "" {
			return "", nil
		}
		name, err := ParseName(value)
		return string(name), o.wrong(err, value, "a device's name")
	case "addresses":
		return o.canonicalAddresses(value)
	case "mac":
		mac, err := ParseMAC(value)
		if err == nil && mac[0]&1 != 0 {
			err = errors.New("is a group's address")
		}
		return mac.String(), o.wrong(err, value, "a MAC address of one station")
	case "seconds":
		n, err := parseSeconds(value)
		if err != nil || n < o.Min || n > o.Max {
			return "", o.wrong(ErrValue, value, formatSeconds(uint64(o.Min))+" to "+formatSeconds(uint64(o.Max))+" seconds, with at most two decimals")
		}
		return formatSeconds(uint64(n)), nil
	}
	n, err := strconv.ParseUint(value, 0, 63)
	if err != nil || int(n) < o.Min || int(n) > o.Max {
		return "", o.wrong(ErrValue, value, fmt.Sprintf("a number from %d to %d", o.Min, o.Max))
	}
	return strconv.FormatUint(n, 10), nil
}

// Same says that what the kernel has is what was wanted. It keeps times in ticks, so one may come back a hundredth of a second shorter.
func (o *Option) Same(want, have string) bool {
	if o.Kind != "seconds" {
		return want == have
	}
	w, err1 := parseSeconds(want)
	h, err2 := parseSeconds(have)
	return err1 == nil && err2 == nil && (w == h || w == h+1)
}

func (o *Option) canonicalName(value string) (string, error) {
	if slices.Contains(o.Names, value) && value != "" {
		return value, nil
	}
	if n, err := strconv.ParseUint(value, 10, 8); err == nil && int(n) < len(o.Names) && o.Names[n] != "" {
		return o.Names[n], nil
	}
	known := slices.DeleteFunc(slices.Clone(o.Names), func(s string) bool { return s == "" })
	return "", o.wrong(ErrValue, value, "one of "+strings.Join(known, ", "))
}

func (o *Option) canonicalAddresses(value string) (string, error) {
	addrs, ok := o.parseAddresses(value)
	if !ok {
		return "", o.wrong(ErrValue, value, fmt.Sprintf("up to %d different IPv%d addresses between commas", o.Max, map[int]int{4: 4, 16: 6}[o.width]))
	}
	texts := make([]string, 0, len(addrs))
	for _, a := range addrs {
		texts = append(texts, a.String())
	}
	return strings.Join(texts, ","), nil
}

// parseAddresses refuses what the kernel does: too many, twice the same, any and broadcast (linux: bond_is_ip_target_ok).
func (o *Option) parseAddresses(value string) (out []netip.Addr, ok bool) {
	for _, s := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' }) {
		a, err := netip.ParseAddr(s)
		bad := err != nil || a.BitLen() != 8*o.width || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() && a.Is6() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255})
		if bad || slices.Contains(out, a) {
			return nil, false
		}
		out = append(out, a)
	}
	return out, len(out) <= o.Max
}

func (o *Option) wrong(err error, value, want string) error {
	if err == nil {
		return nil
	}
	if !errors.Is(err, ErrValue) {
		err = fmt.Errorf("%w: it %w", ErrValue, err)
	}
	return fmt.Errorf("%s: %q %w; it takes %s", o.Key, value, err, want)
}

// parseSeconds gives centiseconds.
func parseSeconds(s string) (int, error) {
	whole, part, dot := strings.Cut(s, ".")
	if dot && (part == "" || len(part) > 2) {
		return 0, ErrValue
	}
	n, err := strconv.ParseUint(whole+(part + "00")[:2], 10, 48)
	if err != nil || whole == "" {
		return 0, ErrValue
	}
	return int(n), nil
}

func formatSeconds(centi uint64) string {
	s := strconv.FormatUint(centi/100, 10)
	if part := centi % 100; part != 0 {
		s += strings.TrimRight(fmt.Sprintf(".%02d", part), "0")
	}
	return s
}

// append appends the option's attribute for a value that Check takes. Devices are given by index, which is the caller's affair.
func (o *Option) append(b []byte, value string) ([]byte, error) {
	value, err := o.Canonical(value)
	if err != nil {
		return b, err
	}
	switch o.Kind {
	case "name":
		return appendNumber(b, o.attribute, o.width, uint64(slices.Index(o.Names, value))), nil
	case "addresses":
		var list []byte
		addrs, _ := o.parseAddresses(value)
		for i, a := range addrs {
			list = appendAttr(list, uint16(i), a.AsSlice())
		}
		return appendAttr(b, o.attribute, list), nil
	case "mac":
		mac, _ := ParseMAC(value)
		return appendAttr(b, o.attribute, mac[:]), nil
	case "seconds":
		n, _ := parseSeconds(value)
		return appendNumber(b, o.attribute, o.width, uint64(n)), nil
	}
	n, _ := strconv.ParseUint(value, 10, 63)
	return appendNumber(b, o.attribute, o.width, n), nil
}

// format is the text for an attribute's value; false where the kernel's cannot be read. A number that has no name stays one.
func (o *Option) format(v []byte) (string, bool) {
	switch o.Kind {
	case "addresses":
		var list []string
		for _, one := range attrs(v) {
			if a, ok := netip.AddrFromSlice(one); ok {
				list = append(list, a.String())
			}
		}
		return strings.Join(list, ","), true
	case "mac":
		if len(v) != len(MAC{}) {
			return "", false
		}
		return MAC(v).String(), true
	}
	n, ok := unsigned(v)
	switch {
	case !ok:
		return "", false
	case o.Kind == "seconds":
		return formatSeconds(n), true
	case o.Kind == "name" && n < uint64(len(o.Names)) && o.Names[n] != "":
		return o.Names[n], true
	}
	return strconv.FormatUint(n, 10), true
}

// appendNumber appends a number of 1, 2, 4 or 8 bytes.
func appendNumber(b []byte, kind uint16, width int, n uint64) []byte {
	switch width {
	case 1:
		return appendAttr(b, kind, []byte{byte(min(n, math.MaxUint8))})
	case 2:
		return appendAttr(b, kind, binary.NativeEndian.AppendUint16(nil, uint16(n)))
	case 4:
		return appendUint32(b, kind, uint32(n))
	}
	return appendAttr(b, kind, binary.NativeEndian.AppendUint64(nil, n))
}

// unsigned reads a number of any width.
func unsigned(v []byte) (uint64, bool) {
	switch len(v) {
	case 1:
		return uint64(v[0]), true
	case 2:
		return uint64(binary.NativeEndian.Uint16(v)), true
	case 4:
		return uint64(binary.NativeEndian.Uint32(v)), true
	case 8:
		return binary.NativeEndian.Uint64(v), true
	}
	return 0, false
}
