package bridge

import (
	"math"

	"golang.org/x/sys/unix"
)

// longest is the greatest time that the kernel's 32 bits of jiffies hold at any tick rate: 2^31 of them at 1,000 a second, in centiseconds.
const longest = math.MaxInt32 / 10

// BridgeOptions are the bridge's, in the order in which it takes them from one message.
var BridgeOptions = []Option{
	{Key: "forward_delay", Kind: "seconds", Max: 3000, Default: "15", Text: "how long a port listens, then learns, before it forwards; with STP at least 2", attribute: unix.IFLA_BR_FORWARD_DELAY, width: 4},
	{Key: "hello_time", Kind: "seconds", Min: 100, Max: 1000, Default: "2", Text: "between the root bridge's STP frames", attribute: unix.IFLA_BR_HELLO_TIME, width: 4},
	{Key: "max_age", Kind: "seconds", Min: 600, Max: 4000, Default: "20", Text: "how long STP believes what it heard", attribute: unix.IFLA_BR_MAX_AGE, width: 4},
	{Key: "ageing_time", Kind: "seconds", Max: longest, Default: "300", Text: "how long a silent MAC address is remembered; 0: not at all, every frame is flooded", attribute: unix.IFLA_BR_AGEING_TIME, width: 4},
	{Key: "stp_state", Kind: "bool", Max: 1, Default: "0", Text: "spanning tree protocol", attribute: unix.IFLA_BR_STP_STATE, width: 4},
	{Key: "priority", Kind: "number", Max: math.MaxUint16, Default: "32768", Text: "in STP's choice of the root: the lowest wins", attribute: unix.IFLA_BR_PRIORITY, width: 2},
	{Key: "vlan_filtering", Kind: "bool", Max: 1, Default: "0", Text: "ports take part only in their VLANs", attribute: unix.IFLA_BR_VLAN_FILTERING, width: 1},
	{Key: "default_pvid", Kind: "number", Max: 4094, Default: "1", Text: "the VLAN of untagged frames on ports that join; 0: none", attribute: unix.IFLA_BR_VLAN_DEFAULT_PVID, width: 2},
	flag("vlan_stats_enabled", unix.IFLA_BR_VLAN_STATS_ENABLED, "0", "count each VLAN's frames"),
	{Key: "group_fwd_mask", Kind: "number", Max: math.MaxUint16, Default: "0", Text: "which of 01:80:c2:00:00:00 to 0f are forwarded, as bits; not 0 to 2", attribute: unix.IFLA_BR_GROUP_FWD_MASK, width: 2},
	{Key: "multicast_router", Kind: "number", Max: 2, Default: "1", Text: "a multicast router is on the host: 0 never, 1 as queries tell, 2 always", attribute: unix.IFLA_BR_MCAST_ROUTER, width: 1},
	flag("multicast_snooping", unix.IFLA_BR_MCAST_SNOOPING, "1", "multicast goes only where IGMP and MLD say that it is wanted"),
	flag("multicast_query_use_ifaddr", unix.IFLA_BR_MCAST_QUERY_USE_IFADDR, "0", "queries carry the bridge's own address"),
	flag("multicast_querier", unix.IFLA_BR_MCAST_QUERIER, "0", "send multicast queries where nobody else does"),
	{Key: "hash_max", Kind: "number", Min: 1, Max: math.MaxInt32, Default: "4096", Text: "multicast groups at most", attribute: unix.IFLA_BR_MCAST_HASH_MAX, width: 4},
	{Key: "multicast_last_member_count", Kind: "number", Max: math.MaxInt32, Default: "2", Text: "queries after the last member left", attribute: unix.IFLA_BR_MCAST_LAST_MEMBER_CNT, width: 4},
	{Key: "multicast_startup_query_count", Kind: "number", Max: math.MaxInt32, Default: "2", Text: "queries at the start", attribute: unix.IFLA_BR_MCAST_STARTUP_QUERY_CNT, width: 4},
	span("multicast_last_member_interval", unix.IFLA_BR_MCAST_LAST_MEMBER_INTVL, "1", "between queries after the last member left"),
	span("multicast_membership_interval", unix.IFLA_BR_MCAST_MEMBERSHIP_INTVL, "260", "how long a member that says nothing stays one"),
	span("multicast_querier_interval", unix.IFLA_BR_MCAST_QUERIER_INTVL, "255", "how long another querier is waited for"),
	{Key: "multicast_query_interval", Kind: "seconds", Min: 100, Max: longest, Default: "125", Text: "between queries", attribute: unix.IFLA_BR_MCAST_QUERY_INTVL, width: 8},
	span("multicast_query_response_interval", unix.IFLA_BR_MCAST_QUERY_RESPONSE_INTVL, "10", "how long members may take to answer"),
	{Key: "multicast_startup_query_interval", Kind: "seconds", Min: 100, Max: longest, Default: "31.25", Text: "between queries at the start", attribute: unix.IFLA_BR_MCAST_STARTUP_QUERY_INTVL, width: 8},
	flag("multicast_stats_enabled", unix.IFLA_BR_MCAST_STATS_ENABLED, "0", "count IGMP and MLD frames"),
	{Key: "multicast_igmp_version", Kind: "number", Min: 2, Max: 3, Default: "2", Text: "of its own queries", attribute: unix.IFLA_BR_MCAST_IGMP_VERSION, width: 1},
	{Key: "multicast_mld_version", Kind: "number", Min: 1, Max: 2, Default: "1", Text: "of its own queries", attribute: unix.IFLA_BR_MCAST_MLD_VERSION, width: 1},
	flag("nf_call_iptables", unix.IFLA_BR_NF_CALL_IPTABLES, "0", "IPv4 frames pass iptables"),
	flag("nf_call_ip6tables", unix.IFLA_BR_NF_CALL_IP6TABLES, "0", "IPv6 frames pass ip6tables"),
	flag("nf_call_arptables", unix.IFLA_BR_NF_CALL_ARPTABLES, "0", "ARP frames pass arptables"),
}

func flag(key Key, attribute uint16, def, text string) Option {
	return Option{Key: key, Kind: "bool", Max: 1, Default: def, Text: text, attribute: attribute, width: 1}
}

func span(key Key, attribute uint16, def, text string) Option {
	return Option{Key: key, Kind: "seconds", Max: longest, Default: def, Text: text, attribute: attribute, width: 8}
}
