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
	"sort"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

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
		BridgeWait        duration `toml:"bridge-wait"`
		NetdevWait        duration `toml:"netdev-wait"`
		LegacyBridgeNames bool     `toml:"legacy-bridge-names"`
		LeaveScripts      []string `toml:"leave-scripts"`
	} `toml:"hotplug"`
	Control struct {
		Readers string `toml:"readers"`
	} `toml:"control"`
}

// duration is a time in Go's notation ("30s", "250ms").
type duration time.Duration

// UnmarshalText reads a duration that is not negative.
func (d *duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil || v < 0 {
		return fmt.Errorf("%q is no duration such as \"30s\" or \"0s\"", b)
	}
	*d = duration(v)
	return nil
}

// MaxBridgeWait keeps a pending NIC within libxl's 40 s, less what plugging and answering take.
const MaxBridgeWait = 33 * time.Second

// Load reads the configuration of a directory. All errors of all files are returned at once, each with file, line and column.
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
	if w := time.Duration(doc.Hotplug.BridgeWait); w > MaxBridgeWait {
		errs = append(errs, fmt.Errorf("config: hotplug.bridge-wait: %v is longer than %v. libxl gives up after 40 s: say less", w, MaxBridgeWait))
	}
	return doc.config(), errors.Join(errs...)
}

func defaults() document {
	var d document
	p := hotplug.DefaultPolicy()
	d.Hotplug.BridgeWait, d.Hotplug.NetdevWait = duration(p.BridgeWait), duration(p.NetdevWait)
	d.Hotplug.LegacyBridgeNames, d.Hotplug.LeaveScripts = p.LegacyBridgeNames, p.LeaveScripts
	return d
}

func (d document) config() Config {
	return Config{
		Policy: hotplug.Policy{
			BridgeWait: time.Duration(d.Hotplug.BridgeWait), NetdevWait: time.Duration(d.Hotplug.NetdevWait),
			LegacyBridgeNames: d.Hotplug.LegacyBridgeNames, LeaveScripts: d.Hotplug.LeaveScripts,
		},
		Readers: d.Control.Readers,
	}
}

// filesOf lists the files that exist, in the order in which they are read.
func filesOf(dir string) ([]string, error) {
	var out []string
	main := filepath.Join(dir, MainFile)
	switch _, err := os.Stat(main); {
	case err == nil:
		out = append(out, main)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("config: %w", err)
	}
	more, err := filepath.Glob(filepath.Join(dir, "conf.d", "*.toml"))
	if err != nil {
		return nil, fmt.Errorf("config: %s: %w", dir, err)
	}
	sort.Strings(more)
	return append(out, more...), nil
}

// decode reads one file over what the files before it said. An unknown key is an error, with the nearest known one.
func decode(name string, text []byte, into *document) error {
	err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(into)
	var missing *toml.StrictMissingError
	var bad *toml.DecodeError
	switch {
	case errors.As(err, &missing):
		var errs []error
		for _, e := range missing.Errors {
			line, col := e.Position()
			key := strings.Join(e.Key(), ".")
			errs = append(errs, fmt.Errorf("%s:%d:%d: unknown key %s. Did you mean %s?", name, line, col, key, nearest(key)))
		}
		return errors.Join(errs...)
	case errors.As(err, &bad):
		line, col := bad.Position()
		return fmt.Errorf("%s:%d:%d: %s\n%s", name, line, col, strings.TrimPrefix(bad.Error(), "toml: "), bad.String())
	case err != nil:
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// keys are all that a file may say.
var keys = []string{"hotplug.bridge-wait", "hotplug.netdev-wait", "hotplug.legacy-bridge-names", "hotplug.leave-scripts", "control.readers"}

// nearest is the known key with the fewest letters to change.
func nearest(key string) string {
	best, least := "", 1<<30
	for _, k := range keys {
		if d := distance(key, k); d < least {
			best, least = k, d
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
