package firewall

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"
)

func TestHookString(t *testing.T) {
	for want, h := range map[string]Hook{
		"nftables table bridge guard has 3 rules in chain forward (forward)": {
			By: "nftables", Family: "bridge", Table: "guard", Chain: "forward", At: "forward", Rules: 3,
		},
		"iptables table ip filter has policy drop in chain FORWARD (forward)": {
			By: "iptables", Family: "ip", Table: "filter", Chain: "FORWARD", At: "forward", Drops: true,
		},
		"nftables table netdev x has 1 rule and policy drop in chain in (ingress on eth0, vif*)": {
			By: "nftables", Family: "netdev", Table: "x", Chain: "in", At: "ingress", Rules: 1, Drops: true, Devices: []string{"eth0", "vif*"},
		},
	} {
		assert.Equal(t, want, h.String())
	}
}

func TestHookOnPrefix(t *testing.T) {
	h := Hook{Devices: []string{"vif5.0", "tap*"}}
	assert.True(t, h.on("vif5.0"))
	assert.True(t, h.on("tap7.0"))
	assert.False(t, h.on("vif5.01"))
	assert.False(t, h.on("ta"))
}

func TestAdvice(t *testing.T) {
	forward := Hook{By: "iptables", Family: "ip", Table: "filter", Chain: "FORWARD", At: "forward", Rules: 1}
	input, six := forward, forward
	input.At, six.Family = "input", "ip6"
	all := Calls{true, true, true}
	for what, s := range map[string]State{
		"it is off":           {BrNetfilter: true},
		"somebody needs it":   {BrNetfilter: true, NFCall: all, IP: []Hook{forward}},
		"others need the six": {BrNetfilter: true, NFCall: Calls{IP6: true}, IP: []Hook{six}},
	} {
		assert.Empty(t, s.Advice(), what)
	}
	got := State{BrNetfilter: true, NFCall: all, IP: []Hook{input}}.Advice()
	const keys = "net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0"
	assert.Contains(t, got, "\"sysctl -w "+keys+"\"")
	assert.Contains(t, got, "\"printf '%s\\n' "+keys+" > /etc/sysctl.d/90-bridge-nf.conf\"")
	assert.Contains(t, got, "x1.11")
	one := State{BrNetfilter: true, NFCall: Calls{IP: true}, IP: []Hook{six}}.Advice()
	assert.Contains(t, one, "sysctl -w net.bridge.bridge-nf-call-iptables=0\"", "only what is on is turned off")
	assert.NotContains(t, one, "ip6tables")
}

// anyHook draws a hook.
func anyHook(t *rapid.T) Hook {
	h := Hook{
		By: "nftables", Table: "t", Chain: "c",
		Family: rapid.SampledFrom([]string{"bridge", "ip", "ip6", "inet", "arp", "netdev"}).Draw(t, "family"),
		Rules:  rapid.IntRange(0, 2).Draw(t, "rules"), Drops: rapid.Bool().Draw(t, "drops"),
		At: rapid.SampledFrom([]string{"prerouting", "input", "forward", "output", "postrouting"}).Draw(t, "at"),
	}
	if h.Family == "netdev" || h.Family == "inet" && rapid.Bool().Draw(t, "of a device") {
		h.At = rapid.SampledFrom([]string{"ingress", "egress"}).Draw(t, "at a device")
		h.Devices = rapid.SliceOfN(rapid.SampledFrom([]string{"vif5.0", "vif*", "eth0"}), 1, 2).Draw(t, "devices")
	}
	return h
}

func anyCalls(t *rapid.T, name string) Calls {
	return Calls{rapid.Bool().Draw(t, name+" ip"), rapid.Bool().Draw(t, name+" ip6"), rapid.Bool().Draw(t, name+" arp")}
}

// The slow, obvious answer judges: of each hook alone whether it is in the way.
func TestAgainstProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hooks := rapid.SliceOf(rapid.Custom(anyHook)).Draw(t, "hooks")
		s := State{NFCall: anyCalls(t, "host")}
		bridge := anyCalls(t, "bridge")
		s.keep(hooks)
		want := 0
		for _, h := range hooks {
			if (h.Rules > 0 || h.Drops) && inTheWay(h, s.NFCall, bridge) {
				want++
			}
		}
		got := s.Against("vif5.0", bridge)
		if len(got) != want {
			t.Fatalf("%d are in the way, %d are told: %v", want, len(got), got)
		}
		for _, h := range got {
			if !strings.Contains(h.String(), "rule") && !strings.Contains(h.String(), "policy drop") {
				t.Fatalf("no reason: %v", h)
			}
		}
		if s.Advice() != "" && len(State{IP: s.IP, NFCall: s.NFCall}.Against("vif5.0", Calls{})) > 0 {
			t.Fatal("it is needed, and the advice is to turn it off")
		}
	})
}

func inTheWay(h Hook, host, bridge Calls) bool {
	through := h.At == "prerouting" || h.At == "forward" || h.At == "postrouting"
	four, six, arp := host.IP || bridge.IP, host.IP6 || bridge.IP6, host.ARP || bridge.ARP
	if h.At == "ingress" || h.At == "egress" {
		for _, d := range h.Devices {
			if d == "vif5.0" || d == "vif*" {
				return true
			}
		}
		return false
	}
	switch h.Family {
	case "bridge":
		return through
	case "ip":
		return through && four
	case "ip6":
		return through && six
	case "arp":
		return through && arp
	}
	return through && (four || six)
}
