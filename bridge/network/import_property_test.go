package network_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"vifplug/bridge"
	"vifplug/bridge/network"
)

// drawHost draws a host as readHost reads it: whatever people and their tools may have made, sensible or not, that the kernel would take.
func drawHost(t *rapid.T) bridge.Host {
	d := &drawer{t: t, mtu: map[string]int{}}
	d.line("lo loopback mtu 65536")
	d.ports()
	for i := range rapid.IntRange(0, 2).Draw(t, "bonds") {
		d.bond(fmt.Sprintf("bond%d", i))
	}
	for range rapid.IntRange(0, 4).Draw(t, "vlans") {
		d.vlan()
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "bridges") {
		d.bridge(i)
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "routes") {
		d.route(i)
	}
	text := d.text()
	h, err := readHost(text)
	require.NoError(t, err, text)
	t.Logf("\n%s", text)
	return h
}

// drawer writes a host down, a line a device.
type drawer struct {
	t       *rapid.T
	names   []string          // of devices, in order
	lines   map[string]string // by name
	tail    []string          // routes
	masters map[string]string
	mtu     map[string]int
	nets    int
}

func (d *drawer) line(line string) {
	if d.lines == nil {
		d.lines, d.masters = map[string]string{}, map[string]string{}
	}
	name, _, _ := strings.Cut(line, " ")
	d.names, d.lines[name] = append(d.names, name), line
}

func (d *drawer) chance(what string, percent int) bool {
	return rapid.IntRange(0, 99).Draw(d.t, what) >= 100-percent
}

func (d *drawer) pick(what string, from ...string) string {
	return rapid.SampledFrom(from).Draw(d.t, what)
}

// add writes a device, mostly up, with addresses at times.
func (d *drawer) add(name, rest string, mtu, addressed int) {
	if d.chance("down", 5) {
		rest += " down"
	}
	line := fmt.Sprintf("%s %s mtu %d", name, rest, mtu)
	for range 2 {
		if d.chance("addressed", addressed) {
			line += "\n  address " + d.address()
		}
	}
	d.line(line)
	d.mtu[name] = mtu
}

func (d *drawer) address() string {
	d.nets++
	switch rapid.IntRange(0, 9).Draw(d.t, "kind of address") {
	case 0:
		return fmt.Sprintf("10.%d.0.1/32 peer 10.%d.0.2/32", d.nets, d.nets)
	case 1:
		return fmt.Sprintf("10.%d.0.1/24 for 1h", d.nets)
	case 2, 3:
		return fmt.Sprintf("2001:db8:%d::1/64", d.nets)
	case 4:
		return "10.0.0.1/24" // perhaps twice
	}
	return fmt.Sprintf("10.%d.0.1/24", d.nets)
}

func (d *drawer) ports() {
	for i := range rapid.IntRange(1, 5).Draw(d.t, "ports") {
		d.add(fmt.Sprintf("eth%d", i), "port", rapid.SampledFrom([]int{1500, 1500, 1500, 9000}).Draw(d.t, "mtu"), 25)
	}
}

// free are the devices of some kinds that have no master.
func (d *drawer) free(kinds ...string) (out []string) {
	for _, n := range d.names {
		for _, k := range kinds {
			if strings.HasPrefix(d.lines[n], n+" "+k) && d.masters[n] == "" {
				out = append(out, n)
			}
		}
	}
	return out
}

// enslave draws up to most of the free devices of some kinds for a master.
func (d *drawer) enslave(master string, most int, kinds ...string) (out []string) {
	for range rapid.IntRange(0, most).Draw(d.t, "ports of "+master) {
		free := d.free(kinds...)
		if len(free) == 0 {
			break
		}
		p := d.pick("port", free...)
		d.masters[p] = master
		out = append(out, p)
	}
	return out
}

func (d *drawer) bond(name string) {
	mode := d.pick("mode", bridge.BondModes...)
	mtu := 1500
	for i, p := range d.enslave(name, 3, "port") {
		if i == 0 {
			mtu = d.mtu[p]
		}
		d.lines[p] = strings.Replace(d.lines[p], fmt.Sprintf("mtu %d", d.mtu[p]), fmt.Sprintf("mtu %d", mtu), 1)
		d.mtu[p] = mtu
		if d.chance("address goes", 80) {
			d.lines[p], _, _ = strings.Cut(d.lines[p], "\n")
		}
	}
	d.add(name, "bond mode "+mode+" miimon "+d.pick("miimon", "0", "100", "200")+" xmit_hash_policy "+d.pick("hash", "layer2", "layer3+4"), mtu, 25)
}

