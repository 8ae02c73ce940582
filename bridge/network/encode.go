package network

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Encode writes the declaration as a file that [Parse] reads to the same declaration.
func (s Spec) Encode() []byte {
	var b bytes.Buffer
	b.WriteString("# The networks of this host, see vifplug.toml(5). `vifctl plan` shows what a change would do.\n")
	for i := range s.Bonds {
		encode(&b, bondTable, bondKeys, &s.Bonds[i])
	}
	for i := range s.Networks {
		encode(&b, networkTable, networkKeys, &s.Networks[i])
	}
	return b.Bytes()
}

// encode writes one table, its values one below the other.
func encode[T any](b *bytes.Buffer, table string, keys []key[T], of *T) {
	var lines [][2]string
	width := 0
	for _, k := range keys {
		if v := k.get(of); v != "" {
			lines = append(lines, [2]string{k.name, v})
			width = max(width, len(k.name))
		}
	}
	fmt.Fprintf(b, "\n[[%s]]\n", table)
	for _, l := range lines {
		fmt.Fprintf(b, "%s%s = %s\n", l[0], strings.Repeat(" ", width-len(l[0])), l[1])
	}
}

// Bare gives a copy without places, in which two declarations that mean the same are the same by reflect.DeepEqual.
func (s Spec) Bare() Spec {
	s.Bonds, s.Networks = slices.Clone(s.Bonds), slices.Clone(s.Networks)
	for i := range s.Bonds {
		s.Bonds[i].At, s.Bonds[i].Keys = Place{}, nil
	}
	for i := range s.Networks {
		s.Networks[i].At, s.Networks[i].Keys = Place{}, nil
	}
	return s
}
