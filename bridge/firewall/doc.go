// Package firewall tells which rules of the host's firewalls are in the way of frames that would go past the bridge: nftables, and legacy
// ebtables, iptables and arptables.
//
// What a newcomer must know first: a program at a port's ingress (tc, XDP) redirects a frame before any firewall has seen it. So where
// somebody has rules for the frames of bridges, those frames must stay in the bridge, or the rules would count for nothing. Rules for IP are
// among them while br_netfilter shows bridged frames to them. [Read] tells what there is, [State.Against] what of it concerns a device.
package firewall
