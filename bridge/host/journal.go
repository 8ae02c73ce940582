package host

import (
	"fmt"
	"os"
	"path/filepath"
)

// journal is the way of a change that is under way: what undoes it is on disk before its first step is done. A nil one notes nothing.
type journal struct {
	dir   string
	rec   record
	begun int      // steps that have begun
	marks *os.File // nil until the first mark
}

// beginJournal puts a record on disk. A mark of an earlier change goes first, and a mark names its change, so none counts for another.
func beginJournal(dir string, rec record) (*journal, error) {
	j := &journal{dir: dir, rec: rec}
	if err := j.mark(0); err != nil {
		return nil, err
	}
	return j, j.save()
}

// openJournal takes up the journal of a record that is on disk. Without a mark of its own, every step counts as begun: undoing what was never
// done does no harm.
func openJournal(dir string, rec record) *journal {
	j := &journal{dir: dir, rec: rec, begun: len(rec.Steps)}
	text, err := os.ReadFile(filepath.Join(dir, progressFile))
	var id string
	var n int
	if _, scan := fmt.Sscanf(string(text), markForm, &id, &n); err == nil && scan == nil && id == rec.ID && n < j.begun {
		j.begun = max(n, 0)
	}
	return j
}

func (j *journal) save() error { return writeFile(filepath.Join(j.dir, pendingFile), j.rec) }

// next notes that one more step begins.
func (j *journal) next() error {
	if j == nil {
		return nil
	}
	return j.mark(j.begun + 1)
}

// markForm is of one length whatever it says, so that a mark overwrites the last one whole.
const markForm = "%16s %08d\n"

// mark notes that n steps have begun. It survives the process, and needs to survive no more: see the package's comment.
func (j *journal) mark(n int) (err error) {
	if j.marks == nil {
		if j.marks, err = os.OpenFile(filepath.Join(j.dir, progressFile), os.O_WRONLY|os.O_CREATE, 0o600); err != nil {
			return fmt.Errorf("host: note the progress: %w", err)
		}
	}
	if _, err := j.marks.WriteAt(fmt.Appendf(nil, markForm, j.rec.ID, n), 0); err != nil {
		return fmt.Errorf("host: note the progress: %w", err)
	}
	j.begun = n
	return nil
}

// end forgets the change: it is final, or undone.
func (j *journal) end() error {
	j.close()
	return removeFile(filepath.Join(j.dir, pendingFile))
}

func (j *journal) close() {
	if j != nil && j.marks != nil {
		_ = j.marks.Close()
		j.marks = nil
	}
}
