package ask

import (
	"errors"
	"strings"
)

// The lines:
//
//	hotplug COMMAND TYPE XENBUS_PATH VIF        the last two may be empty
//	done | refused TEXT | stopping
const (
	// Word is what a question begins with, and no request of HTTP's does.
	Word = "hotplug "
	// MaxLine is a question's greatest length, in bytes.
	MaxLine = len(Word) + 4*(maxValue+1)

	done     = "done\n"
	refused  = "refused "
	stopping = "stopping\n"
)

// Line is the invocation as a question. What Parse has accepted needs no escaping.
func (i Invocation) Line() string {
	return Word + i.Command + " " + i.Type + " " + i.XenbusPath + " " + i.VIF + "\n"
}

// ParseLine reads a question, with or without its newline. It accepts what Parse does.
func ParseLine(line string) (Invocation, error) {
	words := strings.Split(strings.TrimSuffix(line, "\n"), " ")
	if len(words) != 5 || words[0]+" " != Word {
		return Invocation{}, errors.New("vif-plug: question " + quote(line) + ": want hotplug COMMAND TYPE XENBUS_PATH VIF")
	}
	inv := Invocation{Command: words[1], Type: words[2], XenbusPath: words[3], VIF: words[4]}
	return inv, inv.check()
}

// Done is the answer that the NIC is as asked.
func Done() string { return done }

// Refusal is the answer that it is not, and why.
func Refusal(why error) string { return refused + strings.ReplaceAll(why.Error(), "\n", " ") + "\n" }

// Stopping is the answer of a daemon on its way out: its successor is to be asked.
func Stopping() string { return stopping }

// judge reads an answer. One that is cut short comes from a daemon that died over it.
func judge(answer string) error {
	text, isRefusal := strings.CutPrefix(answer, refused)
	switch {
	case answer == done:
		return nil
	case isRefusal && (strings.HasSuffix(answer, "\n") || len(answer) >= maxAnswer):
		return &Refused{Text: strings.TrimSpace(text)}
	}
	return errBroken
}
