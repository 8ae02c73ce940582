package network

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"vifplug/bridge"
)

// short are the options whose keys are shorter than what sysfs calls them.
var short = map[bridge.Key]string{"stp_state": "stp", "ageing_time": "ageing"}

// standing is what holds where an option is not declared and vifplug, not the kernel, decides it.
var standing = map[bridge.Key]string{miimon: DefaultMiimon + ", or 0 with arp-interval", "forward_delay": "0, or 15 with stp"}

// OptionKey is what a declaration calls an option of a bond or bridge: "lacp-rate" for "lacp_rate".
func OptionKey(k bridge.Key) string {
	if s := short[k]; s != "" {
		return s
	}
	return strings.ReplaceAll(string(k), "_", "-")
}

// optionKeys are the keys of options. Settings keep them as the kernel spells them.
func optionKeys[T any](options []bridge.Option, settings func(*T) *bridge.Settings) (out []key[T]) {
	for _, o := range options {
		if o.Key == "vlan_filtering" { // it has a key of its own
			continue
		}
		out = append(out, key[T]{
			name: OptionKey(o.Key), want: wantOf(o), absent: absentOf(o), text: textOf(o),
			set: func(c *cell, to *T) {
				v, ok := c.option(o)
				if !ok {
					return
				}
				into := settings(to)
				if *into == nil {
					*into = bridge.Settings{}
				}
				(*into)[o.Key] = v
			},
			get: func(of *T) string {
				v, said := (*settings(of))[o.Key]
				if !said {
					return ""
				}
				return written(o, v)
			},
		})
	}
	return out
}

func wantOf(o bridge.Option) string {
	switch o.Kind {
	case "number":
		return "a number from " + strconv.Itoa(o.Min) + " to " + strconv.Itoa(o.Max)
	case "seconds":
		return "a number of seconds from " + seconds(o.Min) + " to " + seconds(o.Max)
	case "bool":
		return "true or false"
	case "name":
		return "one of " + strings.Join(o.Names, ", ")
	case "device":
		return `a port such as "eth0"`
	case "mac":
		return wantMAC
	default:
		if ofIPv6(o) {
			return `a list of addresses such as ["fd00::1"]`
		}
		return `a list of addresses such as ["10.11.10.1"]`
	}
}

// absentOf is what holds where an option is not declared.
func absentOf(o bridge.Option) string {
	switch v := standing[o.Key]; {
	case v != "":
		return v
	case o.Default == "":
		return "none"
	}
	return written(o, o.Default)
}

// spelt are keys in the kernel's spelling within the text of an option.
var spelt = regexp.MustCompile(`[a-z0-9]+(_[a-z0-9]+)+`)

func textOf(o bridge.Option) string {
	text := spelt.ReplaceAllStringFunc(o.Text, func(k string) string { return OptionKey(bridge.Key(k)) })
	if len(o.Modes) == 0 {
		return text
	}
	return text + "; only in " + strings.Join(o.Modes, ", ")
}

// written is a setting as a declaration has it.
func written(o bridge.Option, v string) string {
	switch o.Kind {
	case "number", "seconds":
		return v
	case "bool":
		return strconv.FormatBool(v == "1")
	case "addresses":
		if v == "" {
			return "[]"
		}
		return list(strings.Split(v, ","))
	default:
		return strconv.Quote(v)
	}
}

// option reads an option's value and gives it as the kernel spells it.
func (c *cell) option(o bridge.Option) (string, bool) {
	had := len(c.r.errs)
	var v string
	switch o.Kind {
	case "number":
		v = strconv.Itoa(c.number(o.Min, o.Max))
	case "seconds":
		v = seconds(c.centiseconds(o.Min, o.Max))
	case "bool":
		v = map[bool]string{true: "1", false: "0"}[c.flag()]
	case "name":
		v = c.oneOf(o.Names)
	case "device":
		v = string(c.device())
	case "mac":
		if v, _ = c.text(); v != o.Default {
			v = fmt.Sprint(c.mac())
		}
	default:
		v = c.addressList(ofIPv6(o))
	}
	if len(c.r.errs) > had {
		return "", false
	}
	v, err := o.Canonical(v)
	if err != nil {
		c.refuse("%s", err)
	}
	return v, err == nil
}

// ofIPv6 says of which family an option's addresses are.
func ofIPv6(o bridge.Option) bool { return strings.Contains(string(o.Key), "ip6") }

// addressList reads addresses of one family, as sysfs takes them: between commas.
func (c *cell) addressList(six bool) string {
	var all []string
	c.each(func(c *cell) {
		a, ok := c.addr()
		switch {
		case !ok:
		case a.Is6() != six:
			c.refuse("%s is of the wrong family: want IPv%s", a, map[bool]string{true: "6", false: "4"}[six])
		case slices.Contains(all, a.String()):
			c.refuse("%s is there twice", a)
		default:
			all = append(all, a.String())
		}
	})
	return strings.Join(all, ",")
}
