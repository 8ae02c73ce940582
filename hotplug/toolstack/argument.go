package toolstack

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"

	"vifplug/bridge"
	"vifplug/hotplug"
)

// What callers must tell apart, for errors.Is. A refusal by a network's rules is a [*hotplug.Reason].
var (
	ErrArgument = errors.New("toolstack: wrong argument")
	ErrUnknown  = errors.New("toolstack: no such thing")
)

// refusal is a sentence of one of these kinds.
type refusal struct {
	kind error
	text string
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return r.kind }

func argument(format string, args ...any) error {
	return &refusal{ErrArgument, fmt.Sprintf(format, args...)}
}

func unknown(format string, args ...any) error {
	return &refusal{ErrUnknown, fmt.Sprintf(format, args...)}
}

// NIC is what may be said of a NIC to attach.
type NIC struct {
	Network string   `json:"network"`        // a declared network's name or id, or a bridge
	MAC     string   `json:"mac,omitempty"`  // "": one of Xen's, at random
	MTU     int      `json:"mtu,omitempty"`  // bytes; 0: the bridge's
	Rate    string   `json:"rate,omitempty"` // as xl writes it: 10Mb/s, 1MB/s@20ms; "": unlimited
	VLAN    int      `json:"vlan,omitempty"` // on a network that filters VLANs; 0: as the bridge gives it
	IP      []string `json:"ip,omitempty"`   // addresses or subnets that the guest may use
}

// nodes checks what can be checked without the host.
func (n NIC) nodes() (Nodes, error) {
	var out Nodes
	var err error
	if n.MAC != "" {
		if out.MAC, err = parseMAC(n.MAC); err != nil {
			return out, err
		}
	}
	if n.MTU != 0 {
		if out.MTU, err = hotplug.ParseMTU(strconv.Itoa(n.MTU)); err != nil {
			return out, argument("MTU %d %v", n.MTU, err)
		}
	}
	if n.Rate != "" {
		if out.Rate, err = ParseRate(n.Rate); err != nil {
			return out, err
		}
	}
	if out.VLAN, err = vlanText(n.VLAN); err != nil {
		return out, err
	}
	out.IP, err = parseIP(n.IP)
	return out, err
}

func vlanText(vlan int) (string, error) {
	if vlan == 0 {
		return "", nil
	}
	text := strconv.Itoa(vlan)
	if _, err := hotplug.ParseVLAN(text); err != nil {
		return "", argument("VLAN %d %v", vlan, err)
	}
	return text, nil
}

// parseMAC reads the address of one NIC, and gives it as libxl writes it.
func parseMAC(text string) (string, error) {
	mac, err := bridge.ParseMAC(text)
	switch {
	case err != nil:
		return "", argument("MAC %q %v", text, err)
	case mac[0]&1 != 0:
		return "", argument("MAC %v is a group's, not one NIC's: its first byte is odd", mac)
	case mac == bridge.MAC{}:
		return "", argument("MAC %v is nobody's", mac)
	}
	return mac.String(), nil
}

// parseIP reads addresses and subnets, and gives them as the node ip has them: with blanks between.
func parseIP(list []string) (string, error) {
	var out []string
	seen := map[netip.Prefix]bool{}
	for _, text := range list {
		p, err := parseSubnet(text)
		switch {
		case err != nil:
			return "", argument("%q is no IP address or subnet, such as 10.11.13.5 or 2001:db8::/64", text)
		case p.Addr().IsMulticast() || p.Addr().IsUnspecified():
			return "", argument("%s cannot be a guest's address", text)
		case seen[p]:
			return "", argument("%s is given twice", text)
		}
		seen[p] = true
		out = append(out, strings.ToLower(text))
	}
	return strings.Join(out, " "), nil
}

// parseSubnet reads a subnet, or an address as the subnet of itself alone.
func parseSubnet(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		return netip.ParsePrefix(text)
	}
	a, err := netip.ParseAddr(text)
	if err == nil && a.Zone() != "" {
		err = errors.New("it has a zone")
	}
	return netip.PrefixFrom(a, a.BitLen()), err
}

// defaultInterval is how often netback renews what a guest may send, in microseconds (xen: xl-network-configuration(5)).
const defaultInterval = 50000

// ParseRate reads a rate as xl does, NUMBER[K|M|G](B|b)/s with an interval behind an @, and gives the node's value: the bytes of an interval, and
// its microseconds. K, M and G count by 1000; b is a bit. Where xl's grammar and its manual differ about what is meant (an interval without a
// unit, a number that begins with 0), or the guest could send nothing, it is refused.
func ParseRate(text string) (string, error) {
	amount, interval, timed := strings.Cut(text, "@")
	perSecond, err := parseAmount(amount)
	usec := uint64(defaultInterval)
	if err == nil && timed {
		usec, err = parseInterval(interval)
	}
	if err != nil {
		return "", argument("rate %q: %v. Say it as 10Mb/s, 250KB/s or 1MB/s@20ms", text, err)
	}
	// Both are below 2^32, so that the product fits.
	bytes := perSecond * usec / 1e6
	switch {
	case bytes == 0:
		return "", argument("rate %q is less than a byte in %d us, so that the guest could send nothing. Say more, or a longer interval", text, usec)
	case bytes > math.MaxUint32:
		return "", argument("rate %q is %d bytes in %d us, more than netback can count. Say less, or a shorter interval", text, bytes, usec)
	}
	return fmt.Sprintf("%d,%d", bytes, usec), nil
}

// parseAmount gives bytes a second.
func parseAmount(text string) (uint64, error) {
	rest, ok := strings.CutSuffix(text, "/s")
	if !ok || rest == "" {
		return 0, errors.New("it does not end with /s")
	}
	unit, rest := rest[len(rest)-1], rest[:len(rest)-1]
	if unit != 'B' && unit != 'b' {
		return 0, errors.New("it counts neither bytes (B) nor bits (b)")
	}
	factor := uint64(1)
	for i, letter := range []string{"K", "M", "G"} {
		if shorter, has := strings.CutSuffix(rest, letter); has {
			rest, factor = shorter, uint64(math.Pow10(3*(i+1)))
		}
	}
	n, err := parseCount(rest)
	if err != nil {
		return 0, err
	}
	if n *= factor; unit == 'b' {
		n /= 8
	}
	if n > math.MaxUint32 {
		return 0, fmt.Errorf("%d bytes a second are more than xl takes", n)
	}
	return n, nil
}

// parseInterval gives microseconds.
func parseInterval(text string) (uint64, error) {
	for _, u := range []struct {
		name   string
		factor uint64
	}{{"us", 1}, {"ms", 1e3}, {"s", 1e6}} {
		if rest, has := strings.CutSuffix(text, u.name); has {
			n, err := parseCount(rest)
			if err == nil && n*u.factor > math.MaxUint32 {
				err = errors.New("the interval is too long")
			}
			return n * u.factor, err
		}
	}
	return 0, errors.New("the interval has no unit: us, ms or s")
}

func parseCount(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 0 || text[0] == '0' || text[0] == '+' {
		return 0, fmt.Errorf("%q is no number from 1 to %d", text, uint32(math.MaxUint32))
	}
	return n, nil
}
