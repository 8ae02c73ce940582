package commands

import (
	"bytes"
	"os"
	"os/exec"
	"testing"

	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge/bridgetest"
	"vifplug/hotplug/paths"
	"vifplug/test/standin"
)

// What goes between an emulated NIC and a PV one is taken down at the tap, both ways, also on the shortcut.
func TestCapture(t *testing.T) {
	h := hostFor(t)
	require.NoError(t, h.bridge("brc"))
	require.NoError(t, h.start())
	require.NoError(t, h.domain(75, "hvm75"))
	require.NoError(t, h.emulated(75, "brc"))
	require.NoError(t, h.guest(76, "pv76", "brc"))
	q, err := standin.StartQEMU("vif75.0-emu")
	require.NoError(t, err)
	defer q.Close()
	_, err = h.takes("vif75.0", true, paths.Shortcut)
	require.NoError(t, err)
	require.NoError(t, h.link("vif76.0", "master brc up"))
	d, err := bridgetest.OpenDevice("g76.0")
	require.NoError(t, err)
	defer d.Close()

	file := h.path("c.pcapng")
	c := h.program("vifctl", "capture", "vif75.0", "-w", file, "-c", "6", "not", "ip6")
	var said bytes.Buffer
	c.Stderr = &said
	require.NoError(t, c.Start())
	ended := make(chan error, 1)
	go runToEnd(c, ended)
	require.NoError(t, eventually(func() error {
		require.NoError(t, bridgetest.BothWays(q, d))
		select {
		case err := <-ended:
			ended <- err
			return nil
		default:
			return os.ErrDeadlineExceeded // more frames
		}
	}))
	require.NoError(t, <-ended, said.String())
	assert.Contains(t, said.String(), "6 frames taken down, 0 lost")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	r, err := pcapgo.NewNgReader(bytes.NewReader(text), pcapgo.DefaultNgReaderOptions)
	require.NoError(t, err)
	assert.Equal(t, "guest hvm75 (75) eth0", r.SectionInfo().Comment)
	ways := map[pcapgo.NgEpbFlag]int{}
	for range 6 {
		_, ci, opts, err := r.ReadPacketDataWithOptions()
		require.NoError(t, err)
		i, err := r.Interface(ci.InterfaceIndex)
		require.NoError(t, err)
		assert.Contains(t, []string{"vif75.0-emu", "vif75.0"}, i.Name)
		if i.Name == "vif75.0-emu" {
			assert.Equal(t, "guest hvm75 (75) eth0, emulated, path shortcut/tcx", i.Description)
			ways[opts.Flags.Direction]++
		}
	}
	assert.Positive(t, ways[pcapgo.NgEpbFlagDirectionInbound])
	assert.Positive(t, ways[pcapgo.NgEpbFlagDirectionOutbound])
}

func runToEnd(c *exec.Cmd, ended chan<- error) { ended <- c.Wait() }
