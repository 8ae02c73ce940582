package systemd

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Bounds of what is logged, in bytes. A record of them fits one datagram.
const (
	maxValue   = 1024    // of one value; text from guests passes through here
	maxMessage = 8 << 10 // of the whole line that journalctl shows
	maxFields  = 64 << 10
	maxKey     = 64 // of a field's name; the journal takes no longer one
)

// limit cuts a text that is too long, between two characters, and says so by an ellipsis.
func limit(s string, most int) string {
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > most-utf8.UTFMax && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// clean makes a text safe to show and to send: capped, and quoted as Go does where a character is not printable (line breaks, escapes of
// terminals, direction overrides) or no UTF-8.
func clean(s string, most int) string {
	s = limit(s, most)
	for i, r := range s {
		if !unicode.IsPrint(r) || r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD") {
			return strconv.Quote(s)
		}
	}
	return s
}

// word is a clean value as it stands in the line: quoted too where its end would not be seen.
func word(clean string) string {
	if clean == "" || strings.ContainsAny(clean, " =\"") && clean[0] != '"' {
		return strconv.Quote(clean)
	}
	return clean
}

// plain renders a resolved value.
func plain(v slog.Value) string {
	switch v.Kind() {
	case slog.KindTime:
		return v.Time().Format(time.RFC3339Nano)
	case slog.KindAny:
		if err, ok := v.Any().(error); ok {
			return err.Error()
		}
		return fmt.Sprint(v.Any())
	}
	return v.String()
}

// fieldName makes the journal's name of a key: upper case, digits and underscores, no underscore or digit in front, none of the names that
// the handler itself gives a meaning.
func fieldName(prefix, key string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, prefix+key)
	switch name {
	case "MESSAGE", "MESSAGE_ID", "PRIORITY", "SYSLOG_IDENTIFIER", "SYSLOG_TIMESTAMP":
		name = "FIELD_" + name
	}
	if name == "" || name[0] == '_' || name[0] >= '0' && name[0] <= '9' {
		name = "FIELD_" + strings.TrimLeft(name, "_")
	}
	return name[:min(len(name), maxKey)]
}

// priority is the journal's, as syslog counts: 7 debug, 6 info, 5 notice, 4 warning, 3 error, 2 critical.
func priority(l slog.Level) byte {
	switch {
	case l < slog.LevelInfo:
		return '7'
	case l == slog.LevelInfo:
		return '6'
	case l < slog.LevelWarn:
		return '5'
	case l < slog.LevelError:
		return '4'
	case l < slog.LevelError+4:
		return '3'
	}
	return '2'
}
