package capture

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge/bridgetest"
	"vifplug/test/netns"
)

// pair makes a netdev and its guest's end, both up, passing frames both ways and silent, and listens to the former.
func pair(t *testing.T, snap int) (*Socket, *bridgetest.Device, *bridgetest.Device, Device) {
	t.Helper()
	netns.New(t)
	require.NoError(t, bridgetest.MakeVeth("vif5.0", "g5.0"))
	for _, d := range []string{"vif5.0", "g5.0"} {
		require.NoError(t, os.WriteFile("/proc/sys/net/ipv6/conf/"+d+"/disable_ipv6", []byte("1"), 0))
		require.NoError(t, bridgetest.SetMTU(d, 9000))
		require.NoError(t, bridgetest.SetUp(d))
	}
	i, err := bridgetest.Index("vif5.0")
	require.NoError(t, err)
	d := Device{Index: i, Name: "vif5.0", What: "guest web01 (5) eth0, PV"}
	guest, err := bridgetest.OpenDevice("g5.0")
	require.NoError(t, err)
	t.Cleanup(guest.Close)
	host, err := bridgetest.OpenDevice("vif5.0")
	require.NoError(t, err)
	t.Cleanup(host.Close)
	for _, way := range [][2]*bridgetest.Device{{guest, host}, {host, guest}} { // the kernel lets a device send a moment after its carrier came
		_, err := bridgetest.Between(way[0], way[1])
		require.NoError(t, err)
	}
	s, err := Open(d, snap)
	require.NoError(t, err)
	t.Cleanup(func() { assert.ErrorIs(t, errors.Join(s.Close(), os.ErrClosed), os.ErrClosed) })
	return s, guest, host, d
}

func TestCapture(t *testing.T) {
	s, guest, host, d := pair(t, 2000)
	tagged := ethernet(typeVLAN, append([]byte{0x20, 13}, ip4(protoTCP, "10.0.0.1", "10.0.1.2", 1, 22, 0)[12:]...)...)
	jumbo := append(ip4(protoUDP, "10.0.0.1", "10.0.1.2", 1, 53, 0), make([]byte, 4000)...)
	answer := ip4(protoUDP, "10.0.1.2", "10.0.0.1", 53, 1, 0)
	before := time.Now()
	require.NoError(t, guest.Send(tagged))
	require.NoError(t, guest.Send(jumbo))
	require.NoError(t, host.Send(answer))
	var file bytes.Buffer
	w, err := NewWriter(&file, Info{Comment: "guest web01 (5) eth0", Program: "vifctl test", Snap: 2000}, d)
	require.NoError(t, err)
	require.NoError(t, w.Add(Device{Index: d.Index + 100, Name: "vif5.0-emu", What: "guest web01 (5) eth0, emulated"}))
	for _, want := range []struct {
		data []byte
		long int
		to   bool
	}{{tagged, len(tagged), false}, {jumbo[:2000], len(jumbo), false}, {answer, len(answer), true}} {
		f, err := s.Receive()
		require.NoError(t, err)
		assert.Equal(t, want.data, f.Data)
		assert.Equal(t, want.long, f.Length)
		assert.Equal(t, want.to, f.To)
		assert.WithinRange(t, f.Time, before.Add(-time.Second), time.Now())
		require.NoError(t, w.Write(d.Index, f))
	}
	came, lost := s.Counts()
	assert.Equal(t, []uint64{3, 0}, []uint64{came, lost})
	require.NoError(t, w.End(d.Index, came, lost))
	checkFile(t, &file)

	require.NoError(t, bridgetest.Delete("vif5.0"))
	_, err = s.Receive()
	require.ErrorIs(t, err, ErrGone)
}

// checkFile reads the file as another program does.
func checkFile(t *testing.T, file *bytes.Buffer) {
	t.Helper()
	r, err := pcapgo.NewNgReader(file, pcapgo.DefaultNgReaderOptions)
	require.NoError(t, err)
	assert.Equal(t, "guest web01 (5) eth0", r.SectionInfo().Comment)
	var ways []pcapgo.NgEpbFlag
	for {
		_, ci, opts, err := r.ReadPacketDataWithOptions()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		assert.Equal(t, 0, ci.InterfaceIndex)
		require.NotNil(t, opts.Flags)
		ways = append(ways, opts.Flags.Direction)
	}
	in, out := pcapgo.NgEpbFlagDirectionInbound, pcapgo.NgEpbFlagDirectionOutbound
	assert.Equal(t, []pcapgo.NgEpbFlag{in, in, out}, ways)
	require.Equal(t, 2, r.NInterfaces())
	i, err := r.Interface(0)
	require.NoError(t, err)
	assert.Equal(t, []string{"vif5.0", "guest web01 (5) eth0, PV"}, []string{i.Name, i.Description})
	assert.Equal(t, uint64(3), i.Statistics.PacketsReceived)
}

// A device that is down is not gone: its frames come when it is up again.
func TestDown(t *testing.T) {
	s, guest, host, _ := pair(t, 100)
	require.NoError(t, bridgetest.SetDown("vif5.0"))
	require.NoError(t, bridgetest.SetUp("vif5.0"))
	_, err := bridgetest.Between(guest, host)
	require.NoError(t, err)
	frame := arp(1, "10.0.0.1", "10.0.0.2")
	require.NoError(t, guest.Send(frame))
	f, err := s.Receive()
	for err == nil && bytes.Equal(f.Data[12:14], []byte{0x88, 0xb5}) { // Between's
		f, err = s.Receive()
	}
	require.NoError(t, err)
	assert.Equal(t, frame, f.Data)
}

// Closing ends who waits.
func TestClose(t *testing.T) {
	s, _, _, _ := pair(t, 100)
	done := make(chan error, 1)
	go runReceive(s, done)
	require.NoError(t, s.Close())
	require.ErrorIs(t, <-done, os.ErrClosed)
}

func runReceive(s *Socket, done chan<- error) {
	_, err := s.Receive()
	done <- err
}
