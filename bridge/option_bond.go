package bridge

import (
	"math"
	"slices"

	"golang.org/x/sys/unix"
)

// KeyMode is the setting of bonds that decides what else they have: one of [BondModes].
const KeyMode Key = "mode"

// BondModes are the kernel's, by their numbers.
var BondModes = []string{"balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"}

// bondMode can be changed only while the bond is down and has no ports.
var bondMode = Option{Key: KeyMode, Kind: "name", Names: BondModes, Default: "balance-rr", Down: true, Empty: true, attribute: unix.IFLA_BOND_MODE, width: 1}

// Modes that share options.
var (
	onlyLACP     = []string{"802.3ad"}
	withPrimary  = []string{"active-backup", "balance-tlb", "balance-alb"}
	withARP      = []string{"balance-rr", "active-backup", "balance-xor", "broadcast"}
	withDynamic  = []string{"balance-tlb", "balance-alb"}
	onlyInTurn   = []string{"balance-rr"}
	offOn        = []string{"off", "on"}
	probeFilters = []string{"none", "active", "backup", "all", "filter", "filter_active", "filter_backup"}
)

// IFLA_BOND_BROADCAST_NEIGH of Linux 6.17, which golang.org/x/sys does not have yet.
const bondBroadcastNeighbour = unix.IFLA_BOND_COUPLED_CONTROL + 1

