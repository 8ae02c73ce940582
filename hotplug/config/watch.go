package config

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// quiet is how long a burst of changes must be over before the files are read again: editors write, rename and touch.
const quiet = 200 * time.Millisecond

// Watcher calls back when the configuration of a directory may have changed.
type Watcher struct {
	fs   *fsnotify.Watcher
	done chan struct{}
}

// Watch calls changed after each burst of changes in dir and dir/conf.d. Directories are watched, not files, since editors replace files. A
// directory that does not exist yet is not watched: SIGHUP has the daemon read it.
func Watch(dir string, log *slog.Logger, changed func()) (*Watcher, error) {
	n, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("config: watch %s: %w", dir, err)
	}
	for _, d := range []string{dir, filepath.Join(dir, "conf.d")} {
		if err := n.Add(d); err != nil && !errors.Is(err, fs.ErrNotExist) {
			_ = n.Close()
			return nil, fmt.Errorf("config: watch %s: %w", d, err)
		}
	}
	w := &Watcher{fs: n, done: make(chan struct{})}
	go w.runWatch(log, changed)
	return w, nil
}

// Close ends the watching.
func (w *Watcher) Close() error {
	err := w.fs.Close()
	<-w.done
	return err
}

func (w *Watcher) runWatch(log *slog.Logger, changed func()) {
	defer close(w.done)
	var burst <-chan time.Time
	for {
		select {
		case ev, open := <-w.fs.Events:
			if !open {
				return
			}
			if filepath.Base(ev.Name) == "conf.d" && ev.Has(fsnotify.Create) {
				if err := w.fs.Add(ev.Name); err != nil {
					log.LogAttrs(context.Background(), slog.LevelWarn, "cannot watch", slog.String("path", ev.Name), slog.Any("err", err))
				}
			}
			if base := filepath.Base(ev.Name); base == "conf.d" || isConfig(base) {
				burst = time.After(quiet)
			}
		case err, open := <-w.fs.Errors:
			if !open {
				return
			}
			log.Warn("configuration events were lost; reading it again", "err", err)
			burst = time.After(quiet)
		case <-burst:
			burst = nil
			changed()
		}
	}
}
