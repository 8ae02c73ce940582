package host

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// version is that of the state files' form. Another is refused: guessing at an undo list is worse than saying so.
const version = 1

// readFile reads a state file strictly into v. A file that is not there is no error: found is false.
func readFile(path string, v any) (found bool, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("host: read state: %w", err)
	}
	var head struct{ Version int }
	if err := json.Unmarshal(text, &head); err != nil {
		return false, fmt.Errorf("host: state file %s is damaged (%w): move it away, and apply the declaration again", path, err)
	}
	if head.Version != version {
		return false, fmt.Errorf("host: state file %s has version %d, this program knows %d: use the program that wrote it, or move it away", path, head.Version, version)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return false, fmt.Errorf("host: state file %s is damaged (%w): move it away, and apply the declaration again", path, err)
	}
	return true, nil
}

// writeFile replaces a state file by one rename, and returns when it is on disk: who reads sees the old or the new, after a power cut too.
func writeFile(path string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("host: write state: %w", err)
	}
	temp := path + ".new" // one writer at a time has the lock; what a dead one left is overwritten
	if err := writeSynced(temp, append(text, '\n')); err != nil {
		return fmt.Errorf("host: write state: %w", err)
	}
	if err := os.Rename(temp, path); err != nil {
		return fmt.Errorf("host: write state: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

func writeSynced(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// removeFile removes a state file for good. One that is not there is fine.
func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("host: remove state: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("host: write state: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("host: write state: %w", err)
	}
	return nil
}
