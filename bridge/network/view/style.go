package view

import (
	"fmt"
	"slices"
	"strings"
)

// theme is the colours of a picture on a light or a dark ground. Texts contrast with what they stand on by 4.5 to 1 or more (WCAG AA).
type theme struct {
	ground, band, card, text, faint, line, label, shared, wrong, odd string
	networks                                                         [10]string // network 11 has the colour of network 1: the label tells them apart
}

var (
	light = theme{
		ground: "#ffffff", band: "#f4f6f8", card: "#ffffff", text: "#16202b", faint: "#526070", line: "#a9b4c0", label: "#ffffff", shared: "#5a6775",
		wrong: "#b3261e", odd: "#8a5a00",
		networks: [10]string{"#1f5fbf", "#8a5a00", "#00695c", "#a3195b", "#5c4db1", "#2e7031", "#006885", "#9c4500", "#7a2fa0", "#4e6400"},
	}
	dark = theme{
		ground: "#0f151c", band: "#151d26", card: "#1b2530", text: "#e8edf2", faint: "#a3b0bd", line: "#4f5d6b", label: "#0f151c", shared: "#a9b6c3",
		wrong: "#ff8a80", odd: "#f0c060",
		networks: [10]string{"#7fb2ff", "#f0c060", "#5fd3c2", "#ff9ec7", "#b9b0ff", "#8fdc8f", "#6ad0f0", "#ffb27a", "#dca4ff", "#c3d96a"},
	}
)

// fonts are what a picture asks for; metrics.go measures the widest of them.
const fonts = `Helvetica, Arial, "Liberation Sans", "DejaVu Sans", sans-serif`

// styles is the style sheet: the light theme, and the dark one where the reader prefers it. It holds for pictures of ours alone, also when
// one is set into a page.
func styles() string {
	return ".vifplug text{font-family:" + fonts + "}\n.vifplug path{fill:none;stroke-width:1.6}\n.vifplug .card{stroke-width:1.4}\n" +
		".vifplug .foreign{stroke-dasharray:7 3}\n.vifplug .loose{stroke-dasharray:2 4}\n.vifplug .cell{fill:none}\n" +
		light.rules() + "@media (prefers-color-scheme: dark){\n" + dark.rules() + "}\n"
}

func (t theme) rules() string {
	var b strings.Builder
	for _, r := range [][3]string{
		{".ground", "fill", t.ground},
		{".band", "fill", t.band},
		{".card", "fill", t.card},
		{".name", "fill", t.text},
		{".faint", "fill", t.faint},
		{".label", "fill", t.label},
		{".wrong", "fill", t.wrong},
		{".odd", "fill", t.odd},
		{".line", "stroke", t.line},
		{".f0", "fill", t.shared},
		{".s0", "stroke", t.shared},
		{".swrong", "stroke", t.wrong},
	} {
		fmt.Fprintf(&b, ".vifplug %s{%s:%s}\n", r[0], r[1], r[2])
	}
	for i, c := range t.networks {
		fmt.Fprintf(&b, ".vifplug .f%[1]d{fill:%[2]s}.vifplug .s%[1]d{stroke:%[2]s}\n", i+1, c)
	}
	return b.String()
}

// colourOf is the class that fills ("f") or strokes ("s") in the colour of a network; 0 is for what several share, or none.
func colourOf(kind string, networks []int) string {
	if len(networks) != 1 {
		return kind + "0"
	}
	return fmt.Sprintf("%s%d", kind, (networks[0]-1)%len(light.networks)+1)
}

// outline is the class of a box's border: dashed for what is foreign, dotted and red for what is missing.
func outline(marks []Mark, networks []int) string {
	switch {
	case slices.Contains(marks, Missing):
		return "swrong loose"
	case slices.Contains(marks, Foreign):
		return colourOf("s", networks) + " foreign"
	}
	return colourOf("s", networks)
}

// toneClass is the class of words about marks.
func toneClass(marks []Mark) string {
	if slices.Contains(marks, Missing) || slices.Contains(marks, Failed) || slices.Contains(marks, Down) {
		return "wrong"
	}
	return "odd"
}
