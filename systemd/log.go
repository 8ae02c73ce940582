package systemd

import (
	"io"
	"log/slog"
	"os"

	"github.com/coreos/go-systemd/v22/journal"
)

// LogOptions say how to log. The zero value is fine.
type LogOptions struct {
	Level      slog.Leveler      // least level that is logged; nil is info
	MessageIDs map[string]string // MESSAGE_ID by the value of the attribute "event"; nil is [MessageIDs]
	Identifier string            // SYSLOG_IDENTIFIER; empty is the program's name
	Socket     string            // the journal's socket; empty is systemd's
	Stderr     io.Writer         // where to write when the journal cannot be reached; nil is os.Stderr
}

func (o *LogOptions) level() slog.Leveler {
	if o.Level == nil {
		return slog.LevelInfo
	}
	return o.Level
}

func (o *LogOptions) stderr() io.Writer {
	if o.Stderr == nil {
		return os.Stderr
	}
	return o.Stderr
}

// UnderSystemd says whether stderr is a stream to the journal: $JOURNAL_STREAM is there and names the device and inode that stderr has. A
// daemon started by hand from a shell of a service, or one whose stderr was redirected, is not.
func UnderSystemd() bool {
	is, err := journal.StderrIsJournalStream()
	return err == nil && is
}

// NewLogHandler returns a handler that writes to the journal with fields where [UnderSystemd] holds, else text to stderr. The function
// returned closes it; what is logged afterwards goes to stderr. o may be nil.
func NewLogHandler(o *LogOptions) (slog.Handler, func() error) {
	if o == nil {
		o = &LogOptions{}
	}
	if UnderSystemd() {
		if h, err := NewJournalHandler(o); err == nil {
			return h, h.Close
		}
	}
	return newTextHandler(o), func() error { return nil }
}

// newTextHandler is slog's, which quotes what is not printable, with the cap that the journal's has.
func newTextHandler(o *LogOptions) slog.Handler {
	return slog.NewTextHandler(o.stderr(), &slog.HandlerOptions{
		Level: o.level(),
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			switch a.Value.Kind() {
			case slog.KindString:
				return slog.String(a.Key, limit(a.Value.String(), maxValue))
			case slog.KindAny:
				if _, ok := a.Value.Any().(*slog.Source); !ok {
					return slog.String(a.Key, limit(plain(a.Value), maxValue))
				}
			}
			return a
		},
	})
}
