package bridge

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/mdlayher/netlink"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"vifplug/bridge/bridgetest"
	"vifplug/test/netns"
)

// What a program says of a frame (linux: include/uapi/linux/pkt_cls.h TC_ACT_...).
const (
	tcPass = -1 // TC_ACT_UNSPEC
	tcDrop = 2  // TC_ACT_SHOT
)

// verdict is a program that says the same of each frame, and its descriptor.
func verdict(t *testing.T, kind ebpf.ProgramType, says int32) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: kind, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, says), asm.Return()},
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.Close()) })
	return p
}

func classifier(t *testing.T, says int32) int { return verdict(t, ebpf.SchedCLS, says).FD() }

// tc runs tc in the test's namespace.
func tc(t *testing.T, args string) string {
	t.Helper()
	out, err := exec.Command("tc", strings.Fields(args)...).CombinedOutput()
	require.NoError(t, err, "tc %s: %s", args, out)
	return string(out)
}

// bridged are two ports of a bridge, a frame between whose far ends the bridge carries.
func bridged(t *testing.T, c *Conn) (v int) {
	t.Helper()
	bridgeOf(t, "xenbr0")
	v = port(t, c, "xenbr0", "vif5.0", "g5.0")
	port(t, c, "xenbr0", "vif6.0", "g6.0")
	speak(t, "g5.0", "g6.0")
	return v
}

const ours = ClassifierPrefix + "-test"

func TestAttachClassifier(t *testing.T) {
	c, _ := isolated(t)
	v := bridged(t, c)
	require.NoError(t, c.AttachClassifier(v, classifier(t, tcPass), ours))
	got, err := c.Classifiers(v)
	require.NoError(t, err)
	require.Len(t, got.Filters, 1)
	f := got.Filters[0]
	assert.Equal(t, Filter{Kind: "bpf", Name: ours, Priority: ourPriority, Handle: ourHandle, Protocol: unix.ETH_P_ALL, Direct: true, ID: f.ID, Ours: true}, f)
	assert.NotZero(t, f.ID)
	assert.Empty(t, got.Foreign())
	speak(t, "g5.0", "g6.0")

	require.NoError(t, c.AttachClassifier(v, classifier(t, tcDrop), ours))
	_, err = bridgetest.Frame("g5.0", "g6.0")
	require.ErrorIs(t, err, bridgetest.ErrNotArrived, "the second has replaced the first")
	got, err = c.Classifiers(v)
	require.NoError(t, err)
	require.Len(t, got.Filters, 1)
	assert.NotEqual(t, f.ID, got.Filters[0].ID)

	require.NoError(t, c.DetachClassifier(v, ClassifierPrefix+"-other"))
	_, err = bridgetest.Frame("g5.0", "g6.0")
	require.ErrorIs(t, err, bridgetest.ErrNotArrived, "another's name detaches nothing")
	require.NoError(t, c.DetachClassifier(v, ours))
	speak(t, "g5.0", "g6.0")
	got, err = c.Classifiers(v)
	require.NoError(t, err)
	assert.Empty(t, got.Filters)
	require.NoError(t, c.DetachClassifier(v, ours), "gone already")
}

// A frame passes neither before, nor after, nor between two programs that let none through.
func TestAttachClassifierReplacesAtomically(t *testing.T) {
	times := 300
	if testing.Short() {
		times = 30
	}
	c, s := isolated(t)
	v := bridged(t, c)
	one, two := classifier(t, tcDrop), classifier(t, tcDrop)
	require.NoError(t, c.AttachClassifier(v, one, ours))
	stop, sent := make(chan struct{}), make(chan error)
	go runFlood(s, stop, sent)
	in, err := bridgetest.OpenDevice("g6.0")
	require.NoError(t, err)
	defer in.Close()
	for i := range times {
		if !assert.NoError(t, c.AttachClassifier(v, []int{two, one}[i%2], ours)) {
			break
		}
	}
	assert.False(t, in.Arrived([]byte("a frame of the flood")))
	close(stop)
	require.NoError(t, <-sent)
	require.NoError(t, c.DetachClassifier(v, ours))
	speak(t, "g5.0", "g6.0")
}

// runFlood sends frames out of g5.0 until it is stopped.
func runFlood(s *netns.Space, stop <-chan struct{}, sent chan<- error) {
	err := s.Enter()
	var out *bridgetest.Device
	if err == nil {
		out, err = bridgetest.OpenDevice("g5.0")
	}
	if err != nil {
		sent <- err
		return
	}
	defer out.Close()
	frame := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0x16, 0x3e, 0, 0, 1, 0x88, 0xb5}, "a frame of the flood, and what fills it up to sixty bytes"...)
	for err == nil || errors.Is(err, unix.ENOBUFS) {
		select {
		case <-stop:
			sent <- nil
			return
		default:
			err = out.Send(frame)
		}
	}
	sent <- err
}

