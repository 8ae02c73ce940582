// Package config reads vifplug's configuration: vifplug.toml in one directory, then conf.d/*.toml in name order, each replacing what the ones
// before it said. Everything has a default, so no file need exist.
package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"vifplug/bridge/network"
	"vifplug/hotplug"
	"vifplug/hotplug/paths"
)

// DefaultDir is where a host keeps the configuration.
const DefaultDir = "/etc/vifplug"

// MainFile is the name of the first file within the directory.
const MainFile = "vifplug.toml"

// Config is the whole configuration.
type Config struct {
	Policy  hotplug.Policy
	Readers string // group whose members may read the control socket; "": none
	// Networks are what [[bond]] and [[network]] declare, each network still without what [network.Resolve] gives. After an error they are only
	// what is right so far: nothing may be planned from them.
	Networks network.Spec
	Warnings []string // about what is accepted and yet hardly meant
	// Unusable is the part of Load's error that is neither about bonds and networks nor about a file that is no TOML.
	Unusable error
}

// document is a file's shape, but for bonds and networks, which [network.Parse] reads. Keys that a file does not name keep what they had.
type document struct {
	Hotplug struct {
		BridgeWait        wait     `toml:"bridge-wait"`
		NetdevWait        wait     `toml:"netdev-wait"`
		LegacyBridgeNames bool     `toml:"legacy-bridge-names"`
		LeaveScripts      []string `toml:"leave-scripts"`
		Path              path     `toml:"path"`
		Guard             guard    `toml:"guard"`
	} `toml:"hotplug"`
	Control struct {
		Readers string `toml:"readers"`
	} `toml:"control"`
}

const aTable = "a table"

// keys are all that a file may say beside bonds and networks, and what each wants.
var keys = []struct{ name, want string }{
	{"hotplug", aTable},
	{"hotplug.bridge-wait", `a duration such as "30s" or "0s"`},
	{"hotplug.netdev-wait", `a duration such as "30s" or "0s"`},
	{"hotplug.legacy-bridge-names", "true or false"},
	{"hotplug.leave-scripts", `a list of names such as ["vif-route"]`},
	{"hotplug.path", "one of " + strings.Join(network.Paths, ", ")},
	{"hotplug.guard", "one of " + strings.Join(network.Guards, ", ")},
	{"control", aTable},
	{"control.readers", `the name of a group such as "adm"`},
}

// wait is how long a NIC may stay pending, in Go's notation ("30s", "250ms"). It is a struct, since TOML's integers fit into Go's.
type wait struct{ time.Duration }

// path and guard are names of such. They are structs for the same reason as wait.
type (
	path  struct{ paths.Path }
	guard struct{ paths.Guard }
)

// UnmarshalText reads a path's name.
func (p *path) UnmarshalText(b []byte) (err error) {
	name, err := named(b, network.Paths)
	p.Path = paths.Path(name)
	return err
}

// UnmarshalText reads a guard's name.
func (g *guard) UnmarshalText(b []byte) (err error) {
	name, err := named(b, network.Guards)
	g.Guard = paths.Guard(name)
	return err
}

func named(b []byte, names []string) (string, error) {
	if s := string(b); slices.Contains(names, s) {
		return s, nil
	}
	return "", unstable.NewParserError(b, "%q is none of %s. Did you mean %q?", network.Clip(string(b)), strings.Join(names, ", "), network.Nearest(string(b), names))
}

// MaxWait keeps a pending NIC within libxl's 40 s, less what plugging and answering take.
const MaxWait = 33 * time.Second

// UnmarshalText reads a duration from 0 to MaxWait. Its errors point into the file: for a value that is no string, go-toml would not say where.
func (w *wait) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	switch {
	case err != nil || v < 0:
		return unstable.NewParserError(b, "%q is no duration such as \"30s\" or \"0s\"", network.Clip(string(b)))
	case v > MaxWait:
		return unstable.NewParserError(b, "%v is longer than %v. libxl gives up after 40 s: say less", v, MaxWait)
	}
	w.Duration = v
	return nil
}

// Load reads the configuration of a directory. The errors of all files are returned at once, with file, line and column: of bonds and networks all,
// else of each file all unknown keys, or the first wrong value. The Config has everything that is right and was read before an error, so it may
// be used all the same, but for its Networks.
func Load(dir string) (Config, error) {
	names, err := filesOf(dir)
	errs := []error{err}
	var files []network.File
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("config: %w", err))
			continue
		}
		files = append(files, network.File{Name: name, Text: text})
	}
	out, err := read(files)
	out.Unusable = errors.Join(append(slices.Clip(errs), out.Unusable)...)
	return out, errors.Join(append(errs, err)...)
}

