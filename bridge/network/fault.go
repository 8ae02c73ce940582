package network

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// Error is what is wrong with a declaration, and where. What begins with whom it is about: a key ("network.mtu: ...") or a thing ("bond bond0: ...").
type Error struct {
	At   Place
	What string
}

// Error gives the place, the sentence, and below them the line.
func (e *Error) Error() string {
	if e.At.File == "" {
		return e.What
	}
	s := e.At.String() + ": " + e.What
	if line := Clip(e.At.Text); strings.TrimSpace(line) != "" {
		s += "\n    " + line
	}
	return s
}

// String gives "file:line:col"; "" for nowhere.
func (p Place) String() string {
	if p.File == "" {
		return ""
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
}

// Clip makes text of a file fit to be shown: bounded, on one line, without what a terminal would obey.
func Clip(s string) string {
	const most = 120
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

func faultf(at Place, format string, args ...any) *Error {
	return &Error{At: at, What: fmt.Sprintf(format, args...)}
}

// Errors are the [*Error]s that an error of [Parse] or [Check], or errors joined with it, consist of.
func Errors(err error) (out []*Error) {
	var one *Error
	switch joined, is := err.(interface{ Unwrap() []error }); {
	case is:
		for _, e := range joined.Unwrap() {
			out = append(out, Errors(e)...)
		}
	case errors.As(err, &one):
		out = append(out, one)
	}
	return out
}

// joined makes one error of all.
func joined(all []*Error) error {
	errs := make([]error, len(all))
	for i, e := range all {
		errs[i] = e
	}
	return errors.Join(errs...)
}

// byPlace orders the errors of one file.
func byPlace(a, b *Error) int { return cmp.Or(a.At.Line-b.At.Line, a.At.Col-b.At.Col) }
