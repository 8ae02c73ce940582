package view

import (
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// area is a rectangle of a picture, and what is in it.
type area struct {
	x1, y1, x2, y2 float64
	what           string
}

func (a area) overlaps(b area) bool {
	return a.x1 < b.x2-0.2 && b.x1 < a.x2-0.2 && a.y1 < b.y2-0.2 && b.y1 < a.y2-0.2
}

func (a area) holds(b area) bool {
	return b.x1 >= a.x1-0.2 && b.y1 >= a.y1-0.2 && b.x2 <= a.x2+0.2 && b.y2 <= a.y2+0.2
}

// drawing is what a test reads out of an SVG.
type drawing struct {
	frame     area
	texts     []area
	homes     []*area // of the texts: the box that each must stay in; nil: none
	boxes     []area
	elements  map[string]int
	styles    string
	all       []string // every text, titles too
	reference []string // what attributes point at
	home      *area    // of the box that is being read
	inBox     bool
}

// read parses a picture as a browser would, and measures its texts.
func read(svg string) (*drawing, error) {
	d := &drawing{elements: map[string]int{}}
	dec := xml.NewDecoder(strings.NewReader(svg))
	var open []xml.StartElement
	for {
		token, err := dec.Token()
		switch {
		case err == io.EOF:
			return d, nil
		case err != nil:
			return nil, err
		}
		switch e := token.(type) {
		case xml.StartElement:
			open = append(open, e)
			d.begin(e)
		case xml.EndElement:
			open = open[:len(open)-1]
			if e.Name.Local == "g" {
				d.home, d.inBox = nil, false
			}
		case xml.CharData:
			if len(open) > 0 {
				d.chars(open[len(open)-1], string(e))
			}
		}
	}
}

func (d *drawing) begin(e xml.StartElement) {
	d.elements[e.Name.Local]++
	for _, a := range e.Attr {
		if strings.Contains(a.Name.Local, "href") || strings.HasPrefix(a.Name.Local, "on") || strings.Contains(a.Value, "url(") {
			d.reference = append(d.reference, a.Name.Local+"="+a.Value)
		}
	}
	switch {
	case e.Name.Local == "svg":
		d.frame = area{0, 0, attr(e, "width"), attr(e, "height"), "frame"}
	case e.Name.Local == "g":
		d.home, d.inBox = nil, true
	case e.Name.Local == "rect" && d.inBox && d.home == nil:
		d.home = &area{attr(e, "x"), attr(e, "y"), attr(e, "x") + attr(e, "width"), attr(e, "y") + attr(e, "height"), class(e)}
		d.boxes = append(d.boxes, *d.home)
	}
}

func (d *drawing) chars(of xml.StartElement, s string) {
	switch of.Name.Local {
	case "style":
		d.styles = s
	case "text":
		d.texts, d.homes = append(d.texts, measured(of, s)), append(d.homes, d.home)
		d.all = append(d.all, s)
	case "title", "desc":
		d.all = append(d.all, s)
	}
}

func attr(e xml.StartElement, name string) float64 {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			f, err := strconv.ParseFloat(a.Value, 64)
			if err != nil {
				return math.NaN()
			}
			return f
		}
	}
	return 0
}

func class(e xml.StartElement) string {
	for _, a := range e.Attr {
		if a.Name.Local == "class" {
			return a.Value
		}
	}
	return ""
}

func measured(e xml.StartElement, s string) area {
	f := font{size: attr(e, "font-size")}
	x, y, end := attr(e, "x"), attr(e, "y"), false
	for _, a := range e.Attr {
		f.bold = f.bold || a.Name.Local == "font-weight"
		end = end || a.Name.Local == "text-anchor"
	}
	if end {
		x -= f.width(s)
	}
	return area{x, y - 0.78*f.size, x + f.width(s), y + 0.22*f.size, s}
}

