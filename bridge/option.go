package bridge

import "slices"

// Option is a setting that bonds or bridges have, as the kernel names and bounds it (linux: drivers/net/bonding/bond_options.c,
// net/bridge/br_netlink.c). One table serves the declaration's keys, the messages to the kernel, and the documents.
type Option struct {
	Key     Key      // as sysfs spells it
	Kind    string   // "number", "bool" (0 or 1), "name" (one of Names), "device", "addresses", "mac", "seconds" (a number of centiseconds for the kernel)
	Names   []string // of the kind "name": by their numbers
	Min     int      // of numbers; of seconds in centiseconds; of addresses how many
	Max     int
	Default string
	Modes   []string // bonds: modes that have it; nil: all
	Down    bool     // bonds: can be changed only while the bond is down
	Empty   bool     // bonds: can be changed only while the bond has no ports
	Text    string   // what it is, half a sentence

	attribute uint16 // linux: IFLA_BOND_..., IFLA_BR_...
	width     int    // bytes of a number, or of each address
}

// BondOption finds an option of bonds; nil where there is none of that key. The mode is none: see [BondModes].
func BondOption(key Key) *Option { return optionOf(BondOptions, key) }

// BridgeOption finds an option of bridges; nil where there is none of that key.
func BridgeOption(key Key) *Option { return optionOf(BridgeOptions, key) }

func optionOf(table []Option, key Key) *Option {
	if i := slices.IndexFunc(table, func(o Option) bool { return o.Key == key }); i >= 0 {
		return &table[i]
	}
	return nil
}

// In says that a bond of a mode has the option.
func (o *Option) In(mode string) bool { return o.Modes == nil || slices.Contains(o.Modes, mode) }
