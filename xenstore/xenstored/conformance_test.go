package xenstored_test

import (
	"flag"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"vifplug/test/realstore"
	"vifplug/xenstore/xenstored"
	"vifplug/xenstore/xenstoretest"
)

var update = flag.Bool("update", false, "write what the real store does into testdata/conformance")

// TestConformance plays every script of testdata/conformance to Debian's C xenstored and to this store. What must come of it stands in the
// script; it was recorded from the C daemon.
func TestConformance(t *testing.T) {
	scripts, err := filepath.Glob("testdata/conformance/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, scripts)
	for _, path := range scripts {
		script, err := os.ReadFile(path)
		require.NoError(t, err)
		name := strings.TrimSuffix(filepath.Base(path), ".txt")
		t.Run(name+"/real", func(t *testing.T) {
			t.Parallel() // the C daemon slows guests down that write much
			got, err := xenstoretest.Play(realWorld{xenstoretest.StartRealStore(t)}, string(script))
			if *update {
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
				script = []byte(got)
				return
			}
			compare(t, string(script), got)
			require.NoError(t, err)
		})
		t.Run(name+"/embedded", func(t *testing.T) {
			t.Parallel()
			target, s := xenstoretest.StartServer(t)
			got, err := xenstoretest.Play(embeddedWorld{path: strings.TrimPrefix(target, "unix:"), s: s}, string(script))
			compare(t, string(script), got)
			require.NoError(t, err)
		})
	}
}

func compare(t *testing.T, want, got string) {
	t.Helper()
	if d := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); d != "" {
		t.Errorf("recorded (-), happened (+):\n%s", d)
	}
}

type realWorld struct{ *realstore.Store }

func (w realWorld) Dial() (net.Conn, error) { return net.Dial("unix", w.Socket) }

type embeddedWorld struct {
	path string
	s    *xenstored.Server
}

func (w embeddedWorld) Dial() (net.Conn, error)   { return net.Dial("unix", w.path) }
func (w embeddedWorld) Kill(domid uint16) error   { return w.s.Kill(domid) }
func (w embeddedWorld) Revive(domid uint16) error { return nil } // no hypervisor, no memory of the dead

func (w embeddedWorld) Guest(domid uint16) (net.Conn, error) {
	here, there := net.Pipe()
	w.s.ServeConn(there, domid)
	return here, nil
}
