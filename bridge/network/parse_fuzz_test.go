package network

import (
	"os"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/pelletier/go-toml/v2"
)

// FuzzParse: no text makes Parse, Check, Resolve or Encode panic; errors can be shown, and their places are within the file; what go-toml refuses is
// refused; what is accepted is written and read again to the same.
func FuzzParse(f *testing.F) {
	worked, err := os.ReadFile("testdata/worked.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(worked)
	for _, s := range []string{
		managed, "[[network]\n[[network]]", "network = [{name = \"a\", roles = [\"storage\"], gateway = [[[{}]]]}]", "[[bond]]\nname = \"\"\"\nb\"\"\"\nports = [\"p\" \"q\"]\n[[network]]\n",
		"[[network]]\nname = \"a\"\nroles = [\"virtual-machine\"]\nageing = 1e3\nid = '4b'\naddress = [\"10.0.0.1/24\"]", "\xef\xbb\xbf[[bond]]\r\nname.x = 1979-05-27\r\n\"\" = inf",
		"[[bond]]\nmtu = 0xff\nmtu = 0o17\nmiimon = +1_0\nmac = \"00:16:3e:00:00:01\"", "control.readers = 1\ncontrol.readers = 2\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		before := slices.Clone(text)
		s, err := Parse([]File{{"f.toml", text}}, "control")
		if string(before) != string(text) {
			t.Fatal("Parse changed the text")
		}
		for _, e := range Errors(err) {
			checkPlace(t, e, string(text))
		}
		var all map[string]any
		if toml.Unmarshal(text, &all) != nil && err == nil {
			t.Errorf("accepted what go-toml refuses")
		}
		warnings, errCheck := Check(s)
		for _, e := range append(warnings, errText(err), errText(errCheck)) {
			if strings.ContainsFunc(e, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) {
				t.Errorf("%q is nothing to show", e)
			}
		}
		if err != nil {
			return
		}
		again, err := Parse([]File{{"g.toml", s.Encode()}})
		if err != nil || string(again.Encode()) != string(s.Encode()) {
			t.Errorf("%v:\n%s\nis not\n%s", err, again.Encode(), s.Encode())
		}
		if _, err := Resolve(s, nil); err != nil && errCheck == nil {
			t.Errorf("Check accepts what Resolve refuses: %v", err)
		}
	})
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// checkPlace says that an error's place is within its file, and that its line is that line.
func checkPlace(t *testing.T, e *Error, text string) {
	t.Helper()
	lines := strings.Split(text, "\n")
	if e.At.Line < 1 || e.At.Line > len(lines) {
		t.Fatalf("%v is not within the %d lines", e.At, len(lines))
	}
	line := lines[e.At.Line-1]
	if e.At.Text != strings.TrimSuffix(line, "\r") {
		t.Errorf("%v shows %q instead of %q", e.At, e.At.Text, line)
	}
	if e.At.Col < 1 || e.At.Col > len(line)+1 {
		t.Errorf("%v is not within the %d bytes of its line", e.At, len(line))
	}
	if e.What == "" {
		t.Errorf("%v says nothing", e.At)
	}
}
