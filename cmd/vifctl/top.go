package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"vifplug/bridge"
	"vifplug/hotplug"
)

// watching is what top is asked for.
type watching struct {
	sort     string
	interval time.Duration
	count    int
	batch    bool
}

// orders are what top may be sorted by; the largest come first.
var orders = map[string]func(a, b rates) int{
	"frames": func(a, b rates) int { return cmp.Compare(b.rxFrames+b.txFrames, a.rxFrames+a.txFrames) },
	"bytes":  func(a, b rates) int { return cmp.Compare(b.rxBytes+b.txBytes, a.rxBytes+a.txBytes) },
	"drops":  func(a, b rates) int { return cmp.Compare(b.drops, a.drops) },
	"guest":  func(a, b rates) int { return cmp.Compare(a.guest, b.guest) },
}

func newTop(s *shared) *cobra.Command {
	w := watching{}
	c := &cobra.Command{
		Use:   "top",
		Short: "Frames, bytes and drops of every guest NIC, live",
		Long: "top shows what each NIC carries in a second, its vif and its tap together: RX is what the guest receives, TX what it sends. BY says which of the two\n" +
			"carries more: pv or emulated. DROPS are frames that a device lost, and those that a guard has dropped. Ctrl-C ends it.",
		Example: "  vifctl top\n  vifctl top --sort drops --batch --count 1",
		Args:    between(0, 0, "top"),
		RunE: func(c *cobra.Command, _ []string) error {
			switch _, known := orders[w.sort]; {
			case !known:
				return fmt.Errorf("--sort %q: want frames, bytes, drops or guest", w.sort)
			case w.interval < 100*time.Millisecond || w.interval > time.Hour || w.count < 0:
				return fmt.Errorf("--interval %v, --count %d: want 100ms to 1h, and a count of 0 or more", w.interval, w.count)
			}
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return w.run(ctx, s, c.OutOrStdout())
		},
	}
	c.Flags().StringVar(&w.sort, "sort", "bytes", "by frames, bytes, drops or guest")
	c.Flags().DurationVar(&w.interval, "interval", time.Second, "how long each look takes")
	c.Flags().IntVarP(&w.count, "count", "n", 0, "end after so many looks; 0: when told to")
	c.Flags().BoolVar(&w.batch, "batch", false, "print one table below the other, as into a pipe")
	return c
}

// look is one reading of all that top shows.
type look struct {
	at    time.Time
	nics  []hotplug.NICStatus
	stats map[int]bridge.Stats
}

