package xenstoretest_test

import (
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/xenstore/xenstored"
	"vifplug/xenstore/xenstoretest"
)

type world struct {
	path string
	s    *xenstored.Server
}

func newWorld(t *testing.T) world {
	target, s := xenstoretest.StartServer(t)
	return world{strings.TrimPrefix(target, "unix:"), s}
}

func (w world) Dial() (net.Conn, error) { return net.Dial("unix", w.path) }
func (w world) Kill(id uint16) error    { return w.s.Kill(id) }
func (w world) Revive(uint16) error     { return nil }

func (w world) Guest(id uint16) (net.Conn, error) {
	here, there := net.Pipe()
	w.s.ServeConn(there, id)
	return here, nil
}

const transcript = `# what the player can do
b WATCH /a|t|
  b < OK|
  b * /a|t|
a t=TRANSACTION_START |
  a < the id of t|
a[t] WRITE /a/long|{v*20}
  a < OK|
a[t] TRANSACTION_END T|
  a < OK|
  b * /a/long|t|
1..3 a WRITE /a/$i|x
  a < OK| (3 times)
1..2 a READ /a/$i|
  a < x (2 times)
a READ /a/long|
  a < {v*20}
a DIRECTORY_PART /a|0|
  a < GENERATION|long|1|2|3||
a READ /none|
  a ! ENOENT
a INTRODUCE 5|1|1|
  a < OK|
dom5 READ /a|
  dom5 ! EACCES
kill 5
  dom5 EOF
close b
a oversize
  a EOF
a READ /a/1|
  a < x
`

func TestPlayWritesDownWhatHappens(t *testing.T) {
	var script strings.Builder
	for line := range strings.Lines(transcript) {
		if !strings.HasPrefix(line, "  ") {
			script.WriteString(line)
		}
	}
	for name, in := range map[string]string{"from a script": script.String(), "from its own transcript": transcript} {
		t.Run(name, func(t *testing.T) {
			got, err := xenstoretest.Play(newWorld(t), in)
			require.NoError(t, err)
			assert.Equal(t, transcript, got)
		})
	}
}

func TestPlayNamesTheLineThatIsNone(t *testing.T) {
	for line, want := range map[string]string{
		"word":               "want two words",
		"a SING /a|":         "no operation is named SING",
		"a[t] READ /|":       "transaction t was not started",
		"close nobody":       "there is no connection nobody",
		"kill x":             "invalid syntax",
		"kill 9":             "no such node",
		"1..x a READ /|":     "expected integer",
		"revive many":        "invalid syntax",
		"domX READ /|":       "invalid syntax",
		"a t=READ /tool|":    "invalid syntax",
		"1..2 a[u] READ /a|": "transaction u was not started",
	} {
		got, err := xenstoretest.Play(newWorld(t), line+"\n")
		assert.ErrorContains(t, err, want, line)
		assert.ErrorContains(t, err, "line \""+line+"\"")
		assert.True(t, strings.HasPrefix(got, line), "what happened so far")
	}
}
