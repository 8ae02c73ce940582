package bridge

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge/bridgetest"
	"vifplug/test/netns"
)

// isolated gives the test a namespace of its own and a connection to it.
func isolated(t *testing.T) (*Conn, *netns.Space) {
	t.Helper()
	s := netns.New(t)
	c, err := Open()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, c.Close()) })
	return c, s
}

// sys reads what sysfs says of a link, which is the other way to ask the kernel.
func sys(t *testing.T, link, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/sys/class/net", link, file))
	require.NoError(t, err)
	return strings.TrimSuffix(string(b), "\n")
}

func sysNumber(t *testing.T, link, file string) int {
	t.Helper()
	n, err := strconv.ParseInt(sys(t, link, file), 0, 64)
	require.NoError(t, err)
	return int(n)
}

// veth makes a pair and gives the index of the first.
func veth(t *testing.T, name, peer string) int {
	t.Helper()
	require.NoError(t, bridgetest.MakeVeth(name, peer))
	return sysNumber(t, name, "ifindex")
}

func bridgeOf(t *testing.T, name string) int {
	t.Helper()
	require.NoError(t, bridgetest.MakeBridge(name, 1500))
	return sysNumber(t, name, "ifindex")
}

// same asserts that a link is what sysfs says of it.
func same(t *testing.T, l Link) {
	t.Helper()
	name := string(l.Name)
	assert.Equal(t, sysNumber(t, name, "ifindex"), l.Index, name)
	assert.Equal(t, sys(t, name, "address"), l.MAC.String(), name)
	assert.Equal(t, sysNumber(t, name, "mtu"), l.MTU, name)
	assert.Equal(t, sys(t, name, "ifalias"), l.Alias, name)
	flags := sysNumber(t, name, "flags")
	assert.Equal(t, flags&1 != 0, l.Up, name)
	master, _ := os.Readlink("/sys/class/net/" + name + "/master")
	assert.Equal(t, master != "", l.Master != 0, name)
	assert.Equal(t, master != "", l.IsPort, name)
	if l.Master != 0 {
		assert.Equal(t, sysNumber(t, filepath.Base(master), "ifindex"), l.Master, name)
	}
	mode, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + name + "/addr_gen_mode")
	assert.Equal(t, err != nil || string(mode) == "1\n", l.NoAddrGen, name)
}

// carried reads a link once the kernel says that it runs, or does not: until a moment after it came up, Linux 6.1 says of a veth that it runs.
func carried(t *testing.T, c *Conn, index int, running bool) (l Link) {
	t.Helper()
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		var err error
		l, err = c.Link(index)
		require.NoError(t, err)
		require.Equal(t, running, l.Running, "running")
	}, 10*time.Second, 5*time.Millisecond)
	return l
}

func TestLink(t *testing.T) {
	c, _ := isolated(t)
	br, v := bridgeOf(t, "xenbr0"), veth(t, "vif5.0", "g5.0")
	require.NoError(t, bridgetest.SetAlias("vif5.0", "vifplug:web01 (5) eth0 on xenbr0"))
	require.NoError(t, bridgetest.SetMTU("vif5.0", 9000))
	require.NoError(t, bridgetest.SetMaster("vif5.0", "xenbr0"))
	require.NoError(t, bridgetest.SetUp("vif5.0"))

	l := carried(t, c, v, false) // its peer is down
	same(t, l)
	assert.Equal(t, "veth", l.Kind)
	assert.Equal(t, br, l.Master)
	assert.True(t, l.Up)
	assert.Equal(t, []int{68, 65535}, []int{l.MinMTU, l.MaxMTU}, "the kernel says which MTU it takes")
	require.NoError(t, bridgetest.SetUp("g5.0"))
	l = carried(t, c, v, true)

	named, err := c.LinkByName("vif5.0")
	require.NoError(t, err)
	assert.Equal(t, l, named)
	b, err := c.LinkByName("xenbr0")
	require.NoError(t, err)
	same(t, b)
	assert.Equal(t, "bridge", b.Kind)
	assert.False(t, b.IsPort)
	lo, err := c.LinkByName("lo")
	require.NoError(t, err)
	same(t, lo)
	assert.Zero(t, lo.Kind)
}

func TestLinkThatIsNotThere(t *testing.T) {
	c, _ := isolated(t)
	for object, ask := range map[string]func() (Link, error){
		"77":     func() (Link, error) { return c.Link(77) },
		"0":      func() (Link, error) { return c.Link(0) },
		"-1":     func() (Link, error) { return c.Link(-1) },
		"vif5.0": func() (Link, error) { return c.LinkByName("vif5.0") },
	} {
		l, err := ask()
		require.ErrorIs(t, err, ErrNotFound, object)
		assert.ErrorContains(t, err, "bridge: read link "+object+": ")
		assert.ErrorContains(t, err, "no such device")
		assert.Zero(t, l)
	}
}

