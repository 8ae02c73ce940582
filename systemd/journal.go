package systemd

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// JournalHandler is a [slog.Handler] that speaks the journal's native protocol (systemd: docs/JOURNAL_NATIVE_PROTOCOL.md). Each attribute is a
// field in upper case (DOMID=, VIF=, ERR_CODE=), those of groups with the group's name before it, and stands in MESSAGE= once more, for people.
// Values are capped; those with anything but printable characters are quoted, so that a guest's text can neither break out of its field nor
// reach a terminal. The value of the attribute "event" picks the record's MESSAGE_ID=.
type JournalHandler struct {
	out    *journalSocket
	level  slog.Leveler
	ids    map[string]string
	head   string // fields that every record has
	groups string // open groups, as they stand before a key: "NIC_"
	dotted string // the same in the line: "nic."
	with   record // attributes of WithAttrs
}

// record is what attributes add to a message.
type record struct {
	fields []byte // lines of the native protocol
	line   []byte // " key=value" of each
	id     string // MESSAGE_ID, when there was an event that has one
}

// NewJournalHandler connects to the journal. o may be nil. Most callers want [NewLogHandler], which asks first whether stderr is the journal's.
func NewJournalHandler(o *LogOptions) (*JournalHandler, error) {
	if o == nil {
		o = &LogOptions{}
	}
	h := &JournalHandler{level: o.level(), ids: o.MessageIDs}
	if h.ids == nil {
		h.ids = MessageIDs
	}
	name := o.Identifier
	if name == "" {
		name = filepath.Base(os.Args[0])
	}
	h.head = "SYSLOG_IDENTIFIER=" + clean(name, maxValue) + "\n"
	h.out = &journalSocket{path: o.Socket, stderr: o.stderr()}
	if o.Socket == "" {
		h.out.path = "/run/systemd/journal/socket"
	}
	if err := h.out.dial(); err != nil {
		return nil, fmt.Errorf("systemd: connect to the journal: %w", err)
	}
	return h, nil
}

// Close ends the connection, for all handlers made from this one. Later records go to stderr.
func (h *JournalHandler) Close() error { return h.out.close() }

// Enabled says whether a level is logged.
func (h *JournalHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

// WithGroup returns a handler whose later attributes belong to a group.
func (h *JournalHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	c := *h
	c.groups, c.dotted = h.groups+name+"_", h.dotted+name+"."
	return &c
}

// WithAttrs returns a handler that adds attributes to each record.
func (h *JournalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.with = record{fields: slices.Clone(h.with.fields), line: slices.Clone(h.with.line), id: h.with.id}
	for _, a := range attrs {
		c.with.add(h.ids, h.groups, h.dotted, a)
	}
	return &c
}

var buffers = sync.Pool{New: func() any { return new(record) }}

// Handle sends a record. A journal that cannot be reached is no error: the record goes to stderr as text.
func (h *JournalHandler) Handle(_ context.Context, r slog.Record) error {
	b := buffers.Get().(*record)
	defer buffers.Put(b)
	b.fields = append(b.fields[:0], h.with.fields...)
	b.line = append(append(b.line[:0], clean(r.Message, maxMessage)...), h.with.line...)
	b.id = h.with.id
	r.Attrs(func(a slog.Attr) bool {
		b.add(h.ids, h.groups, h.dotted, a)
		return true
	})
	line := limit(string(b.line), maxMessage)
	b.finish(h.head, line, r)
	return h.out.send(b.fields, priority(r.Level), line)
}

// finish adds the fields that have a meaning of their own.
func (b *record) finish(head, line string, r slog.Record) {
	b.fields = append(append(b.fields, head...), "PRIORITY="...)
	b.fields = append(b.fields, priority(r.Level), '\n')
	if b.id != "" {
		b.field("MESSAGE_ID", b.id)
	}
	if !r.Time.IsZero() {
		b.field("SYSLOG_TIMESTAMP", r.Time.Format(time.RFC3339Nano))
	}
	b.field("MESSAGE", line)
}

func (b *record) field(name, value string) {
	b.fields = append(append(append(append(b.fields, name...), '='), value...), '\n')
}

// add appends an attribute, or those of a group. Beyond the bound of a datagram, attributes are left out.
func (b *record) add(ids map[string]string, prefix, dotted string, a slog.Attr) {
	v := a.Value.Resolve()
	switch {
	case v.Kind() == slog.KindGroup:
		if a.Key != "" {
			prefix, dotted = prefix+a.Key+"_", dotted+a.Key+"."
		}
		for _, sub := range v.Group() {
			b.add(ids, prefix, dotted, sub)
		}
		return
	case a.Equal(slog.Attr{}) || len(b.fields) > maxFields:
		return
	}
	value := clean(plain(v), maxValue)
	b.field(fieldName(prefix, a.Key), value)
	b.line = append(append(append(append(b.line, ' '), word(clean(dotted+a.Key, maxKey))...), '='), word(value)...)
	if a.Key == "event" && prefix == "" {
		b.id = ids[value]
	}
}