// faults are the rules of pictures that one breaks.
func (d *drawing) faults() (out []string) {
	for i, a := range d.texts {
		if !d.frame.holds(a) {
			out = append(out, fmt.Sprintf("%q leaves the picture", a.what))
		}
		if h := d.homes[i]; h != nil && !h.holds(a) {
			out = append(out, fmt.Sprintf("%q leaves its box: %v in %v", a.what, a, *h))
		}
		for _, b := range d.texts[:i] {
			if a.overlaps(b) {
				out = append(out, fmt.Sprintf("%q is over %q", a.what, b.what))
			}
		}
	}
	for i, a := range d.boxes {
		if !d.frame.holds(a) {
			out = append(out, "a box leaves the picture")
		}
		for _, b := range d.boxes[:i] {
			if a.overlaps(b) && !b.holds(a) {
				out = append(out, fmt.Sprintf("boxes overlap: %v and %v", a, b))
			}
		}
	}
	for name := range d.elements {
		if !strings.Contains(" svg title desc style rect g text path ", " "+name+" ") {
			out = append(out, "the element "+name)
		}
	}
	for _, r := range d.reference {
		out = append(out, "it points elsewhere: "+r)
	}
	if strings.Contains(d.styles, "@import") || strings.Contains(d.styles, "url(") {
		out = append(out, "the style sheet needs another file")
	}
	return out
}

func picturesOf(t testing.TB, in Input) map[string]*drawing {
	out := map[string]*drawing{}
	for _, name := range Names {
		v, err := New(in).View(name)
		require.NoError(t, err)
		var b strings.Builder
		require.NoError(t, v.SVG(&b))
		out[name], err = read(b.String())
		require.NoError(t, err)
	}
	return out
}

func TestPicturesKeepTheRules(t *testing.T) {
	for name, in := range map[string]Input{
		"nothing": {}, "worked": worked(), "troubled": troubled(), "one": crowd(1), "thirty": crowd(30), "two hundred": crowd(200), "six hundred": crowd(600),
	} {
		for view, d := range picturesOf(t, in) {
			assert.Empty(t, d.faults(), "%s, %s", name, view)
		}
	}
}

// The judge above sees what it shall see.
func TestFaultsAreSeen(t *testing.T) {
	for want, svg := range map[string]string{
		"is over":               `<svg width="100" height="50"><text x="1" y="20" font-size="10">long word</text><text x="20" y="22" font-size="10">b</text></svg>`,
		"leaves its box":        `<svg width="100" height="50"><g class="box"><rect x="0" y="0" width="9" height="20"/><text x="2" y="14" font-size="10">word</text></g></svg>`,
		"leaves the picture":    `<svg width="10" height="50"><text x="1" y="20" font-size="10">long word</text></svg>`,
		"boxes overlap":         `<svg width="99" height="50"><g><rect x="0" y="0" width="9" height="9"/></g><g><rect x="5" y="5" width="9" height="9"/></g></svg>`,
		"the element script":    `<svg width="99" height="50"><script>x</script></svg>`,
		"it points elsewhere":   `<svg width="99" height="50"><path onload="x"/></svg>`,
		"needs another file":    `<svg width="99" height="50"><style>@import "x";</style></svg>`,
		"\"late\" leaves its b": `<svg width="99" height="50"><g><rect x="9" y="0" width="9" height="20"/><text text-anchor="end" x="14" y="14" font-size="10">late</text></g></svg>`,
	} {
		d, err := read(svg)
		require.NoError(t, err)
		assert.Contains(t, strings.Join(d.faults(), "; "), want)
	}
}

// Every label, device and guest of the view is in the picture as text.
func TestPictureHasEverything(t *testing.T) {
	for _, in := range []Input{worked(), troubled(), crowd(200)} {
		d := picturesOf(t, in)["logical"]
		texts := map[string]bool{}
		for _, a := range d.texts {
			texts[a.what] = true
		}
		for _, n := range New(in).Logical().Nodes {
			if n.Layer == LayerNIC || n.Layer == LayerWire {
				assert.True(t, n.Label == "" || texts[n.Label], n.Label)
				assert.True(t, texts[n.Name], n.Name)
			}
		}
	}
}