func TestLinkByNameIgnoresAlternativeNames(t *testing.T) {
	c, _ := isolated(t)
	veth(t, "vif5.0", "g5.0")
	require.NoError(t, bridgetest.AddAltName("vif5.0", "xenbr0"))
	require.FileExists(t, "/sys/class/net/vif5.0/ifindex")
	l, err := c.LinkByName("xenbr0")
	require.ErrorIs(t, err, ErrNotFound)
	assert.EqualError(t, err, "bridge: read link xenbr0: no such device")
	assert.Zero(t, l)
}

func TestLinks(t *testing.T) {
	c, _ := isolated(t)
	bridgeOf(t, "xenbr0")
	require.NoError(t, bridgetest.SetDown("xenbr0")) // its carrier comes late, and would differ between two questions
	veth(t, "vif5.0", "g5.0")
	require.NoError(t, bridgetest.SetMaster("vif5.0", "xenbr0"))
	links, err := c.Links()
	require.NoError(t, err)
	var names []string
	for _, l := range links {
		same(t, l)
		one, err := c.Link(l.Index)
		require.NoError(t, err)
		assert.Equal(t, one, l, "a list says what one question says")
		names = append(names, string(l.Name))
	}
	assert.Len(t, names, devicesInSysfs(t))
	assert.Subset(t, names, []string{"lo", "xenbr0", "vif5.0", "g5.0"})
}

// A list that is long enough for many messages is read while links come and go: those that stay are in it, once each.
func TestLinksWhileTheyChange(t *testing.T) {
	const stay = 150
	looks := 100
	if testing.Short() {
		looks = 20
	}
	c, s := isolated(t)
	want := map[Name]int{}
	for i := range stay {
		name := fmt.Sprintf("stay%d", i)
		want[Name(name)] = veth(t, name, fmt.Sprintf("peer%d", i))
	}
	stop, stopped := make(chan struct{}), make(chan error)
	go runChurn(s, stop, stopped)
	for range looks {
		links, err := c.Links()
		if !assert.NoError(t, err) {
			break
		}
		got, seen := map[Name]int{}, map[int]bool{}
		for _, l := range links {
			assert.False(t, seen[l.Index], "%s is in the list twice", l.Name)
			seen[l.Index] = true
			if _, ok := want[l.Name]; ok {
				got[l.Name] = l.Index
			}
		}
		assert.Equal(t, want, got)
	}
	close(stop)
	require.NoError(t, <-stopped)
}

// runChurn makes and removes links until it is stopped.
func runChurn(s *netns.Space, stop <-chan struct{}, stopped chan<- error) {
	err := s.Enter()
	for i := 0; err == nil; i++ {
		select {
		case <-stop:
			stopped <- nil
			return
		default:
		}
		if err = bridgetest.MakeVeth("churn", "other"); err == nil {
			err = bridgetest.Delete("churn")
		}
	}
	stopped <- err
}

func TestManyGoroutinesAsk(t *testing.T) {
	c, _ := isolated(t)
	v := veth(t, "vif5.0", "g5.0")
	done := make(chan error)
	const askers, times = 8, 50
	for range askers {
		go runAsk(c, v, times, done)
	}
	for range askers {
		assert.NoError(t, <-done)
	}
}

// runAsk asks for a link in both ways; each answer must be that to its own question.
func runAsk(c *Conn, index, times int, done chan<- error) {
	for range times {
		l, err := c.Link(index)
		lo, err2 := c.LinkByName("lo")
		if err != nil || err2 != nil || l.Name != "vif5.0" || lo.Name != "lo" {
			done <- fmt.Errorf("%v, %v: %w, %w", l, lo, err, err2)
			return
		}
	}
	done <- nil
}

// Descriptors are back to where they were, whatever was opened, asked and refused.
func TestNothingIsLeftOpen(t *testing.T) {
	c, _ := isolated(t)
	veth(t, "vif5.0", "g5.0")
	before := descriptors(t)
	for range 20 {
		one, err := Open()
		require.NoError(t, err)
		m, err := OpenMonitor()
		require.NoError(t, err)
		_, err = one.Links()
		require.NoError(t, err)
		_, err = one.Link(77)
		require.ErrorIs(t, err, ErrNotFound)
		require.NoError(t, one.IgnoreRA("vif5.0"))
		require.NoError(t, m.Close())
		require.NoError(t, one.Close())
	}
	_, err := c.Links()
	require.NoError(t, err)
	assert.Equal(t, before, descriptors(t))
}

// descriptors counts the process's.
func descriptors(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(d)
}

func TestClosedConn(t *testing.T) {
	netns.New(t)
	c, err := Open()
	require.NoError(t, err)
	require.NoError(t, c.Close())
	_, err = c.Link(1)
	require.ErrorContains(t, err, "bridge: read link 1: ")
	_, err = c.Links()
	assert.ErrorContains(t, err, "bridge: list links: ")
	_, err = c.Addresses(1)
	assert.ErrorContains(t, err, "bridge: list addresses of link 1: ")
	assert.ErrorContains(t, c.Set(1, Change{MTU: 1500}), "bridge: change link 1: ")
}
