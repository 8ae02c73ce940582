package bridge

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// indexOf finds a device by its name, without the lock that every rtnetlink request waits for. Alternative names do not count.
func (c *Conn) indexOf(name Name) (int, error) {
	raw, err := c.nl.SyscallConn()
	if err != nil {
		return 0, err
	}
	req, err := unix.NewIfreq(string(name))
	if err != nil {
		return 0, err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		if failed = unix.IoctlIfreq(int(fd), unix.SIOCGIFINDEX, req); failed == nil {
			failed = unix.IoctlIfreq(int(fd), unix.SIOCGIFNAME, req)
		}
	})
	switch {
	case err != nil:
		return 0, err
	case failed != nil:
		return 0, failed
	case req.Name() != string(name):
		return 0, unix.ENODEV
	}
	return int(req.Uint32()), nil
}

// Create makes a bridge, bond or VLAN by d's Name, Kind, On, VLAN, Master and Settings. It is there with all of them, or not at all. A name
// that is taken is ErrExists, but for a bond that the bonding module made of itself when it was loaded and that nobody has touched: it
// becomes d.
//
// A bridge's MTU stays what Settings say, whatever its ports have; without one it is that of its smallest port.
func (c *Conn) Create(d Device) error {
	op := "make " + d.Kind
	msg, err := c.encodeNew(d)
	if err != nil {
		return fail(op, string(d.Name), err)
	}
	_, err = c.execute(unix.RTM_NEWLINK, netlink.Acknowledge|netlink.Create|netlink.Excl, msg)
	if d.Kind == "bond" && errors.Is(err, unix.EEXIST) {
		return c.takeOver(d, fail(op, string(d.Name), err))
	}
	if err != nil {
		return fail(op, string(d.Name), err)
	}
	if err := c.finish(d); err != nil {
		return errors.Join(err, c.Delete(d.Name))
	}
	return nil
}

// finish says what the kernel does not hear when it makes a device: its alias, and that a bridge's MTU is meant.
func (c *Conn) finish(d Device) error {
	rest := Settings{}
	if alias := d.Settings[KeyAlias]; alias != "" {
		rest[KeyAlias] = alias
	}
	if mtu, ok := d.Settings[KeyMTU]; ok && d.Kind == "bridge" {
		rest[KeyMTU] = mtu
	}
	if len(rest) == 0 {
		return nil
	}
	b, err := appendCommon(linkRequest(0), rest)
	if err == nil {
		_, err = c.execute(unix.RTM_NEWLINK, netlink.Acknowledge, appendString(b, unix.IFLA_IFNAME, string(d.Name)))
	}
	return fail("set "+keysOf(rest)+" of", string(d.Name), err)
}

// encodeNew is the message that makes a device.
func (c *Conn) encodeNew(d Device) ([]byte, error) {
	s := d.Settings.Clone()
	if mtu, err := strconv.Atoi(s[KeyMTU]); err == nil && d.Kind == "bridge" {
		s[KeyMTU] = strconv.Itoa(unlike(mtu))
	}
	delete(s, KeyAlias)
	b, err := appendCommon(linkRequest(0), s)
	if err != nil {
		return nil, err
	}
	b = appendString(b, unix.IFLA_IFNAME, string(d.Name))
	for attribute, other := range map[uint16]Name{unix.IFLA_LINK: d.On, unix.IFLA_MASTER: d.Master} {
		if other == "" {
			continue
		}
		index, err := c.indexOf(other)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", other, err)
		}
		b = appendUint32(b, attribute, uint32(index))
	}
	var data []byte
	if d.Kind == "vlan" {
		data = appendNumber(nil, unix.IFLA_VLAN_ID, 2, uint64(d.VLAN))
	} else if data, err = c.encodeOptions(d.Kind, s, true); err != nil {
		return nil, err
	}
	return appendAttr(b, unix.IFLA_LINKINFO, linkInfo(d.Kind, data)), nil
}

// unlike gives another MTU than a bridge is to have: a bridge whose MTU was set, which it takes a change to do, no longer follows its ports
// (linux: net/bridge/br_device.c br_change_mtu).
func unlike(mtu int) int {
	if mtu == 1500 {
		return 1499
	}
	return 1500
}

func linkInfo(kind string, data []byte) []byte {
	b := appendString(nil, unix.IFLA_INFO_KIND, kind)
	if len(data) > 0 {
		b = appendAttr(b, unix.IFLA_INFO_DATA, data)
	}
	return b
}

// takeOver makes a bond that is as the module left it the one that was asked for; another is refused with exists.
func (c *Conn) takeOver(d Device, exists error) error {
	found, err := c.devices()
	if err != nil {
		return fail("list", "devices", err)
	}
	for _, s := range found {
		touched := s.Kind != "bond" || s.Settings[KeyUp] != "0" || s.Settings[KeyAlias] != "" || s.Master != ""
		if s.Master == d.Name || s.Name == d.Name && touched {
			return exists
		}
	}
	if err := c.Configure(d.Name, d.Settings); err != nil {
		return err
	}
	if d.Master == "" {
		return nil
	}
	return c.SetMaster(d.Name, d.Master)
}

// Delete removes a device; one that is gone already is fine.
func (c *Conn) Delete(name Name) error {
	index, err := c.indexOf(name)
	if err == nil {
		_, err = c.execute(unix.RTM_DELLINK, netlink.Acknowledge, linkRequest(index))
	}
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return fail("delete", string(name), err)
}

