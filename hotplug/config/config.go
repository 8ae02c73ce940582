// Package config reads vifplug's configuration: vifplug.toml in one directory, then conf.d/*.toml in name order, each replacing what the ones
// before it said. Everything has a default, so no file need exist.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"vifplug/hotplug"
)

// DefaultDir is where a host keeps the configuration.
const DefaultDir = "/etc/vifplug"

// MainFile is the name of the first file within the directory.
const MainFile = "vifplug.toml"

// Config is the whole configuration.
type Config struct {
	Policy  hotplug.Policy
	Readers string // group whose members may read the control socket; "": none
}

// document is a file's shape. Keys that a file does not name keep what they had.
type document struct {
	Hotplug struct {
		BridgeWait        wait     `toml:"bridge-wait"`
		NetdevWait        wait     `toml:"netdev-wait"`
		LegacyBridgeNames bool     `toml:"legacy-bridge-names"`
		LeaveScripts      []string `toml:"leave-scripts"`
	} `toml:"hotplug"`
	Control struct {
		Readers string `toml:"readers"`
	} `toml:"control"`
}

// keys are all that a file may say, and what each wants.
var keys = []struct{ name, want string }{
	{"hotplug", "a table"},
	{"hotplug.bridge-wait", `a duration such as "30s" or "0s"`},
	{"hotplug.netdev-wait", `a duration such as "30s" or "0s"`},
	{"hotplug.legacy-bridge-names", "true or false"},
	{"hotplug.leave-scripts", `a list of names such as ["vif-route"]`},
	{"control", "a table"},
	{"control.readers", `the name of a group such as "adm"`},
}

// wait is how long a NIC may stay pending, in Go's notation ("30s", "250ms"). It is a struct, since TOML's integers fit into Go's.
type wait struct{ time.Duration }

// MaxWait keeps a pending NIC within libxl's 40 s, less what plugging and answering take.
const MaxWait = 33 * time.Second

// UnmarshalText reads a duration from 0 to MaxWait. Its errors point into the file: for a value that is no string, go-toml would not say where.
func (w *wait) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	switch {
	case err != nil || v < 0:
		return unstable.NewParserError(b, "%q is no duration such as \"30s\" or \"0s\"", clip(string(b)))
	case v > MaxWait:
		return unstable.NewParserError(b, "%v is longer than %v. libxl gives up after 40 s: say less", v, MaxWait)
	}
	w.Duration = v
	return nil
}

// Load reads the configuration of a directory. The errors of all files are returned at once, with file, line and column: of each file all unknown
// keys, or the first wrong value. The Config has everything that is right and was read before an error, so it may be used all the same.
func Load(dir string) (Config, error) {
	doc := defaults()
	files, err := filesOf(dir)
	errs := []error{err}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			errs = append(errs, fmt.Errorf("config: %w", err))
			continue
		}
		errs = append(errs, decode(f, text, &doc))
	}
	return doc.config(), errors.Join(errs...)
}

func defaults() document {
	var d document
	p := hotplug.DefaultPolicy()
	d.Hotplug.BridgeWait, d.Hotplug.NetdevWait = wait{p.BridgeWait}, wait{p.NetdevWait}
	d.Hotplug.LegacyBridgeNames, d.Hotplug.LeaveScripts = p.LegacyBridgeNames, p.LeaveScripts
	return d
}

func (d document) config() Config {
	return Config{
		Policy: hotplug.Policy{
			BridgeWait: d.Hotplug.BridgeWait.Duration, NetdevWait: d.Hotplug.NetdevWait.Duration,
			LegacyBridgeNames: d.Hotplug.LegacyBridgeNames, LeaveScripts: d.Hotplug.LeaveScripts,
		},
		Readers: d.Control.Readers,
	}
}

// filesOf lists the files that exist, in the order in which they are read. Those that begin with a dot are editors' own.
func filesOf(dir string) ([]string, error) {
	var out []string
	main, more := filepath.Join(dir, MainFile), filepath.Join(dir, "conf.d")
	_, errMain := os.Stat(main)
	if errMain == nil {
		out = append(out, main)
	}
	entries, errMore := os.ReadDir(more) // in name order
	for _, e := range entries {
		if isConfig(e.Name()) {
			out = append(out, filepath.Join(more, e.Name()))
		}
	}
	var errs []error
	for _, err := range []error{errMain, errMore} {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("config: %w", err))
		}
	}
	return out, errors.Join(errs...)
}

func isConfig(name string) bool { return filepath.Ext(name) == ".toml" && name[0] != '.' }

// decode reads one file over what the files before it said.
func decode(name string, text []byte, into *document) error {
	had := into.Hotplug.LeaveScripts
	err := explain(name, text, toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(into))
	if slices.Contains(into.Hotplug.LeaveScripts, "") {
		into.Hotplug.LeaveScripts = had
		err = errors.Join(err, fmt.Errorf("%s: hotplug.leave-scripts: every script's name begins with \"\". Name scripts, or say [] to leave none alone", name))
	}
	return err
}

// explain puts go-toml's error into words for the file's writer. An unknown key comes with the nearest known one.
func explain(name string, text []byte, err error) error {
	var missing *toml.StrictMissingError
	var bad *toml.DecodeError
	lines := bytes.Split(text, []byte("\n"))
	switch {
	case errors.As(err, &missing):
		var errs []error
		for _, e := range missing.Errors {
			key := strings.Join(e.Key(), ".")
			errs = append(errs, at(name, lines, &e, fmt.Sprintf("unknown key %s. Did you mean %s?", clip(key), nearest(key))))
		}
		return errors.Join(errs...)
	case errors.As(err, &bad):
		return at(name, lines, bad, wrong(bad))
	case err != nil:
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// wrong says what is wrong with a value, in the file's words instead of Go's.
func wrong(e *toml.DecodeError) string {
	text, key := strings.TrimPrefix(e.Error(), "toml: "), strings.Join(e.Key(), ".")
	for _, k := range keys {
		switch {
		case k.name != key:
		case strings.HasPrefix(text, "cannot "): // "cannot decode TOML integer into struct field config.document..."
			return key + ": want " + k.want
		default:
			return key + ": " + text
		}
	}
	return text
}

// at is an error at a place of a file, with the line shown.
func at(name string, lines [][]byte, e *toml.DecodeError, what string) error {
	line, col := e.Position()
	shown := ""
	if line >= 1 && line <= len(lines) {
		shown = "\n    " + clip(string(bytes.TrimSuffix(lines[line-1], []byte("\r"))))
	}
	return fmt.Errorf("%s:%d:%d: %s%s", name, line, col, what, shown)
}

// clip makes text of a file fit to be shown: bounded, on one line, without what a terminal would obey.
func clip(s string) string {
	const most = 120
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

// nearest is the known key with the fewest letters to change.
func nearest(key string) string {
	const most = 100 // no known key is that long
	key = key[:min(len(key), most)]
	best, least := "", 1<<30
	for _, k := range keys {
		if d := distance(key, k.name); d < least {
			best, least = k.name, d
		}
	}
	return best
}

// distance is Levenshtein's: the letters to insert, delete or change.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