func (d *drawer) vlan() {
	var on []string
	for _, n := range d.names {
		if n != "lo" && (d.masters[n] == "" || d.chance("on a port", 40)) {
			on = append(on, n)
		}
	}
	if len(on) == 0 {
		return
	}
	base, id := d.pick("on", on...), rapid.IntRange(1, 4).Draw(d.t, "id")
	for _, n := range d.names {
		if strings.HasPrefix(d.lines[n], fmt.Sprintf("%s vlan %d on %s ", n, id, base)) {
			return
		}
	}
	name := fmt.Sprintf("%s.%d", base, id)
	if d.chance("free name", 30) {
		name = fmt.Sprintf("vlan%d", len(d.names))
	}
	if len(name) > bridge.NameMax {
		return
	}
	d.add(name, fmt.Sprintf("vlan %d on %s", id, base), min(d.mtu[base], rapid.SampledFrom([]int{1400, 1500, 9000}).Draw(d.t, "mtu")), 50)
}

func (d *drawer) bridge(i int) {
	name := d.pick("name", "br", "xenbr", "xapi", "vmbr", "docker") + fmt.Sprint(i)
	mtu := 9000
	uplinks := d.enslave(name, 2, "port", "bond", "vlan")
	for _, p := range uplinks {
		mtu = min(mtu, d.mtu[p])
		if d.chance("address goes", 80) {
			d.lines[p], _, _ = strings.Cut(d.lines[p], "\n")
		}
	}
	if len(uplinks) == 0 {
		mtu = 1500
	}
	rest := "bridge forward_delay " + d.pick("delay", "0", "2", "15") + " vlan_filtering " + d.pick("filtering", "0", "0", "1")
	if strings.HasSuffix(rest, "filtering 1") {
		for _, p := range uplinks {
			d.lines[p] += "\n  vlan 1 pvid untagged\n  vlan 2-" + d.pick("vlans", "4094", "100")
		}
	}
	if d.chance("stp", 20) {
		rest = strings.Replace(rest, "forward_delay 0", "forward_delay 2", 1) + " stp_state 1"
	}
	if d.chance("mac", 30) {
		rest += fmt.Sprintf(" mac 9a:00:00:00:00:%02x", i)
	}
	d.add(name, rest, mtu, 30)
	if d.chance("guest", 50) {
		d.line(fmt.Sprintf("vif%d.0 port bus xen-backend mac fe:ff:ff:ff:ff:ff mtu %d", i+1, mtu))
		d.masters[fmt.Sprintf("vif%d.0", i+1)] = name
	}
}

func (d *drawer) route(i int) {
	dev := d.pick("dev", d.names...)
	to := fmt.Sprintf("172.16.%d.0/24", i)
	if i == 0 {
		to = d.pick("to", "default", "default", to)
	}
	route := fmt.Sprintf("route %s via 10.%d.0.254 dev %s", to, rapid.IntRange(1, max(1, d.nets)).Draw(d.t, "net"), dev)
	if d.chance("metric", 30) {
		route += " metric 100"
	}
	d.tail = append(d.tail, route+" proto "+d.pick("proto", "3", "4", "16"))
}

func (d *drawer) text() string {
	var b strings.Builder
	for _, n := range d.names {
		head, addresses, has := strings.Cut(d.lines[n], "\n")
		if m := d.masters[n]; m != "" {
			head += " master " + m
		}
		b.WriteString(head + "\n")
		if has {
			b.WriteString(addresses + "\n")
		}
	}
	b.WriteString(strings.Join(d.tail, "\n") + "\n")
	return b.String()
}

// What is imported is a declaration without a fault, whatever the host, says all that is in it, and is what the host is.
func TestImportOfAnyHost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHost(t)
		text, notes := network.Import(h)
		s, err := network.Parse([]network.File{{Name: "imported.toml", Text: []byte(text)}})
		require.NoError(t, err, text)
		_, err = network.Check(s)
		require.NoError(t, err, text)
		s, err = network.Resolve(s, nil)
		require.NoError(t, err, text)
		plan, err := network.Make(network.Input{Want: s, Have: h})
		require.NoError(t, err, text)
		require.Empty(t, plan.Steps, text)
		assert.Empty(t, network.Compare(network.Input{Want: s, Have: h}), text)
		accounted(t, h, s, text)
		again, notesAgain := network.Import(h.Clone())
		assert.Equal(t, text, again)
		assert.Equal(t, notes, notesAgain)
	})
}

// accounted: each bridge, bond and address of the host is declared or told of.
func accounted(t *rapid.T, h bridge.Host, s network.Spec, text string) {
	for _, d := range h.Devices {
		told := s.Bond(d.Name) != nil || strings.Contains(text, "# - "+string(d.Name)+":")
		if d.Kind == "bridge" {
			told = told || s.Network(string(d.Name)) != nil
			assert.True(t, told, "the bridge %s is passed over:\n%s", d.Name, text)
		}
		if d.Kind == "bond" {
			assert.True(t, told, "the bond %s is passed over:\n%s", d.Name, text)
		}
		for _, a := range d.Addresses {
			kept := strings.Contains(text, a.Prefix.Addr().String()) || told || d.Kind == "bridge"
			if m := h.Device(d.Master); m != nil {
				kept = kept || strings.Contains(text, "# - "+string(m.Name)+":")
			}
			assert.True(t, kept, "the address %s of %s is passed over:\n%s", a.Prefix, d.Name, text)
		}
	}
}
