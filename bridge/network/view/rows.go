package view

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"vifplug/bridge"
)

// String tells whose NIC it is: "web01 (23) eth0".
func (n NIC) String() string { return named(n.Guest, n.Domain) + " " + n.Eth }

// named tells a domain: "web01 (23)".
func named(name string, id int) string { return name + idOf(name, id) }

// idOf is a domain's id as it follows its name; nothing where the name is made of it.
func idOf(name string, id int) string {
	if number := strconv.Itoa(id); name != "domain "+number {
		return " (" + number + ")"
	}
	return ""
}

// describe tells a NIC with its device and marks: "4a vif23.0 web01 (23) eth0, failed".
func (n NIC) describe() string {
	s := n.Label + " " + n.String()
	if n.Tap {
		s += " tap"
	}
	for _, k := range n.Marks {
		s += " " + string(k)
	}
	return s
}

// status is a network's state with its marks.
func (n *Network) status() []string {
	out := []string{string(n.State)}
	for _, k := range n.Marks {
		out = append(out, string(k))
	}
	return out
}

// vlan is a network's tag in words: "-" for none.
func (n *Network) vlan() string {
	if n.VLAN == 0 {
		return "-"
	}
	return strconv.Itoa(n.VLAN)
}

// table is the manager's view as columns and rows, for text and SVG.
func (v Manager) table() table {
	t := table{columns: []column{
		{head: "NET"},
		{head: "NAME"},
		{head: "ID", leave: 5},
		{head: "ON", leave: 6},
		{head: "VLAN", right: true, leave: 6},
		{head: "ADDRESSES", leave: 4},
		{head: "MTU", right: true, leave: 3},
		{head: stateHead},
		{head: "ROLES", leave: 2},
		{head: "GUESTS", leave: 1},
		{head: notesHead, bare: true, leave: 1},
	}}
	t.tones = make([]func(string) tone, len(t.columns))
	t.tones[0], t.tones[7] = func(string) tone { return bold }, toneOf
	for _, n := range v.Networks {
		t.rows = append(t.rows, [][]string{
			{n.Label}, {n.Name}, one(n.ID), one(dash(n.On)), {n.vlan()}, n.Addresses, one(count(n.MTU)), n.status(), n.Roles, n.someGuests(), n.Notes,
		})
	}
	return t.trimmed()
}

// mostGuests is how many of a network's NICs its row names.
const mostGuests = 8

// someGuests names a network's NICs; of many the first, and those before them with which something is wrong.
func (n *Network) someGuests() (out []string) {
	sorted := slices.Clone(n.Guests)
	if len(sorted) > mostGuests {
		slices.SortStableFunc(sorted, func(a, b NIC) int { return cmp.Compare(min(len(b.Marks), 1), min(len(a.Marks), 1)) })
	}
	for i, g := range sorted {
		if i == mostGuests {
			return append(out, "and "+strconv.Itoa(len(sorted)-i)+" more")
		}
		out = append(out, g.describe())
	}
	return out
}

// one is a cell of one item; empty for none.
func one(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// count writes a number; "" for 0, which is not known.
func count(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// Text writes the table of networks.
func (v Manager) Text(w io.Writer, o Options) error {
	if len(v.Networks) == 0 {
		_, err := fmt.Fprintln(w, "No network is declared, and no bridge has guests.")
		return err
	}
	return v.table().write(w, o)
}

// table is the devices view as columns and rows, for text and SVG.
func (v Devices) table() table {
	t := table{columns: []column{
		{head: "LABEL"},
		{head: "DEVICE"},
		{head: "KIND", leave: 6},
		{head: "MAC", leave: 3},
		{head: "MTU", right: true, leave: 5},
		{head: flagsHead},
		{head: "MASTER", leave: 7},
		{head: "ADDRESSES", leave: 4},
		{head: "RX", right: true, leave: 2},
		{head: "TX", right: true, leave: 2},
		{head: "WHAT", bare: true, leave: 1},
		{head: notesHead, bare: true, leave: 1},
	}}
	t.tones = make([]func(string) tone, len(t.columns))
	t.tones[0] = func(string) tone { return bold }
	t.tones[5] = toneOf
	for i := range v.Devices {
		d := &v.Devices[i]
		t.rows = append(t.rows, [][]string{
			strings.FieldsFunc(d.Label, isComma),
			{d.Name},
			{d.kind()},
			one(d.MAC), one(count(d.MTU)), d.status(), one(dash(d.Master)), d.Addresses, d.bytes(d.Stats.RxBytes), d.bytes(d.Stats.TxBytes),
			d.what(), append(slices.Clone(d.Notes), troubles(d.Stats)...),
		})
	}
	return t.trimmed()
}

// kind is what the kernel calls it; a VLAN with its tag and what it stands on.
func (d *Device) kind() string {
	switch {
	case d.Kind == "vlan" && d.VLAN > 0:
		return "vlan " + strconv.Itoa(d.VLAN)
	case d.Kind == "":
		return "-"
	}
	return d.Kind
}

// status is a device's flags and marks. One that is up without being down has no carrier, as its flags and its note say.
func (d *Device) status() (out []string) {
	if len(d.Flags) > 0 {
		out = []string{strings.Join(d.Flags, " ")}
	}
	for _, k := range d.Marks {
		if k != Down || len(d.Flags) == 0 {
			out = append(out, string(k))
		}
	}
	return out
}

func (d *Device) bytes(n uint64) []string {
	if d.Index == 0 {
		return nil
	}
	return []string{amount(n)}
}

// what tells what a VLAN is on, how a bond stands, and whose NIC a guest's port is.
func (d *Device) what() (out []string) {
	if d.On != "" {
		out = append(out, "on "+d.On)
	}
	if len(d.Bond) > 0 {
		out = append(out, strings.Join(d.Bond, ", "))
	}
	if d.Guest != "" {
		out = append(out, d.Guest+" "+d.Eth)
	}
	return out
}

// troubles are the counters of what should not happen.
func troubles(s bridge.Stats) (out []string) {
	for _, c := range []struct {
		n    uint64
		what string
	}{{s.RxErrors, "receive errors"}, {s.TxErrors, "send errors"}, {s.RxDropped, "dropped on receipt"}, {s.TxDropped, "dropped on sending"}} {
		if c.n > 0 {
			out = append(out, strconv.FormatUint(c.n, 10)+" "+c.what)
		}
	}
	return out
}

// amount writes bytes with a decimal unit and three digits: "12.3MB".
func amount(n uint64) string {
	if n < 1000 {
		return strconv.FormatUint(n, 10) + "B"
	}
	f, i := float64(n), 0
	for f >= 999.5 {
		f, i = f/1000, i+1
	}
	digits := 2
	if f >= 9.995 {
		digits = 1
	}
	if f >= 99.95 {
		digits = 0
	}
	return strconv.FormatFloat(f, 'f', digits, 64) + " kMGTPE"[i:i+1] + "B"
}

// Text writes the list of devices.
func (v Devices) Text(w io.Writer, o Options) error { return v.table().write(w, o) }

// isComma parts a label of several ranges into items, so that a table can wrap it.
func isComma(r rune) bool { return r == ',' }
