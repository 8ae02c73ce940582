package hotplug

import (
	"net/netip"
	"strings"

	"vifplug/bridge"
)

// Op is what a step does.
type Op uint8

// The kinds of steps. Adjacent OpLink steps go to the kernel in one message where their order allows it.
const (
	OpLink     Op = iota // change the link
	OpIgnoreRA           // accept_ra = 0
	OpFlush              // remove one address
	OpVLAN               // take part in one VLAN, untagged, and in no other
	OpGuard              // hold the guest's frames to its MAC address
	OpVerify             // observe again: nothing may be left to do
	OpConnect            // F/mtu and hotplug-status, in one transaction
)

// Step is one thing to do about a NIC, with the sentence that explains it.
type Step struct {
	Op      Op
	Text    string
	Change  bridge.Change // OpLink
	Address netip.Prefix  // OpFlush
	VLAN    int           // OpVLAN; 0: in none
}

func linkStep(text string, c bridge.Change) Step { return Step{Op: OpLink, Text: text, Change: c} }

// marks says that a link step changes nothing but the mark.
func (s Step) marks() bool {
	c := s.Change
	return s.Op == OpLink && c.Alias != nil && c.Name == "" && c.MAC == nil && c.MTU == 0 && c.Master == nil && c.Up == nil && !c.NoAddrGen
}

func (s Step) takesDown() bool { return s.Op == OpLink && s.Change.Up != nil && !*s.Change.Up }

// alone says that a link step must not share a message with its neighbours: taking down, renaming and bringing up each depend on what was
// done before, and kernels differ in the order in which they go through one message.
func (s Step) alone() bool { return s.Change.Up != nil || s.Change.Name != "" }

// batches joins steps that may go in one message: each batch is a slice of the steps, in order.
func batches(steps []Step) [][]Step {
	var out [][]Step
	for i, s := range steps {
		joins := i > 0 && s.Op == OpLink && !s.alone() && steps[i-1].Op == OpLink && !steps[i-1].alone()
		if joins {
			out[len(out)-1] = append(out[len(out)-1], s)
			continue
		}
		out = append(out, steps[i:i+1:i+1])
	}
	return out
}

// merged is the one change that a batch of link steps makes.
func merged(batch []Step) bridge.Change {
	var c bridge.Change
	for _, s := range batch {
		if s.Change.Name != "" {
			c.Name = s.Change.Name
		}
		if s.Change.Alias != nil {
			c.Alias = s.Change.Alias
		}
		if s.Change.MAC != nil {
			c.MAC = s.Change.MAC
		}
		if s.Change.MTU != 0 {
			c.MTU = s.Change.MTU
		}
		if s.Change.Master != nil {
			c.Master = s.Change.Master
		}
		if s.Change.Up != nil {
			c.Up = s.Change.Up
		}
		c.NoAddrGen = c.NoAddrGen || s.Change.NoAddrGen
	}
	return c
}

func batchText(batch []Step) string {
	texts := make([]string, len(batch))
	for i, s := range batch {
		texts[i] = s.Text
	}
	return strings.Join(texts, ", ")
}

// verifyText is OpVerify's sentence.
const verifyText = "read the port back"

// printable bounds text that comes from outside and replaces what could disturb a terminal or a log line.
func printable(s string, most int) string {
	clean := strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r == 0xfffd {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(clean) > most {
		clean = strings.ToValidUTF8(clean[:most], "") + "..."
	}
	return clean
}
