package firewall

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge/bridgetest"
	"vifplug/test/netns"
)

// run runs a tool of the system in the test's namespace.
func run(t *testing.T, input, tool string, args ...string) {
	t.Helper()
	c := exec.Command(tool, args...)
	c.Stdin = strings.NewReader(input)
	out, err := c.CombinedOutput()
	require.NoError(t, err, "%s %v: %s", tool, args, out)
}

// tool says that a tool is there. What the packages of the tests bring must be there in CI.
func tool(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	require.NotEqual(t, "1", os.Getenv("VIFPLUG_CI"), "CI must have %s: make deps", name)
	t.Skipf("this host has no %s", name)
}

// rules are a namespace's, made by nft, and what is read of them.
func rules(t *testing.T, text string) State {
	t.Helper()
	tool(t, "nft")
	netns.New(t)
	require.NoError(t, bridgetest.MakeVeth("vif5.0", "g5.0"))
	require.NoError(t, bridgetest.MakeVeth("vif6.0", "g6.0"))
	run(t, text, "nft", "-f", "-")
	return read(t)
}

func read(t *testing.T) State {
	t.Helper()
	s, err := Read()
	require.NoError(t, err)
	return s
}

func TestReadNothing(t *testing.T) {
	netns.New(t)
	s := read(t)
	assert.Empty(t, s.Bridge)
	assert.Empty(t, s.Netdev)
	assert.Empty(t, s.IP)
	assert.Empty(t, s.Against("vif5.0", Calls{true, true, true}))
}

func TestReadBridge(t *testing.T) {
	s := rules(t, `
		table bridge guard {
			chain forward { type filter hook forward priority -200; policy accept; ether type arp drop; ether type ip accept; jump more; }
			chain pre { type filter hook prerouting priority dstnat; policy drop; }
			chain post { type filter hook postrouting priority 0; policy accept; }
			chain in { type filter hook input priority 0; policy accept; ether type arp counter; }
			chain more { ether type 0x88b5 drop; }
		}
		table bridge vifplug { chain forward { type filter hook forward priority 0; policy drop; ether type arp drop; }; }
		table bridge asleep { flags dormant; chain forward { type filter hook forward priority 0; policy drop; }; }
	`)
	hook := func(chain, at string, priority, rules int, drops bool) Hook {
		return Hook{By: "nftables", Family: "bridge", Table: "guard", Chain: chain, At: at, Priority: priority, Rules: rules, Drops: drops}
	}
	forward, pre, in := hook("forward", "forward", -200, 3, false), hook("pre", "prerouting", -300, 0, true), hook("in", "input", 0, 1, false)
	assert.ElementsMatch(t, []Hook{forward, pre, in}, s.Bridge)
	assert.ElementsMatch(t, []Hook{forward, pre}, s.Against("vif5.0", Calls{}), "what is for the host is not in the way of what is not")
	assert.Empty(t, s.Netdev)
	assert.Empty(t, s.IP)
	run(t, "flush ruleset", "nft", "-f", "-")
	assert.Empty(t, read(t).Bridge)
}

func TestReadNetdev(t *testing.T) {
	s := rules(t, `
		table netdev one { chain in { type filter hook ingress device "vif5.0" priority 0; policy accept; ether type arp drop; }; }
		table netdev two { chain in { type filter hook ingress devices = { "vif5.0", "vif6.0" } priority 5; policy drop; }; }
		table netdev no { chain in { type filter hook ingress devices = { "vif5.0", "vif6.0" } priority 5; policy accept; }; }
		table inet any { chain in { type filter hook ingress device "g6.0" priority 7; policy accept; ip ttl 1 drop; }; }
	`)
	require.Len(t, s.Netdev, 3)
	one := Hook{By: "nftables", Family: "netdev", Table: "one", Chain: "in", At: "ingress", Rules: 1, Devices: []string{"vif5.0"}}
	inet := Hook{By: "nftables", Family: "inet", Table: "any", Chain: "in", At: "ingress", Priority: 7, Rules: 1, Devices: []string{"g6.0"}}
	assert.Contains(t, s.Netdev, one)
	assert.Contains(t, s.Netdev, inet)
	assert.Equal(t, []Hook{inet}, s.Against("g6.0", Calls{}))
	two := s.Against("vif6.0", Calls{})
	require.Len(t, two, 1)
	assert.ElementsMatch(t, []string{"vif5.0", "vif6.0"}, two[0].Devices)
	assert.True(t, two[0].Drops)
	assert.Len(t, s.Against("vif5.0", Calls{}), 2)
	assert.Empty(t, s.Against("g5.0", Calls{}))
	assert.Empty(t, s.Bridge)
	assert.Empty(t, s.IP)
}

func TestReadEgress(t *testing.T) {
	s := rules(t, `table netdev out { chain out { type filter hook egress device "vif5.0" priority 0; policy accept; ether type arp drop; }; }`)
	require.Len(t, s.Against("vif5.0", Calls{}), 1)
	assert.Equal(t, "nftables table netdev out has 1 rule in chain out (egress on vif5.0)", s.Netdev[0].String())
}

