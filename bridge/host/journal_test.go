package host

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge/network"
)

func someRecord(id string, n int) record {
	r := record{Version: version, ID: id, Phase: applying, Boot: "b"}
	for range n {
		r.Steps = append(r.Steps, undoable{Step: network.Step{Op: network.OpDelete, Device: "x"}})
	}
	return r
}

func TestJournalIsTakenUpWhereItWas(t *testing.T) {
	dir, id := t.TempDir(), newID()
	j, err := beginJournal(dir, someRecord(id, 3))
	require.NoError(t, err)
	taken := func() int {
		s, err := readState(dir)
		require.NoError(t, err)
		require.NotNil(t, s.pending)
		return openJournal(dir, *s.pending).begun
	}
	assert.Equal(t, 0, taken(), "nothing has begun")
	for want := 1; want <= 3; want++ {
		require.NoError(t, j.next())
		assert.Equal(t, want, taken())
	}
	require.NoError(t, j.end())
	s, err := readState(dir)
	require.NoError(t, err)
	assert.Nil(t, s.pending)
}

// Where the mark is not to be had or of another change, all steps count as begun: to undo too much does no harm, too little does.
func TestJournalWithoutItsMark(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"removed": os.Remove,
		"damaged": func(p string) error { return os.WriteFile(p, []byte("what"), 0o600) },
		"of another change": func(p string) error {
			return os.WriteFile(p, []byte("0123456789abcdef 00000001\n"), 0o600)
		},
		"beyond the end": func(p string) error {
			return os.WriteFile(p, []byte("fedcba9876543210 00000099\n"), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			j, err := beginJournal(dir, someRecord("fedcba9876543210", 3))
			require.NoError(t, err)
			require.NoError(t, j.next())
			j.close()
			require.NoError(t, spoil(filepath.Join(dir, progressFile)))
			assert.Equal(t, 3, openJournal(dir, j.rec).begun)
		})
	}
}

func TestJournalMarksAreOfOneLength(t *testing.T) {
	dir := t.TempDir()
	j, err := beginJournal(dir, someRecord(newID(), 0))
	require.NoError(t, err)
	defer j.close()
	for _, n := range []int{12345, 7} {
		require.NoError(t, j.mark(n))
		text, err := os.ReadFile(filepath.Join(dir, progressFile))
		require.NoError(t, err)
		assert.Len(t, text, 26)
	}
}

func TestNoJournalNotesNothing(t *testing.T) {
	var j *journal
	require.NoError(t, j.next())
	j.close()
}

// A declaration is final from the moment that applied.json says so, whatever else is left.
func TestPendingThatIsFinalIsNone(t *testing.T) {
	dir := t.TempDir()
	j, err := beginJournal(dir, someRecord("fedcba9876543210", 1))
	require.NoError(t, err)
	j.close()
	require.NoError(t, writeFile(filepath.Join(dir, appliedFile), applied{Version: version, ID: "fedcba9876543210"}))
	s, err := readState(dir)
	require.NoError(t, err)
	assert.Nil(t, s.pending)
	assert.NotNil(t, s.held())

	require.NoError(t, writeFile(filepath.Join(dir, appliedFile), applied{Version: version, ID: "0000000000000000"}))
	s, err = readState(dir)
	require.NoError(t, err)
	assert.NotNil(t, s.pending)
}

func TestStateFilesAreNamedWhenDamaged(t *testing.T) {
	for _, name := range []string{appliedFile, pendingFile} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("{"), 0o600))
		_, err := readState(dir)
		assert.ErrorContains(t, err, name)
	}
}
