package bridge

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
)

// Support is the answer of a probe. Only the first two are certain.
type Support int

// The answers.
const (
	Unknown      Support = iota // it could not be told: the error says why
	Supported                   // the kernel did it
	NotSupported                // the kernel knows nothing of it
)

func (s Support) String() string {
	return [...]string{"unknown", "supported", "not supported"}[s]
}

// ProbeBonding tells whether the kernel has bonds (CONFIG_BONDING, module bonding), by making one and removing it.
//
// Where the module was not loaded, loading it makes bond0, too: see [Conn.Create].
func (c *Conn) ProbeBonding() (Support, error) {
	return c.probe(Device{Kind: "bond"}, func(Device) bool { return true })
}

// ProbeVLAN tells whether the kernel has VLAN devices (CONFIG_VLAN_8021Q, module 8021q), by making one on a bridge and removing both.
func (c *Conn) ProbeVLAN() (Support, error) {
	on := Device{Name: probeName(), Kind: "bridge"}
	if err := c.Create(on); err != nil {
		return Unknown, err
	}
	answer, err := c.probe(Device{Kind: "vlan", On: on.Name, VLAN: 1}, func(Device) bool { return true })
	return answer, errors.Join(err, c.Delete(on.Name))
}

// ProbeVLANFiltering tells whether the kernel's bridges filter by VLAN (CONFIG_BRIDGE_VLAN_FILTERING), by making one that does and removing it.
// A kernel that takes the setting and does not report it has ignored it.
func (c *Conn) ProbeVLANFiltering() (Support, error) {
	const key = Key("vlan_filtering")
	return c.probe(Device{Kind: "bridge", Settings: Settings{key: "1"}}, func(d Device) bool { return d.Settings[key] == "1" })
}

// probe makes a device under a name that nobody has, asks what the kernel made of it, and removes it.
func (c *Conn) probe(d Device, is func(Device) bool) (answer Support, err error) {
	d.Name = probeName()
	if err := c.Create(d); errors.Is(err, ErrUnsupported) {
		return NotSupported, nil
	} else if err != nil {
		return Unknown, err
	}
	defer func() { err = errors.Join(err, c.Delete(d.Name)) }()
	found, err := c.devices()
	if err != nil {
		return Unknown, fail("list", "devices", err)
	}
	for _, s := range found {
		if s.Name == d.Name && is(s.Device) {
			return Supported, nil
		}
	}
	return NotSupported, nil
}

// probeName is a name that no administrator gives, another each time: two processes may probe at once.
func probeName() Name {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return Name("probe" + hex.EncodeToString(b[:]))
}