// BondOptions are the bonding driver's, in the order in which it takes them from one message.
var BondOptions = []Option{
	ms("miimon", unix.IFLA_BOND_MIIMON, "how often the ports' links are looked at, in ms; 0: never (802.3ad, balance-tlb and -alb make it 100)"),
	ms("updelay", unix.IFLA_BOND_UPDELAY, "how long a link must be up before it is used, in ms, a multiple of miimon"),
	ms("downdelay", unix.IFLA_BOND_DOWNDELAY, "how long a link must be down before it is given up, in ms, a multiple of miimon"),
	{Key: "peer_notif_delay", Kind: "number", Max: 300000, Default: "0", Text: "between two notices to peers after a failover, in ms, a multiple of miimon", attribute: unix.IFLA_BOND_PEER_NOTIF_DELAY, width: 4},
	{Key: "use_carrier", Kind: "bool", Max: 1, Default: "1", Text: "miimon goes by the driver's carrier, not by MII ioctls (Linux 6.18: always)", attribute: unix.IFLA_BOND_USE_CARRIER, width: 1},
	{Key: "arp_interval", Kind: "number", Max: math.MaxInt32, Default: "0", Modes: withARP, Text: "how often arp_ip_target is asked, in ms, instead of miimon; 0: never", attribute: unix.IFLA_BOND_ARP_INTERVAL, width: 4},
	{Key: "arp_ip_target", Kind: "addresses", Max: 16, Text: "IPv4 addresses that prove a link alive by answering ARP", attribute: unix.IFLA_BOND_ARP_IP_TARGET, width: 4},
	{Key: "ns_ip6_target", Kind: "addresses", Max: 16, Text: "IPv6 addresses that prove a link alive by answering neighbour solicitation", attribute: unix.IFLA_BOND_NS_IP6_TARGET, width: 16},
	{Key: "arp_validate", Kind: "name", Names: probeFilters, Default: "none", Modes: withARP, Text: "which ports' probes and replies are examined", attribute: unix.IFLA_BOND_ARP_VALIDATE, width: 4},
	{Key: "arp_all_targets", Kind: "name", Names: []string{"any", "all"}, Default: "any", Text: "how many targets must answer for a link to be up", attribute: unix.IFLA_BOND_ARP_ALL_TARGETS, width: 4},
	{Key: "primary", Kind: "device", Modes: withPrimary, Text: "the port that is active whenever it can be; empty until it is a port", attribute: unix.IFLA_BOND_PRIMARY, width: 4},
	{Key: "primary_reselect", Kind: "name", Names: []string{"always", "better", "failure"}, Default: "always", Text: "when the primary port takes over again", attribute: unix.IFLA_BOND_PRIMARY_RESELECT, width: 1},
	{Key: "fail_over_mac", Kind: "name", Names: []string{"none", "active", "follow"}, Default: "none", Empty: true, Text: "in active-backup: whose MAC address the bond has", attribute: unix.IFLA_BOND_FAIL_OVER_MAC, width: 1},
	{Key: "xmit_hash_policy", Kind: "name", Names: []string{"layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4", "vlan+srcmac"}, Default: "layer2", Text: "which fields choose the port for a frame (balance-xor, 802.3ad, balance-tlb)", attribute: unix.IFLA_BOND_XMIT_HASH_POLICY, width: 1},
	{Key: "resend_igmp", Kind: "number", Max: 255, Default: "1", Text: "IGMP reports after a failover", attribute: unix.IFLA_BOND_RESEND_IGMP, width: 4},
	{Key: "num_peer_notif", Kind: "number", Max: 255, Default: "1", Text: "gratuitous ARPs and neighbour advertisements after a failover", attribute: unix.IFLA_BOND_NUM_PEER_NOTIF, width: 1},
	{Key: "all_slaves_active", Kind: "bool", Max: 1, Default: "0", Text: "frames that come in by inactive ports are taken", attribute: unix.IFLA_BOND_ALL_SLAVES_ACTIVE, width: 1},
	{Key: "min_links", Kind: "number", Max: math.MaxInt32, Default: "0", Text: "links that must be up for the bond to have a carrier", attribute: unix.IFLA_BOND_MIN_LINKS, width: 4},
	{Key: "lp_interval", Kind: "number", Min: 1, Max: math.MaxInt32, Default: "1", Text: "between learning frames to each port's switch, in s (balance-tlb, -alb)", attribute: unix.IFLA_BOND_LP_INTERVAL, width: 4},
	{Key: "packets_per_slave", Kind: "number", Max: math.MaxUint16, Default: "1", Modes: onlyInTurn, Text: "frames by one port before the next has its turn; 0: at random", attribute: unix.IFLA_BOND_PACKETS_PER_SLAVE, width: 4},
	{Key: "lacp_active", Kind: "name", Names: offOn, Default: "on", Modes: onlyLACP, Down: true, Text: "LACP frames are sent unasked", attribute: unix.IFLA_BOND_AD_LACP_ACTIVE, width: 1},
	{Key: "lacp_rate", Kind: "name", Names: []string{"slow", "fast"}, Default: "slow", Modes: onlyLACP, Down: true, Text: "how often the partner is to send LACP frames: every 30 s or every second", attribute: unix.IFLA_BOND_AD_LACP_RATE, width: 1},
	{Key: "ad_select", Kind: "name", Names: []string{"stable", "bandwidth", "count"}, Default: "stable", Down: true, Text: "which aggregator 802.3ad takes", attribute: unix.IFLA_BOND_AD_SELECT, width: 1},
	{Key: "ad_actor_sys_prio", Kind: "number", Min: 1, Max: math.MaxUint16, Default: "65535", Modes: onlyLACP, Text: "the host's LACP system priority", attribute: unix.IFLA_BOND_AD_ACTOR_SYS_PRIO, width: 2},
	{Key: "ad_user_port_key", Kind: "number", Max: 1023, Default: "0", Modes: onlyLACP, Down: true, Text: "upper ten bits of the ports' LACP key", attribute: unix.IFLA_BOND_AD_USER_PORT_KEY, width: 2},
	{Key: "ad_actor_system", Kind: "mac", Default: "00:00:00:00:00:00", Modes: onlyLACP, Text: "the host's MAC address in LACP; zero: the bond's", attribute: unix.IFLA_BOND_AD_ACTOR_SYSTEM},
	{Key: "tlb_dynamic_lb", Kind: "bool", Max: 1, Default: "1", Modes: withDynamic, Down: true, Text: "flows move between ports by their load", attribute: unix.IFLA_BOND_TLB_DYNAMIC_LB, width: 1},
	{Key: "arp_missed_max", Kind: "number", Min: 1, Max: 255, Default: "2", Modes: withARP, Text: "arp_intervals without an answer before a link is down", attribute: unix.IFLA_BOND_MISSED_MAX, width: 1},
	{Key: "coupled_control", Kind: "name", Names: offOn, Default: "on", Modes: onlyLACP, Down: true, Text: "collecting and distributing begin together (Linux 6.8)", attribute: unix.IFLA_BOND_COUPLED_CONTROL, width: 1},
	{Key: "broadcast_neighbor", Kind: "name", Names: offOn, Default: "off", Modes: onlyLACP, Text: "ARP and neighbour discovery go out by every port (Linux 6.17)", attribute: bondBroadcastNeighbour, width: 1},
}

func ms(key Key, attribute uint16, text string) Option {
	return Option{Key: key, Kind: "number", Max: math.MaxInt32, Default: "0", Text: text, attribute: attribute, width: 4}
}

// needMiimon are the options that the kernel keeps as multiples of miimon, and refuses where that is 0.
var needMiimon = []Key{"updelay", "downdelay", "peer_notif_delay"}

// implied says that a bond need not, and without miimon must not, be told a value.
func implied(o *Option, s Settings, creating bool) bool {
	v := s[o.Key]
	return v == "0" && slices.Contains(needMiimon, o.Key) && (creating || s["miimon"] == "0") ||
		creating && v == o.Default && (o.Kind == "mac" || o.Kind == "addresses" || o.Kind == "device")
}