func TestReadIP(t *testing.T) {
	s := rules(t, `
		table inet filter {
			chain input { type filter hook input priority 0; policy drop; ct state established accept; }
			chain forward { type filter hook forward priority 0; policy accept; ip ttl 1 drop; }
			chain output { type filter hook output priority 0; policy accept; }
		}
		table ip nat { chain post { type nat hook postrouting priority srcnat; policy accept; oifname "eth0" masquerade; }; }
		table ip6 raw { chain pre { type filter hook prerouting priority raw; policy accept; ip6 hoplimit 1 drop; }; }
		table arp filter { chain in { type filter hook input priority 0; policy accept; arp operation request counter; }; }
	`)
	names := func(hooks []Hook) (out []string) {
		for _, h := range hooks {
			out = append(out, h.Family+" "+h.Chain)
		}
		return out
	}
	assert.ElementsMatch(t, []string{"inet input", "inet forward", "ip post", "ip6 pre", "arp in"}, names(s.IP))
	s.NFCall = Calls{}
	assert.Empty(t, s.Against("vif5.0", Calls{}), "nobody shows bridged frames to them")
	assert.ElementsMatch(t, []string{"inet forward", "ip post"}, names(s.Against("vif5.0", Calls{IP: true})))
	assert.ElementsMatch(t, []string{"inet forward", "ip6 pre"}, names(s.Against("vif5.0", Calls{IP6: true})))
	assert.Empty(t, s.Against("vif5.0", Calls{ARP: true}))
	s.NFCall = Calls{IP6: true}
	assert.ElementsMatch(t, []string{"inet forward", "ip post", "ip6 pre"}, names(s.Against("vif5.0", Calls{IP: true})))
}

// What the state says of a hook is what becomes of a frame there.
func TestFramesMeetWhatIsTold(t *testing.T) {
	tool(t, "nft")
	netns.New(t)
	require.NoError(t, bridgetest.MakeBridge("xenbr0", 1500))
	for port, far := range map[string]string{"vif5.0": "g5.0", "vif6.0": "g6.0"} {
		require.NoError(t, bridgetest.MakeVeth(port, far))
		require.NoError(t, bridgetest.SetMaster(port, "xenbr0"))
		require.NoError(t, bridgetest.SetUp(port))
		require.NoError(t, bridgetest.SetUp(far))
	}
	arrives := func() bool {
		_, err := bridgetest.Frame("g5.0", "g6.0")
		if err != nil {
			require.ErrorIs(t, err, bridgetest.ErrNotArrived)
		}
		return err == nil
	}
	for !arrives() { // until the ports forward
		require.NoError(t, t.Context().Err())
	}
	chain := func(family, hook string) string {
		return "table " + family + " t { chain c { type filter hook " + hook + " priority 0; policy accept; counter; "
	}
	for _, tc := range []struct{ rules, device string }{
		{chain("bridge", "prerouting") + "drop; }; }", "vif6.0"},
		{chain("bridge", "forward") + "drop; }; }", "vif5.0"},
		{chain("bridge", "postrouting") + "drop; }; }", "vif5.0"},
		{chain("bridge", "input") + "drop; }; }", "vif5.0"},
		{chain("bridge", "output") + "drop; }; }", "vif5.0"},
		{"table bridge t { chain c { type filter hook forward priority 0; policy drop; }; }", "vif5.0"},
		{chain("netdev", `ingress device "vif5.0"`) + "drop; }; }", "vif5.0"},
		{chain("netdev", `egress device "vif6.0"`) + "drop; }; }", "vif6.0"},
		{chain("netdev", `ingress device "vif6.0"`) + "drop; }; }", "vif5.0"},
		{"table bridge t { flags dormant; chain c { type filter hook forward priority 0; policy drop; }; }", "vif5.0"},
	} {
		run(t, tc.rules, "nft", "-f", "-")
		told := len(read(t).Against(tc.device, Calls{})) > 0
		assert.Equal(t, told, !arrives(), tc.rules)
		run(t, "flush ruleset", "nft", "-f", "-")
		assert.Empty(t, read(t).Against(tc.device, Calls{}))
	}
	assert.True(t, arrives())
}

func TestReadCalls(t *testing.T) {
	netns.New(t)
	const dir = "/proc/sys/net/bridge/bridge-nf-call-"
	if _, err := os.Stat(dir + "iptables"); err != nil {
		s := read(t)
		assert.False(t, s.BrNetfilter)
		assert.Zero(t, s.NFCall)
		return
	}
	for name, want := range map[string]Calls{"iptables": {IP: true}, "ip6tables": {IP6: true}, "arptables": {ARP: true}} {
		for _, n := range []string{"iptables", "ip6tables", "arptables"} {
			value := "0"
			if n == name {
				value = "1"
			}
			require.NoError(t, os.WriteFile(dir+n, []byte(value), 0))
		}
		s := read(t)
		assert.True(t, s.BrNetfilter)
		assert.Equal(t, want, s.NFCall)
		assert.NotEmpty(t, s.Advice(), "nobody needs it")
	}
}
