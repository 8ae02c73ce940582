package view

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write what the views look like into testdata")

// golden compares with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, string(want), got, path)
}

func write(t *testing.T, v View, format string, o Options) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, Write(&b, v, format, o))
	return b.String()
}

var extensions = map[string]string{"text": "txt", "json": "json", "dot": "dot", "mermaid": "mmd", "svg": "svg"}

func TestGoldens(t *testing.T) {
	for name, in := range map[string]Input{"worked": worked(), "troubled": troubled()} {
		for _, view := range Names {
			v, err := New(in).View(view)
			require.NoError(t, err)
			for _, format := range Formats {
				golden(t, name+"."+view+"."+extensions[format], write(t, v, format, Options{}))
			}
		}
	}
	logical := New(troubled()).Logical()
	golden(t, "troubled.logical.ascii.txt", write(t, logical, "text", Options{ASCII: true}))
	golden(t, "troubled.logical.narrow.txt", write(t, logical, "text", Options{Width: 44}))
	golden(t, "troubled.manager.wide.txt", write(t, New(troubled()).Manager(), "text", Options{Width: 240}))
	golden(t, "troubled.manager.narrow.txt", write(t, New(troubled()).Manager(), "text", Options{Width: 44}))
}

func TestTextFits80Columns(t *testing.T) {
	for _, view := range Names {
		v, err := New(worked()).View(view)
		require.NoError(t, err)
		for line := range strings.Lines(write(t, v, "text", Options{})) {
			assert.LessOrEqual(t, cells(strings.TrimRight(line, "\n")), 80, line)
			assert.Equal(t, strings.TrimRight(line, " \n"), strings.TrimRight(line, "\n"), "blanks at the end")
		}
	}
}

// A client that has a view as JSON has all of it, and draws it as the daemon would.
func TestJSONKeepsAll(t *testing.T) {
	m := New(troubled())
	var manager Manager
	var logical Logical
	var devices Devices
	for _, c := range []struct {
		v    View
		into any
	}{{m.Manager(), &manager}, {m.Logical(), &logical}, {m.Devices(), &devices}} {
		d := json.NewDecoder(strings.NewReader(write(t, c.v, "json", Options{})))
		d.DisallowUnknownFields()
		require.NoError(t, d.Decode(c.into))
	}
	assert.Equal(t, m.Manager(), manager)
	assert.Equal(t, m.Logical(), logical)
	assert.Equal(t, m.Devices(), devices)
}

func TestColourIsOnlyWhereTold(t *testing.T) {
	for _, view := range Names {
		v, err := New(troubled()).View(view)
		require.NoError(t, err)
		without, with := write(t, v, "text", Options{}), write(t, v, "text", Options{Colour: true})
		assert.NotContains(t, without, "\x1b")
		assert.Contains(t, with, "\x1b[1m")
		for _, code := range []tone{dim, bold, good, bad, odd, "\x1b[0m"} {
			with = strings.ReplaceAll(with, string(code), "")
		}
		assert.Equal(t, lines(without), lines(with), "colour changes nothing else")
	}
}

func lines(s string) (out []string) {
	for l := range strings.Lines(s) {
		out = append(out, strings.TrimRight(l, " \n"))
	}
	return out
}

func TestASCIIHasNothingElse(t *testing.T) {
	text := write(t, New(troubled()).Logical(), "text", Options{ASCII: true})
	assert.NotContains(t, text, "─")
	for _, r := range text {
		assert.Less(t, r, rune(0x80))
	}
}

func TestUnknownNames(t *testing.T) {
	_, err := New(Input{}).View("map")
	assert.ErrorContains(t, err, `"map"`)
	assert.ErrorContains(t, Write(nil, Manager{}, "pdf", Options{}), `"pdf"`)
}

func TestNothingAtAll(t *testing.T) {
	for _, view := range Names {
		v, err := New(Input{}).View(view)
		require.NoError(t, err)
		for _, format := range Formats {
			assert.NotEmpty(t, write(t, v, format, Options{}), "%s as %s", view, format)
		}
	}
}

// A column of remarks without any is not there.
func TestNoColumnForNoRemarks(t *testing.T) {
	assert.NotContains(t, write(t, New(worked()).Devices(), "svg", Options{}), "NOTES")
	assert.Contains(t, write(t, New(troubled()).Devices(), "svg", Options{}), "NOTES")
}

// Of a network's many guests the row names the first few, and none that failed is among those that it does not.
func TestFailuresAreNamedAmongMany(t *testing.T) {
	in := crowd(200)
	for i := range in.Guests {
		if in.Guests[i].ID == 198 {
			in.Guests[i].State = "failed"
		}
	}
	text := strings.Join(strings.Fields(write(t, New(in).Manager(), "text", Options{})), " ")
	assert.Contains(t, text, "desktop33 (198) eth0 failed, ")
	assert.Contains(t, text, "and 101 more")
}
