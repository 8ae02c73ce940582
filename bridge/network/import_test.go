package network_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge"
	"vifplug/bridge/network"
)

var updateImports = flag.Bool("update-imports", false, "rewrite what testdata/import expects")

// hostFile reads a host of testdata/import.
func hostFile(t testing.TB, path string) bridge.Host {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	h, err := readHost(string(text))
	require.NoError(t, err, path)
	return h
}

func hostFiles(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/import/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	return files
}

// imported is the declaration of a host, read back.
func imported(t testing.TB, h bridge.Host) network.Spec {
	t.Helper()
	text, _ := network.Import(h)
	s, err := network.Parse([]network.File{{Name: "imported.toml", Text: []byte(text)}})
	require.NoError(t, err, text)
	_, err = network.Check(s)
	require.NoError(t, err, text)
	s, err = network.Resolve(s, nil)
	require.NoError(t, err, text)
	return s
}

// nothingToDo holds a declaration to what the imported text promises: a plan on the host that it was made from is empty.
func nothingToDo(t testing.TB, s network.Spec, h bridge.Host) {
	t.Helper()
	text, _ := network.Import(h)
	plan, err := network.Make(network.Input{Want: s, Have: h})
	require.NoError(t, err, text)
	var steps []string
	for _, step := range plan.Steps {
		steps = append(steps, step.String()+": "+step.Reason)
	}
	assert.Empty(t, steps, text)
	assert.Empty(t, plan.Notes, text)
	assert.Empty(t, network.Compare(network.Input{Want: s, Have: h}), text)
}

func TestImport(t *testing.T) {
	for _, file := range hostFiles(t) {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			h := hostFile(t, file)
			text, notes := network.Import(h)
			got := text + "\n# notes:\n"
			for _, n := range notes {
				got += "# - " + n + "\n"
			}
			golden := strings.TrimSuffix(file, ".txt") + ".toml"
			if *updateImports {
				require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			assert.Equal(t, string(want), got)
			nothingToDo(t, imported(t, h), h)
		})
	}
}