func TestAttachClassifierLeavesOthersAlone(t *testing.T) {
	c, _ := isolated(t)
	v := bridged(t, c)
	tc(t, "qdisc add dev vif5.0 clsact")
	tc(t, "filter add dev vif5.0 ingress prio 7 protocol all u32 match u32 0 0")
	tc(t, "filter add dev vif5.0 egress prio 9 protocol ip u32 match u32 0 0")
	before := tc(t, "filter show dev vif5.0 ingress") + tc(t, "filter show dev vif5.0 egress") + tc(t, "qdisc show dev vif5.0")
	require.NoError(t, c.AttachClassifier(v, classifier(t, tcPass), ours))
	got, err := c.Classifiers(v)
	require.NoError(t, err)
	require.Len(t, got.Foreign(), 2, "%v", got.Filters)
	assert.Equal(t, "u32", got.Foreign()[0].Kind)
	assert.Equal(t, 7, got.Foreign()[0].Priority)
	assert.False(t, got.Foreign()[0].Egress)
	assert.Equal(t, uint16(unix.ETH_P_IP), got.Foreign()[1].Protocol)
	assert.True(t, got.Foreign()[1].Egress)
	assert.Contains(t, got.Foreign()[1].String(), "tc filter u32 at egress, priority 9")
	require.NoError(t, c.DetachClassifier(v, ours))
	assert.Equal(t, before, tc(t, "filter show dev vif5.0 ingress")+tc(t, "filter show dev vif5.0 egress")+tc(t, "qdisc show dev vif5.0"))
}

func TestAttachClassifierToIngressQdisc(t *testing.T) {
	c, _ := isolated(t)
	v := bridged(t, c)
	tc(t, "qdisc add dev vif5.0 ingress")
	require.NoError(t, c.AttachClassifier(v, classifier(t, tcDrop), ours))
	_, err := bridgetest.Frame("g5.0", "g6.0")
	require.ErrorIs(t, err, bridgetest.ErrNotArrived)
	assert.NotContains(t, tc(t, "qdisc show dev vif5.0"), "clsact")
	got, err := c.Classifiers(v)
	require.NoError(t, err)
	assert.Len(t, got.Filters, 1, "each once, though the kernel lists them at egress, too")
	require.NoError(t, c.DetachClassifier(v, ours))
	speak(t, "g5.0", "g6.0")
}

func TestAttachClassifierWhereAStrangerIs(t *testing.T) {
	c, _ := isolated(t)
	v := veth(t, "vif5.0", "g5.0")
	prog := classifier(t, tcPass)
	require.NoError(t, c.AttachClassifier(v, prog, ours))
	require.NoError(t, c.DetachClassifier(v, ours))
	msg := encodeClassifier(v, prog, "stranger")
	_, err := c.execute(unix.RTM_NEWTFILTER, netlink.Acknowledge|netlink.Create|netlink.Excl, msg)
	require.NoError(t, err)
	err = c.AttachClassifier(v, prog, ours)
	require.ErrorIs(t, err, ErrExists)
	assert.ErrorContains(t, err, "somebody else's tc filter bpf stranger at ingress, priority 30313, handle 0x76696670")
	require.NoError(t, c.DetachClassifier(v, ours))
	require.NoError(t, c.DetachClassifier(v, "stranger"))
	got, err := c.Classifiers(v)
	require.NoError(t, err)
	require.Len(t, got.Foreign(), 1, "it stays")
	tc(t, "filter del dev vif5.0 ingress")
	tc(t, "filter add dev vif5.0 ingress prio 30313 protocol all u32 match u32 0 0")
	err = c.AttachClassifier(v, prog, ours)
	require.ErrorIs(t, err, ErrExists, "one priority has filters of one kind only")
	assert.ErrorContains(t, err, "u32")
}