// luminance is WCAG's relative luminance of a colour "#rrggbb".
func luminance(t *testing.T, colour string) float64 {
	n, err := strconv.ParseUint(colour[1:], 16, 32)
	require.NoError(t, err)
	linear := func(c uint64) float64 {
		f := float64(c&0xff) / 255
		if f <= 0.04045 {
			return f / 12.92
		}
		return math.Pow((f+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(n>>16) + 0.7152*linear(n>>8) + 0.0722*linear(n)
}

func contrast(t *testing.T, a, b string) float64 {
	x, y := luminance(t, a), luminance(t, b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

func TestContrast(t *testing.T) {
	assert.InDelta(t, 21, contrast(t, "#000000", "#ffffff"), 0.01)
	for name, c := range map[string]theme{"light": light, "dark": dark} {
		for _, behind := range []string{c.ground, c.band, c.card} {
			for _, text := range append([]string{c.text, c.faint, c.wrong, c.odd, c.shared}, c.networks[:]...) {
				assert.GreaterOrEqual(t, contrast(t, text, behind), 4.5, "%s: %s on %s", name, text, behind)
			}
		}
		for _, chip := range append([]string{c.shared}, c.networks[:]...) {
			assert.GreaterOrEqual(t, contrast(t, c.label, chip), 4.5, "%s: a label on %s", name, chip)
		}
	}
}

func TestBothThemes(t *testing.T) {
	d := picturesOf(t, worked())["logical"]
	assert.Contains(t, d.styles, "@media (prefers-color-scheme: dark)")
	assert.Contains(t, d.styles, light.ground)
	assert.Contains(t, d.styles, dark.ground)
	assert.Equal(t, 1, d.elements["desc"])
}

// Every class that is drawn with has a rule.
func TestEveryClassHasARule(t *testing.T) {
	for _, format := range Names {
		v, err := New(troubled()).View(format)
		require.NoError(t, err)
		dec := xml.NewDecoder(strings.NewReader(write(t, v, "svg", Options{})))
		for {
			token, err := dec.Token()
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
			if e, ok := token.(xml.StartElement); ok && e.Name.Local != "svg" && e.Name.Local != "g" {
				for _, c := range strings.Fields(class(e)) {
					assert.True(t, c == "chip" || strings.Contains(styles(), "."+c+"{"), c)
				}
			}
		}
	}
}

func TestElide(t *testing.T) {
	f := font{size: 10}
	assert.Equal(t, "short", f.elide("short", 100))
	got := f.elide("a very long text that cannot fit", 60)
	assert.LessOrEqual(t, f.width(got), 60.0)
	assert.True(t, strings.HasSuffix(got, "…"), got)
	assert.Equal(t, "…", f.elide("wide", 1))
	assert.Greater(t, font{10, true}.width("web01"), f.width("web01"))
}

// However long a guest's name is, its id and its NIC are told.
func TestIdsAreNotElided(t *testing.T) {
	in := crowd(60)
	for i := range in.Guests {
		in.Guests[i].Domain = strings.Repeat("long", 30)
	}
	texts := map[string]bool{}
	for _, a := range picturesOf(t, in)["logical"].texts {
		if strings.HasPrefix(a.what, "long") {
			assert.Regexp(t, `… \(\d+\) eth\d$`, a.what)
			texts[a.what] = true
		}
	}
	assert.Greater(t, len(texts), 60)
}

// The cells of a panel, and the lines of a network in the tree, are in the order of their labels.
func TestPortsAreInTheOrderOfTheirLabels(t *testing.T) {
	in := crowd(60)
	slices.Reverse(in.Host.Devices)
	last := map[int]int{}
	for _, n := range New(in).Logical().Nodes {
		if n.Layer == LayerNIC {
			letter := 0
			for _, c := range strings.TrimLeft(n.Label, "0123456789") {
				letter = letter*26 + int(c-'a') + 1
			}
			assert.Equal(t, last[n.Networks[0]]+1, letter, n.Label)
			last[n.Networks[0]] = letter
		}
	}
}

// Two columns that make a picture no lower than one are not made.
func TestPanelsAreNoWiderThanTheyNeed(t *testing.T) {
	var panels []*panel
	for range 60 {
		panels = append(panels, &panel{nics: []*Node{{Name: "vif1.0"}, {Name: "vif2.0"}, {Name: "vif3.0"}}})
	}
	assert.Equal(t, 3, newGrid(panels).columns)
	assert.Equal(t, 1, newGrid(panels[:3]).columns)
}

// Thirty guests make a picture of about as many lines, without a void.
func TestPictureIsNoTallerThanItsGuests(t *testing.T) {
	assert.Less(t, picturesOf(t, crowd(30))["logical"].frame.y2, 1800.0)
	assert.Less(t, picturesOf(t, crowd(200))["logical"].frame.y2, 2100.0)
}
