package network

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// heading is what stands above every imported declaration.
const heading = `The networks of this host as they were found: with this declaration, "vifctl plan" has nothing to do here. Devices do not tell ` +
	`what they are for: what is a guess says so. Look at the roles first.`

// text writes the declaration and the notes.
func (s *survey) text() (string, []string) {
	var b bytes.Buffer
	comment(&b, heading)
	for _, bond := range s.bonds {
		b.WriteByte('\n')
		comment(&b, "The bond "+string(bond.Name)+".")
		writeTable(&b, bondTable, bondKeys, &bond)
	}
	for _, n := range s.networks {
		b.WriteByte('\n')
		comment(&b, slices.Concat([]string{"From " + n.source + ". " + n.guess}, n.losses)...)
		writeTable(&b, networkTable, networkKeys, &n.Network)
	}
	s.writeLeft(&b)
	return b.String(), s.notes()
}

// writeTable writes a table right below its comment.
func writeTable[T any](b *bytes.Buffer, table string, keys []key[T], of *T) {
	var t bytes.Buffer
	encode(&t, table, keys, of)
	b.Write(bytes.TrimLeft(t.Bytes(), "\n"))
}

// writeLeft writes what is not declared, as comments.
func (s *survey) writeLeft(b *bytes.Buffer) {
	rest := s.leftSentences(true)
	if len(s.unused) > 0 {
		var names []string
		for _, n := range s.unused {
			names = append(names, string(n))
		}
		rest = append(rest, "Ports that nothing uses: "+strings.Join(names, ", ")+".")
	}
	if len(rest) > 0 {
		b.WriteByte('\n')
		comment(b, "Not declared, and left as it is:")
	}
	for _, r := range rest {
		comment(b, "- "+r)
	}
}

// leftSentences tell of what is left out: all of it, or what is news.
func (s *survey) leftSentences(all bool) (out []string) {
	for _, l := range s.left {
		if all || !l.known {
			out = append(out, fmt.Sprintf("%s: %s.", l.device, l.why))
		}
	}
	for _, r := range s.host.Routes {
		if r.Multipath && r.Table == mainTable {
			out = append(out, fmt.Sprintf("The route %s: it has several next hops, which a declaration cannot say.", tellRoute(r)))
		}
	}
	return out
}

// notes are what a person should know who does not read the text.
func (s *survey) notes() []string {
	out := s.leftSentences(false)
	for _, n := range s.networks {
		for _, r := range n.losses {
			out = append(out, fmt.Sprintf("network %s: %s", n.Name, r))
		}
	}
	return out
}

// width is how wide comments become.
const width = 100

// comment writes paragraphs as comments, each from the beginning of a line.
func comment(b *bytes.Buffer, paragraphs ...string) {
	for _, p := range paragraphs {
		line := "#"
		for _, word := range strings.Fields(p) {
			if len(line)+1+len(word) > width && line != "#" {
				b.WriteString(line + "\n")
				line = "#"
			}
			line += " " + word
		}
		b.WriteString(line + "\n")
	}
}