// read reads the texts of files.
func read(files []network.File) (Config, error) {
	doc := defaults()
	var faults []*network.Error
	for _, f := range files {
		faults = append(faults, decode(f.Name, f.Text, &doc)...)
	}
	out := doc.config()
	var err error
	out.Networks, out.Warnings, err = declared(files)
	own := notAmong(network.Errors(err), faults)
	out.Unusable = joined(own)
	return out, joined(inOrder(files, append(own, network.Errors(err)...)))
}

// declared reads bonds and networks, and judges what could be read in full.
func declared(files []network.File) (network.Spec, []string, error) {
	spec, err := network.Parse(files, tables()...)
	if err != nil {
		return spec, nil, err
	}
	warnings, err := network.Check(spec)
	return spec, warnings, err
}

// tables are the top-level tables of which keys tells.
func tables() (out []string) {
	for _, k := range keys {
		if k.want == aTable {
			out = append(out, k.name)
		}
	}
	return out
}

// notAmong leaves out what both halves of the configuration have found: what is no TOML is told once.
func notAmong(theirs, faults []*network.Error) []*network.Error {
	return slices.DeleteFunc(faults, func(f *network.Error) bool {
		return slices.ContainsFunc(theirs, func(o *network.Error) bool { return o.At == f.At })
	})
}

// inOrder puts faults in the order of their places.
func inOrder(files []network.File, faults []*network.Error) []*network.Error {
	rank := map[string]int{}
	for i, f := range files {
		rank[f.Name] = i
	}
	slices.SortStableFunc(faults, func(a, b *network.Error) int {
		return cmp.Or(cmp.Compare(rank[a.At.File], rank[b.At.File]), cmp.Compare(a.At.Line, b.At.Line), cmp.Compare(a.At.Col, b.At.Col))
	})
	return faults
}

func joined(faults []*network.Error) error {
	errs := make([]error, len(faults))
	for i, f := range faults {
		errs[i] = f
	}
	return errors.Join(errs...)
}

func defaults() document {
	var d document
	p := hotplug.DefaultPolicy()
	d.Hotplug.BridgeWait, d.Hotplug.NetdevWait = wait{p.BridgeWait}, wait{p.NetdevWait}
	d.Hotplug.LegacyBridgeNames, d.Hotplug.LeaveScripts = p.LegacyBridgeNames, p.LeaveScripts
	d.Hotplug.Path, d.Hotplug.Guard = path{p.Path}, guard{p.Guard}
	return d
}

func (d document) config() Config {
	return Config{
		Policy: hotplug.Policy{
			BridgeWait: d.Hotplug.BridgeWait.Duration, NetdevWait: d.Hotplug.NetdevWait.Duration,
			LegacyBridgeNames: d.Hotplug.LegacyBridgeNames, LeaveScripts: d.Hotplug.LeaveScripts, Path: d.Hotplug.Path.Path, Guard: d.Hotplug.Guard.Guard,
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
func decode(name string, text []byte, into *document) []*network.Error {
	had := into.Hotplug.LeaveScripts
	faults := explain(name, text, toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(into))
	if slices.Contains(into.Hotplug.LeaveScripts, "") {
		into.Hotplug.LeaveScripts = had
		faults = append(faults, &network.Error{
			At:   network.Place{File: name, Line: 1, Col: 1},
			What: "hotplug.leave-scripts: every script's name begins with \"\". Name scripts, or say [] to leave none alone",
		})
	}
	return faults
}

// explain puts go-toml's error into words for the file's writer. An unknown key comes with the nearest known one. Keys of tables that are not
// this package's are left to [network.Parse].
func explain(name string, text []byte, err error) (out []*network.Error) {
	var missing *toml.StrictMissingError
	var bad *toml.DecodeError
	lines := bytes.Split(text, []byte("\n"))
	switch {
	case errors.As(err, &missing):
		for _, e := range missing.Errors {
			if key := strings.Join(e.Key(), "."); slices.Contains(tables(), e.Key()[0]) {
				out = append(out, at(name, lines, &e, fmt.Sprintf("unknown key %s. Did you mean %s?", network.Clip(key), nearest(key))))
			}
		}
	case errors.As(err, &bad):
		out = append(out, at(name, lines, bad, wrong(bad)))
	case err != nil:
		out = append(out, &network.Error{At: network.Place{File: name, Line: 1, Col: 1}, What: err.Error()})
	}
	return out
}

// nearest is the known key with the fewest letters to change.
func nearest(key string) string {
	var known []string
	for _, k := range keys {
		known = append(known, k.name)
	}
	return network.Nearest(key, known)
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

// at is an error at a place of a file.
func at(name string, lines [][]byte, e *toml.DecodeError, what string) *network.Error {
	line, col := e.Position()
	p := network.Place{File: name, Line: line, Col: col}
	if line >= 1 && line <= len(lines) {
		p.Text = string(bytes.TrimSuffix(lines[line-1], []byte("\r")))
	}
	return &network.Error{At: p, What: what}
}
