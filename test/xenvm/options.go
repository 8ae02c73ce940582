package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// Exit statuses that are not the command's.
const (
	statusTimeout = 124
	statusNoDom0  = 125
	statusMissing = 126
)

const (
	defaultTimeout = 10 * time.Minute
	bootAllowance  = 90 * time.Second // what exec gives on top of the test's own limit
	bootLimit      = 2 * time.Minute  // a dom0 that has not come up by then never will: it takes 6 to 10 s, and four times that on a busy machine
	bootTries      = 3
)

// options are the flags of run and exec.
type options struct {
	timeout time.Duration // 0: not given
	memory  int           // MiB
	console string
	verbose bool
	command string // run -c
	kernel  string // more of dom0's kernel command line
}

// parseOptions reads the flags before the first operand; getenv gives the defaults.
func parseOptions(args []string, getenv func(string) string) (options, []string, error) {
	var o options
	f := flag.NewFlagSet("xenvm", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.DurationVar(&o.timeout, "timeout", 0, "")
	f.IntVar(&o.memory, "memory", 0, "")
	f.StringVar(&o.console, "console", getenv("XENVM_CONSOLE"), "")
	f.BoolVar(&o.verbose, "verbose", false, "")
	f.StringVar(&o.command, "c", "", "")
	f.StringVar(&o.kernel, "kernel-args", getenv("XENVM_KERNEL_ARGS"), "")
	for flagName, name := range map[string]string{"timeout": "XENVM_TIMEOUT", "memory": "XENVM_MEMORY"} {
		if v := getenv(name); v != "" {
			if err := f.Set(flagName, v); err != nil {
				return o, nil, fmt.Errorf("%s=%s: %w", name, v, err)
			}
		}
	}
	if err := f.Parse(args); err != nil {
		return o, nil, fmt.Errorf("%w (see xenvm help)", err)
	}
	return o, f.Args(), nil
}

// testTimeout is the limit that a Go test binary's arguments set itself; ok is false when they set none.
func testTimeout(args []string) (d time.Duration, ok bool) {
	for i, a := range args {
		name, value, has := strings.Cut(strings.TrimLeft(a, "-"), "=")
		if !strings.HasPrefix(a, "-") || name != "test.timeout" {
			continue
		}
		if !has && i+1 < len(args) {
			value = args[i+1]
		}
		if v, err := time.ParseDuration(value); err == nil {
			return v, true
		}
	}
	return 0, false
}

// limit is how long a run may take; 0 is for ever.
func limit(o options, args []string) time.Duration {
	if o.timeout > 0 {
		return o.timeout
	}
	if d, ok := testTimeout(args); ok {
		if d <= 0 {
			return 0
		}
		return d + bootAllowance
	}
	return defaultTimeout
}

// testArgs drops or refuses what a test binary cannot do in dom0: its files do not come back.
func testArgs(args []string) ([]string, error) {
	var out []string
	for _, a := range args {
		name, _, _ := strings.Cut(strings.TrimLeft(a, "-"), "=")
		switch name {
		case "test.testlogfile": // go test's cache looks at it; without it nothing is cached
			continue
		case "test.coverprofile", "test.gocoverdir", "test.cpuprofile", "test.memprofile", "test.blockprofile", "test.mutexprofile", "test.trace", "test.outputdir":
			return nil, fmt.Errorf("-%s: files that a test writes in dom0 do not come back. Run without it", name)
		}
		out = append(out, a)
	}
	return out, nil
}

// testEnv chooses the variables that a test in dom0 gets: those for it, and those that steer Go's runtime.
func testEnv(environ []string) []string {
	out := []string{"XENVM=1"}
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		switch {
		case strings.HasPrefix(name, "VIFPLUG_"), name == "GOTRACEBACK", name == "GODEBUG", name == "GOMAXPROCS", name == "GOGC", name == "GOMEMLIMIT":
			out = append(out, kv)
		}
	}
	return out
}

// list splits a value like $PATH.
func list(value string) []string {
	return strings.FieldsFunc(value, func(r rune) bool { return r == os.PathListSeparator })
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s" }
