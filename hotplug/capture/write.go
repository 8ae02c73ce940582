package capture

import (
	"fmt"
	"io"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// Frame is one frame that passed a device.
type Frame struct {
	Time   time.Time
	Data   []byte // as far as it was taken down, with its VLAN tag
	Length int    // of the whole frame, in bytes
	To     bool   // it goes to the guest; else it comes from there
}

// Device is a device that is captured.
type Device struct {
	Index int
	Name  string
	What  string // "guest web01 (23) eth0, PV"
}

// Writer writes pcapng (draft-ietf-opsawg-pcapng), which says of each frame by which device it went, and which way: outbound is to the guest, for there it
// leaves the host.
type Writer struct {
	w       *pcapgo.NgWriter
	filter  string
	snap    int
	devices map[int]int // numbers in the file, by index
}

// Info is what a file says of itself.
type Info struct {
	Comment string // whose frames these are
	Program string // "vifctl 1.2"
	Filter  *Filter
	Snap    int // bytes of each frame that are taken down at most
}

// NewWriter begins a file with its first device.
func NewWriter(to io.Writer, in Info, first Device) (*Writer, error) {
	w := &Writer{snap: in.Snap, devices: map[int]int{first.Index: 0}}
	if in.Filter != nil {
		w.filter = in.Filter.String()
	}
	var err error
	w.w, err = pcapgo.NewNgWriterInterface(to, w.of(first), pcapgo.NgWriterOptions{
		SectionInfo: pcapgo.NgSectionInfo{OS: "Linux, Xen", Application: in.Program, Comment: in.Comment},
	})
	if err == nil {
		err = w.w.Flush() // whoever reads a pipe begins with that
	}
	if err != nil {
		return nil, fmt.Errorf("capture: write: %w", err)
	}
	return w, nil
}

func (w *Writer) of(d Device) pcapgo.NgInterface {
	return pcapgo.NgInterface{Name: d.Name, Description: d.What, Filter: w.filter, LinkType: layers.LinkTypeEthernet, TimestampResolution: 9, SnapLength: uint32(w.snap)}
}

// Add tells of another device.
func (w *Writer) Add(d Device) error {
	n, err := w.w.AddInterface(w.of(d))
	if err != nil {
		return fmt.Errorf("capture: write: %w", err)
	}
	w.devices[d.Index] = n
	return nil
}

// Write writes a frame of a device.
func (w *Writer) Write(index int, f Frame) error {
	way := pcapgo.NgEpbFlagDirectionInbound
	if f.To {
		way = pcapgo.NgEpbFlagDirectionOutbound
	}
	f.Data = f.Data[:min(len(f.Data), w.snap)]
	ci := gopacket.CaptureInfo{Timestamp: f.Time, CaptureLength: len(f.Data), Length: f.Length, InterfaceIndex: w.devices[index]}
	if err := w.w.WritePacketWithOptions(ci, f.Data, pcapgo.NgPacketOptions{Flags: &pcapgo.NgEpbFlags{Direction: way}}); err != nil {
		return fmt.Errorf("capture: write: %w", err)
	}
	return nil
}

// Flush hands on what was written.
func (w *Writer) Flush() error {
	if err := w.w.Flush(); err != nil {
		return fmt.Errorf("capture: write: %w", err)
	}
	return nil
}

// End writes how many frames of a device came, and how many of them were lost here.
func (w *Writer) End(index int, came, lost uint64) error {
	err := w.w.WriteInterfaceStats(w.devices[index], pcapgo.NgInterfaceStatistics{LastUpdate: time.Now(), PacketsReceived: came, PacketsDropped: lost})
	if err != nil {
		return fmt.Errorf("capture: write: %w", err)
	}
	return w.Flush()
}