func TestClassifierOfALinkThatIsGone(t *testing.T) {
	c, _ := isolated(t)
	prog := classifier(t, tcPass)
	for _, index := range []int{77, 0} {
		_, err := c.Classifiers(index)
		require.ErrorIs(t, err, ErrNotFound)
		require.ErrorIs(t, c.AttachClassifier(index, prog, ours), ErrNotFound)
		require.NoError(t, c.DetachClassifier(index, ours))
	}
	v := veth(t, "vif5.0", "g5.0")
	require.ErrorIs(t, c.AttachClassifier(v, prog, "someone"), ErrInvalid)
	require.NoError(t, c.DetachClassifier(v, ours), "no qdisc")
	got, err := c.Classifiers(v)
	require.NoError(t, err)
	assert.Empty(t, got.Filters)
	assert.NotContains(t, tc(t, "qdisc show dev vif5.0"), "clsact", "the refused left nothing")
	require.Error(t, c.AttachClassifier(v, -1, ours), "no program")
}

func TestClassifiersOfTheLink(t *testing.T) {
	c, _ := isolated(t)
	v := veth(t, "vif5.0", "g5.0")
	require.NoError(t, bridgetest.SetUp("vif5.0"))
	got, err := c.Classifiers(v)
	require.NoError(t, err)
	assert.Equal(t, Classifiers{Qdisc: "noqueue"}, got)
	tc(t, "qdisc add dev vif5.0 root tbf rate 100mbit burst 10kb latency 50ms")
	x := verdict(t, ebpf.XDP, 2) // XDP_PASS
	req := appendAttr(linkRequest(v), unix.IFLA_XDP|unix.NLA_F_NESTED, appendUint32(nil, unix.IFLA_XDP_FD, uint32(x.FD())))
	_, err = c.execute(unix.RTM_SETLINK, netlink.Acknowledge, req)
	require.NoError(t, err)
	info, err := x.Info()
	require.NoError(t, err)
	id, ok := info.ID()
	require.True(t, ok)
	got, err = c.Classifiers(v)
	require.NoError(t, err)
	assert.Equal(t, Classifiers{Qdisc: "tbf", XDP: true, XDPID: int(id)}, got)
}

// What the documentation says is not told: a program at tcx.
func TestClassifiersDoNotTellOfTCX(t *testing.T) {
	c, _ := isolated(t)
	v := veth(t, "vif5.0", "g5.0")
	l, err := link.AttachTCX(link.TCXOptions{Interface: v, Program: verdict(t, ebpf.SchedCLS, tcPass), Attach: ebpf.AttachTCXIngress})
	if errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, unix.EINVAL) {
		require.True(t, modular(t), "what is built here has tcx: %v", err)
		return // Debian's 6.1 has none: nothing to tell
	}
	require.NoError(t, err)
	defer l.Close()
	got, err := c.Classifiers(v)
	require.NoError(t, err)
	assert.Empty(t, got.Filters)
}

func TestDecodeFilter(t *testing.T) {
	msg := func(b []byte) netlink.Message {
		return netlink.Message{Header: netlink.Header{Type: unix.RTM_NEWTFILTER}, Data: b}
	}
	whole := encodeClassifier(7, 5, ours)
	f, ok := decodeFilter(msg(whole), 7)
	assert.True(t, ok)
	assert.True(t, f.Ours)
	_, ok = decodeFilter(msg(whole), 8)
	assert.False(t, ok, "another link's")
	_, ok = decodeFilter(netlink.Message{Header: netlink.Header{Type: unix.RTM_NEWLINK}, Data: whole}, 7)
	assert.False(t, ok)
	shared := append([]byte(nil), whole...)
	copy(shared[4:8], []byte{0xff, 0xff, 0xff, 0xff})
	_, ok = decodeFilter(msg(shared), 7)
	assert.True(t, ok, "a block that links share")
	for n := range whole {
		f, ok := decodeFilter(msg(whole[:n]), 7)
		assert.False(t, ok && f.Ours && f.Name != ours, "cut at %d", n)
	}
	var c Classifiers
	c.xdp(appendUint32(appendAttr(nil, unix.IFLA_XDP_ATTACHED, []byte{4}), unix.IFLA_XDP_SKB_PROG_ID, 9))
	assert.Equal(t, Classifiers{XDP: true, XDPID: 9}, c, "of several modes, no one id is told")
	c = Classifiers{}
	c.xdp(appendAttr(nil, unix.IFLA_XDP_ATTACHED, []byte{0}))
	assert.Zero(t, c)
}

func FuzzDecodeFilter(f *testing.F) {
	f.Add(encodeClassifier(7, 5, ours))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, ok := decodeFilter(netlink.Message{Header: netlink.Header{Type: unix.RTM_NEWTFILTER}, Data: b}, 7)
		if ok && got.Ours && !strings.HasPrefix(got.Name, ClassifierPrefix) {
			t.Errorf("%+v", got)
		}
	})
}
