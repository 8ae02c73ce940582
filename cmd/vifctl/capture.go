package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"vifplug/bridge"
	"vifplug/bridge/network"
	"vifplug/hotplug"
	"vifplug/hotplug/capture"
)

// capturing is what the command line asks for.
type capturing struct {
	file   string
	count  int
	snap   int
	filter *capture.Filter
}

func newCapture(s *shared) *cobra.Command {
	var c capturing
	cmd := &cobra.Command{
		Use:   "capture VIF [FILTER]",
		Short: "Take down the frames of a guest's NIC",
		Long: "capture takes down what passes the devices of a NIC, netback's and QEMU's tap, on whichever path: as pcapng for Wireshark, with the guest's name and\n" +
			"each frame's direction (outbound is to the guest), or without -w as a line a frame. It sees what the guest sends before a guard drops it.\n" +
			"FILTER is of pcap-filter(7): ip, ip6, arp, icmp, icmp6, tcp, udp, vlan [ID], broadcast, multicast, [src|dst] host ADDRESS, [src|dst] net SUBNET,\n" +
			"[tcp|udp] [src|dst] port N, ether host|src|dst MAC, with and, or, not and brackets. IP is found behind VLAN tags, too; what is behind IPv6\n" +
			"extension headers is not, nor are SCTP's ports. It takes root.",
		Example: "  vifctl capture vif23.0 icmp or arp\n  vifctl capture vif23.0 -c 100 -w web01.pcapng\n  vifctl capture vif23.0 -w - tcp port 80 | wireshark -k -i -",
		Args:    between(1, 1000, "capture VIF [FILTER]"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if c.filter, err = capture.ParseFilter(strings.Join(args[1:], " ")); err != nil {
				return err
			}
			if c.count < 0 || c.snap < 64 || c.snap > 262144 {
				return fmt.Errorf("-c %d, -s %d: want a count of 0 or more, and 64 to 262144 bytes", c.count, c.snap)
			}
			x, devices, err := s.devices(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM, syscall.SIGPIPE)
			defer stop()
			return c.run(ctx, x, devices, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVarP(&c.file, "write", "w", "", "write pcapng to this file; - is stdout")
	cmd.Flags().IntVarP(&c.count, "count", "c", 0, "end after so many frames; 0: when told to (ctrl-C)")
	cmd.Flags().IntVarP(&c.snap, "snaplen", "s", 262144, "take down so many bytes of each frame at most")
	return cmd
}

// devices finds the devices of a NIC: vifplugd says which they are. Without it, a device whose ifalias is ours says whose it is.
func (s *shared) devices(ctx context.Context, name string) (whose string, out []capture.Device, err error) {
	x, err := s.client().NIC(ctx, name)
	if err == nil {
		whose = fmt.Sprintf("guest %s (%d) eth%d", guestText(x.Domain), x.Domain.ID, x.Device)
		if l := x.Link; l != nil {
			out = append(out, capture.Device{Index: l.Index, Name: l.Name, What: whose + ", PV" + byPath(x.NICStatus, false)})
		}
		if t := x.Tap; t != nil && t.Index != 0 {
			out = append(out, capture.Device{Index: t.Index, Name: t.Name, What: whose + ", emulated" + byPath(x.NICStatus, true)})
		}
		if len(out) == 0 {
			err = fmt.Errorf("%s has no device yet: %v", x.VIF, x.State)
		}
		return whose, out, err
	}
	if d, alone := marked(name); alone {
		return d.What, []capture.Device{d}, nil
	}
	return "", nil, err
}

// byPath says which path a device's frames took at the start.
func byPath(n hotplug.NICStatus, tap bool) string {
	p := n.Path
	if tap {
		p = n.Tap.Path
	}
	if p == nil {
		return ""
	}
	return ", path " + p.With()
}

// marked is a device that vifplug has plugged, as its mark tells.
func marked(name string) (capture.Device, bool) {
	n, err := bridge.ParseName(name)
	if err != nil {
		return capture.Device{}, false
	}
	conn, err := bridge.Open()
	if err != nil {
		return capture.Device{}, false
	}
	defer conn.Close() //nolint:errcheck // it was for one question
	l, err := conn.LinkByName(n)
	a, ours := network.ParseAlias(l.Alias)
	if err != nil || !ours || a.Domain == "" {
		return capture.Device{}, false
	}
	what := "PV"
	if a.Tap {
		what = "emulated"
	}
	return capture.Device{Index: l.Index, Name: name, What: fmt.Sprintf("guest %s (%d) eth%d, %s", a.Domain, a.ID, a.NIC, what)}, true
}

// taken is a frame, or a socket's end.
type taken struct {
	device int
	frame  capture.Frame
	err    error
}

// run captures until it is enough, ctx ends, or every device has gone.
func (c capturing) run(ctx context.Context, whose string, devices []capture.Device, out, complain io.Writer) (err error) {
	sink, err := c.sink(whose, devices, out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sink.close()) }()
	frames, done := make(chan taken), make(chan struct{})
	var sockets []*capture.Socket
	var readers sync.WaitGroup
	for i, d := range devices {
		s, err := capture.Open(d, c.snap)
		if err != nil {
			close(done)
			return errors.Join(err, closeAll(sockets), wait(&readers))
		}
		sockets = append(sockets, s)
		readers.Go(func() { read(s, i, frames, done) })
	}
	fmt.Fprintf(complain, "vifctl: capturing %s on %s\n", whose, names(devices))
	n, err := c.take(ctx, frames, len(devices), sink)
	lost := uint64(0)
	for i, s := range sockets {
		came, missed := s.Counts()
		lost += missed
		err = errors.Join(err, sink.end(devices[i].Index, came, missed))
	}
	close(done)
	err = errors.Join(err, closeAll(sockets), wait(&readers))
	fmt.Fprintf(complain, "vifctl: %d frames taken down, %d lost since they came too fast\n", n, lost)
	return err
}

func wait(w *sync.WaitGroup) error { w.Wait(); return nil }

func closeAll(sockets []*capture.Socket) (err error) {
	for _, s := range sockets {
		err = errors.Join(err, s.Close())
	}
	return err
}

func names(devices []capture.Device) string {
	var out []string
	for _, d := range devices {
		out = append(out, d.Name)
	}
	return strings.Join(out, " and ")
}

// read passes the frames of one device on. A frame's bytes are good until it asks for the next, which it does when they have been used.
func read(s *capture.Socket, device int, to chan<- taken, done <-chan struct{}) {
	for {
		f, err := s.Receive()
		select {
		case to <- taken{device, f, err}:
		case <-done:
			return
		}
		if err != nil {
			return
		}
		select {
		case to <- taken{device: device, err: errUsed}: // taken only when the frame has been used
		case <-done:
			return
		}
	}
}

var errUsed = errors.New("used")

// shown is how long a frame may wait until who reads the file sees it.
const shown = 200 * time.Millisecond

// take handles frames. A device that goes ends only its own.
func (c capturing) take(ctx context.Context, frames <-chan taken, left int, sink sink) (n int, err error) {
	tick := time.NewTicker(shown)
	defer tick.Stop()
	for left > 0 && (c.count == 0 || n < c.count) {
		select {
		case <-ctx.Done():
			return n, nil
		case <-tick.C:
			if err := sink.flush(); err != nil {
				return n, err
			}
		case t := <-frames:
			switch {
			case errors.Is(t.err, errUsed):
			case errors.Is(t.err, capture.ErrGone):
				left--
			case t.err != nil:
				return n, t.err
			case c.filter.Match(t.frame.Data):
				n++
				if err := sink.frame(t.device, t.frame); err != nil {
					return n, err
				}
			}
		}
	}
	return n, nil
}

// sink is where frames go.
type sink interface {
	frame(device int, f capture.Frame) error
	flush() error
	end(index int, came, lost uint64) error
	close() error
}

func (c capturing) sink(whose string, devices []capture.Device, out io.Writer) (sink, error) {
	if c.file == "" {
		return &lines{out, devices}, nil
	}
	f := &pcapng{devices: devices}
	if c.file != "-" {
		file, err := os.OpenFile(c.file, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			return nil, err
		}
		f.file, out = file, file
	}
	w, err := capture.NewWriter(out, capture.Info{Comment: whose, Program: "vifctl", Filter: c.filter, Snap: c.snap}, devices[0])
	for i := 1; err == nil && i < len(devices); i++ {
		err = w.Add(devices[i])
	}
	f.w = w
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

// pcapng writes a file.
type pcapng struct {
	w       *capture.Writer
	file    *os.File
	devices []capture.Device
}

func (p *pcapng) frame(device int, f capture.Frame) error {
	return p.w.Write(p.devices[device].Index, f)
}
func (p *pcapng) flush() error { return p.w.Flush() }

func (p *pcapng) end(index int, came, lost uint64) error { return p.w.End(index, came, lost) }

func (p *pcapng) close() error {
	if p.file == nil {
		return nil
	}
	return p.file.Close()
}

// lines writes a line a frame.
type lines struct {
	out     io.Writer
	devices []capture.Device
}

func (l *lines) frame(device int, f capture.Frame) error {
	way := "from"
	if f.To {
		way = "to"
	}
	_, err := fmt.Fprintf(l.out, "%s %-4s %s: %s\n", f.Time.Local().Format("15:04:05.000000"), way, l.devices[device].Name, capture.Summary(f.Data, f.Length))
	return err
}

func (l *lines) flush() error                  { return nil }
func (l *lines) end(int, uint64, uint64) error { return nil }
func (l *lines) close() error                  { return nil }