// Configure changes a device's settings, by one message wherever the kernel takes them by one. Keys that are absent stay as they are. What a
// bond takes only while it is down, or without ports, is ErrBusy then.
func (c *Conn) Configure(name Name, s Settings) error {
	for _, part := range inTurn(s) {
		if err := c.configure(name, part); err != nil {
			return fail("set "+keysOf(part)+" of", string(name), err)
		}
	}
	return nil
}

// inTurn parts what one message would do in the wrong order: the kernel sets options and the MAC address before it sets a device down, and a
// bridge's forward delay, which STP bounds, before it ends STP.
func inTurn(s Settings) []Settings {
	if len(s) == 0 {
		return nil
	}
	first := Settings{}
	if s[KeyUp] == "0" {
		first[KeyUp] = "0"
	}
	if _, ok := s["forward_delay"]; ok && s["stp_state"] == "0" {
		first["stp_state"] = "0"
	}
	rest := s.Clone()
	for k := range first {
		delete(rest, k)
	}
	return slices.DeleteFunc([]Settings{first, rest}, func(s Settings) bool { return len(s) == 0 })
}

func keysOf(s Settings) string {
	var keys []string
	for _, k := range slices.Sorted(maps.Keys(s)) {
		keys = append(keys, string(k))
	}
	return strings.Join(keys, ", ")
}

func (c *Conn) configure(name Name, s Settings) error {
	index, err := c.indexOf(name)
	if err != nil {
		return err
	}
	b, err := appendCommon(linkRequest(index), s)
	if err != nil {
		return err
	}
	kind, err := kindOf(s)
	if err != nil {
		return err
	}
	if kind != "" {
		data, err := c.encodeOptions(kind, s, false)
		if err != nil {
			return err
		}
		b = appendAttr(b, unix.IFLA_LINKINFO, linkInfo(kind, data))
	}
	_, err = c.execute(unix.RTM_NEWLINK, netlink.Acknowledge, b)
	return err
}

// kindOf is the kind of device that has the settings; "": any.
func kindOf(s Settings) (string, error) {
	kind := ""
	for k := range s {
		this := ""
		switch {
		case k == KeyMTU || k == KeyMAC || k == KeyAlias || k == KeyUp:
			continue
		case k == KeyMode || BondOption(k) != nil:
			this = "bond"
		case BridgeOption(k) != nil:
			this = "bridge"
		}
		if this == "" || kind != "" && kind != this {
			return "", fmt.Errorf("%q is no setting of such a device: %w", k, unix.EINVAL)
		}
		kind = this
	}
	return kind, nil
}

// appendCommon appends the settings that every device has.
func appendCommon(b []byte, s Settings) ([]byte, error) {
	if up, ok := s[KeyUp]; ok {
		if up == "1" {
			binary.NativeEndian.PutUint32(b[8:], unix.IFF_UP)
		}
		binary.NativeEndian.PutUint32(b[12:], unix.IFF_UP)
	}
	if t, ok := s[KeyMAC]; ok {
		mac, err := ParseMAC(t)
		if err != nil {
			return nil, fmt.Errorf("%q %w", t, err)
		}
		b = appendAttr(b, unix.IFLA_ADDRESS, mac[:])
	}
	if t, ok := s[KeyMTU]; ok {
		mtu, err := strconv.ParseUint(t, 10, 31)
		if err != nil {
			return nil, fmt.Errorf("%q is no MTU: %w", t, unix.EINVAL)
		}
		b = appendUint32(b, unix.IFLA_MTU, uint32(mtu))
	}
	if alias, ok := s[KeyAlias]; ok {
		b = appendAttr(b, unix.IFLA_IFALIAS, []byte(alias))
	}
	return b, nil
}

// encodeOptions is the IFLA_INFO_DATA of a bond or bridge.
func (c *Conn) encodeOptions(kind string, s Settings, creating bool) (b []byte, err error) {
	table := BridgeOptions
	if kind == "bond" {
		table = BondOptions
		if mode, ok := s[KeyMode]; ok {
			if b, err = bondMode.append(b, mode); err != nil {
				return nil, err
			}
		}
	}
	for i := range table {
		o := &table[i]
		value, ok := s[o.Key]
		if !ok || implied(o, s, creating) {
			continue
		}
		if o.Kind == "device" {
			b, err = c.appendDevice(b, o, value)
		} else {
			b, err = o.append(b, value)
		}
		if err != nil {
			return nil, err
		}
	}
	return b, nil
}

// appendDevice appends an option whose value is a device: its index, 0 for none.
func (c *Conn) appendDevice(b []byte, o *Option, value string) ([]byte, error) {
	index := 0
	if value != "" {
		var err error
		if index, err = c.indexOf(Name(value)); err != nil {
			return nil, fmt.Errorf("%s %s: %w", o.Key, value, err)
		}
	}
	return appendUint32(b, o.attribute, uint32(index)), nil
}

// SetMaster makes a device a port of a bridge or bond; "" releases it. A port joins a bond only while it is down.
func (c *Conn) SetMaster(name, master Name) error {
	op, object, to := "release", string(name), 0
	index, err := c.indexOf(name)
	if master != "" {
		op, object = "enslave", string(name)+" to "+string(master)
		if err == nil {
			if to, err = c.indexOf(master); err != nil {
				err = fmt.Errorf("%s: %w", master, err)
			}
		}
	}
	if err == nil {
		_, err = c.execute(unix.RTM_SETLINK, netlink.Acknowledge, appendUint32(linkRequest(index), unix.IFLA_MASTER, uint32(to)))
	}
	return fail(op, object, err)
}