func (w watching) run(ctx context.Context, s *shared, out io.Writer) error {
	conn, err := bridge.Open()
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // it only reads
	screen := !w.batch && colour()
	tick := time.NewTicker(w.interval)
	defer tick.Stop()
	before, err := take(ctx, s, conn)
	for n := 0; err == nil && (w.count == 0 || n < w.count); n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		var now look
		if now, err = take(ctx, s, conn); err == nil {
			_, err = io.WriteString(out, w.page(screen, before, now))
			before = now
		}
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func take(ctx context.Context, s *shared, conn *bridge.Conn) (l look, err error) {
	st, err := s.client().Status(ctx)
	if err != nil {
		return l, err
	}
	l.nics = st.NICs
	l.stats, err = conn.Statistics()
	l.at = time.Now()
	return l, err
}

// page is one screen: from its upper left corner, each line cleared behind, and what is below it too.
func (w watching) page(screen bool, before, now look) string {
	lines := w.table(before, now)
	if !screen {
		return strings.Join(lines, "\n") + "\n\n"
	}
	if _, height, err := term.GetSize(int(os.Stdout.Fd())); err == nil && len(lines) > height-1 {
		lines = lines[:max(1, height-1)]
	}
	return "\x1b[H" + strings.Join(lines, "\x1b[K\n") + "\x1b[K\n\x1b[J"
}

// rates are what one NIC carries in a second.
type rates struct {
	vif, guest, path, by                 string
	rxFrames, txFrames, rxBytes, txBytes float64
	drops                                float64
}

func (w watching) table(before, now look) []string {
	took := now.at.Sub(before.at).Seconds()
	old := map[string]hotplug.NICStatus{}
	for _, n := range before.nics {
		old[n.VIF] = n
	}
	var all []rates
	for _, n := range now.nics {
		all = append(all, ratesOf(n, old[n.VIF], before, now, took))
	}
	slices.SortStableFunc(all, orders[w.sort])
	t := table{{"VIF", "GUEST", "PATH", "BY", "RX fr/s", "RX B/s", "TX fr/s", "TX B/s", "DROPS/s"}}
	for _, r := range all {
		t = append(t, []string{r.vif, r.guest, r.path, r.by, si(r.rxFrames), si(r.rxBytes), si(r.txFrames), si(r.txBytes), si(r.drops)})
	}
	return t.lines()
}

// mostName keeps a line within 80 columns.
const mostName = 14

// ratesOf puts a NIC's two devices together. A device's rx is what the guest has sent.
func ratesOf(n, was hotplug.NICStatus, before, now look, took float64) rates {
	r := rates{vif: n.VIF, guest: guestText(n.Domain), path: "-", by: "-"}
	if g := []rune(r.guest); len(g) > mostName {
		r.guest = string(g[:mostName-1]) + "~"
	}
	pv := r.add(index(n.Link), index(was.Link), before, now, took)
	var tap float64
	if n.Tap != nil && was.Tap != nil {
		tap = r.add(n.Tap.Index, was.Tap.Index, before, now, took)
	}
	r.drops += guardDrops(n, was) / took
	switch {
	case tap > pv:
		r.by = "emulated"
	case pv > 0:
		r.by = "pv"
	}
	p := n.Path
	if t := tapPath(n); t != nil && tap > pv {
		p = t
	}
	if p != nil {
		r.path = string(p.Path)
	}
	return r
}

func index(l *hotplug.LinkStatus) int {
	if l == nil {
		return 0
	}
	return l.Index
}

// add adds what a device has carried, and gives its frames. One that was made anew in between counts from the next look on.
func (r *rates) add(i, was int, before, now look, took float64) float64 {
	a, known := before.stats[i]
	b, there := now.stats[i]
	if i == 0 || i != was || !known || !there || took <= 0 {
		return 0
	}
	per := func(old, new uint64) float64 {
		if new < old { // counted anew
			return 0
		}
		return float64(new-old) / took
	}
	rx, tx := per(a.TxFrames, b.TxFrames), per(a.RxFrames, b.RxFrames)
	r.rxFrames, r.txFrames = r.rxFrames+rx, r.txFrames+tx
	r.rxBytes, r.txBytes = r.rxBytes+per(a.TxBytes, b.TxBytes), r.txBytes+per(a.RxBytes, b.RxBytes)
	r.drops += per(a.RxDropped+a.TxDropped, b.RxDropped+b.TxDropped)
	return rx + tx
}

// guardDrops are the frames that the guards of a NIC have dropped since.
func guardDrops(n, was hotplug.NICStatus) (out float64) {
	if n.Path != nil && was.Path != nil && n.Path.Dropped > was.Path.Dropped {
		out += float64(n.Path.Dropped - was.Path.Dropped)
	}
	a, b := tapPath(was), tapPath(n)
	if a != nil && b != nil && b.Dropped > a.Dropped {
		out += float64(b.Dropped - a.Dropped)
	}
	return out
}

// si writes a number in at most five characters.
func si(v float64) string {
	for _, unit := range []string{"", "k", "M", "G", "T"} {
		switch {
		case v < 10 && unit != "":
			return strconv.FormatFloat(v, 'f', 1, 64) + unit
		case v < 999.5:
			return strconv.FormatFloat(v, 'f', 0, 64) + unit
		}
		v /= 1000
	}
	return "lots"
}
