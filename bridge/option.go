package bridge

// Option is a setting that bonds or bridges have, as the kernel names and bounds it (linux: drivers/net/bonding/bond_options.c,
// net/bridge/br_netlink.c). One table serves the declaration's keys, the messages to the kernel, and the documents.
type Option struct {
	Key     Key      // as sysfs spells it
	Kind    string   // "number", "bool" (0 or 1), "name" (one of Names), "device", "addresses", "mac", "seconds" (a number of centiseconds for the kernel)
	Names   []string // of the kind "name": by their numbers
	Min     int
	Max     int
	Default string
	Modes   []string // bonds: modes that have it; nil: all
	Down    bool     // bonds: can be changed only while the bond is down
	Empty   bool     // bonds: can be changed only while the bond has no ports
	Text    string   // what it is, half a sentence

	attribute uint16 // linux: IFLA_BOND_..., IFLA_BR_...
	width     int    // bytes of a number
}
