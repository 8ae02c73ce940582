package xenstoretest

import (
	"fmt"
	"strconv"
	"strings"

	"vifplug/xenstore/wire"
)

func typeOf(name string) (wire.Type, error) {
	for t := range wire.SetQuota + 1 {
		if t.String() == name {
			return t, nil
		}
	}
	if n, err := strconv.ParseUint(strings.TrimPrefix(name, "type"), 10, 32); err == nil {
		return wire.Type(n), nil
	}
	return 0, fmt.Errorf("no operation is named %s", name)
}

// expand makes a payload of its text.
func expand(text string) []byte {
	for {
		i := strings.IndexByte(text, '{')
		if i < 0 {
			return []byte(strings.ReplaceAll(text, "|", "\x00"))
		}
		body, rest, _ := strings.Cut(text[i+1:], "}")
		what, times, _ := strings.Cut(body, "*")
		n, err := strconv.Atoi(times)
		if err != nil {
			n = 1
		}
		text = text[:i] + strings.Repeat(what, n) + rest
	}
}

// show makes a payload's text, with long runs and long lists cut.
func show(s string) string {
	const run, most = 16, 400
	var b strings.Builder
	for i := 0; i < len(s); {
		j := i
		for j < len(s) && s[j] == s[i] {
			j++
		}
		c := s[i : i+1]
		switch {
		case c == "\x00":
			c = "|"
		case c < " " || c > "~":
			c = fmt.Sprintf("\\x%02x", s[i])
		}
		if j-i >= run {
			fmt.Fprintf(&b, "{%s*%d}", c, j-i)
		} else {
			b.WriteString(strings.Repeat(c, j-i))
		}
		i = j
	}
	if t := b.String(); len(t) > most {
		return fmt.Sprintf("%s...%s (%d bytes)", t[:most/2], t[len(t)-most/4:], len(s))
	}
	return b.String()
}
