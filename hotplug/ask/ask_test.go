package ask

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve answers one connection after the other with the given texts; "" breaks the connection off without an answer.
func serve(t *testing.T, answers ...string) (socket string, requests <-chan string) {
	socket = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	got := make(chan string, len(answers))
	done := make(chan struct{})
	go runAnswers(l, answers, got, done)
	t.Cleanup(func() { _ = l.Close(); <-done })
	return socket, got
}

func runAnswers(l net.Listener, answers []string, got chan<- string, done chan<- struct{}) {
	defer close(done)
	for _, a := range answers {
		c, err := l.Accept()
		if err != nil {
			return
		}
		var request []byte
		b := make([]byte, 4096)
		for !strings.HasSuffix(string(request), "\n") {
			n, err := c.Read(b)
			if err != nil {
				break
			}
			request = append(request, b[:n]...)
		}
		got <- string(request)
		_, _ = io.WriteString(c, a)
		_ = c.Close()
	}
}

var online = Invocation{Command: "online", Type: "vif", XenbusPath: "backend/vif/5/0", VIF: "vif5.0"}

func TestAskDone(t *testing.T) {
	socket, requests := serve(t, Done())
	require.NoError(t, Ask(socket, online, time.Now().Add(time.Minute)))
	assert.Equal(t, "hotplug online vif backend/vif/5/0 vif5.0\n", <-requests)
}

func TestAskRefused(t *testing.T) {
	socket, _ := serve(t, Refusal(errors.New("the bridge xenbr7 does not exist.\nCreate it.")))
	err := Ask(socket, online, time.Now().Add(time.Minute))
	var r *Refused
	require.ErrorAs(t, err, &r)
	assert.Equal(t, "the bridge xenbr7 does not exist. Create it.", r.Text)
}

// A daemon that dies between accept and answer, or says that it is stopping, is asked again.
func TestAskAgain(t *testing.T) {
	socket, requests := serve(t, "", "don", "refused half a rea", Stopping(), "garbage\n", Done())
	require.NoError(t, Ask(socket, online, time.Now().Add(time.Minute)))
	assert.Len(t, requests, 6)
}

func TestAskNobody(t *testing.T) {
	require.ErrorIs(t, Ask(filepath.Join(t.TempDir(), "none"), online, time.Now().Add(time.Minute)), ErrNoDaemon)
	socket := filepath.Join(t.TempDir(), "stale")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false)
	require.NoError(t, l.Close())
	require.ErrorIs(t, Ask(socket, online, time.Now().Add(time.Minute)), ErrNoDaemon, "a socket that nobody serves any more")
}

func TestAskTimesOut(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket) // takes the connection, never answers
	require.NoError(t, err)
	defer l.Close()
	require.ErrorIs(t, Ask(socket, online, time.Now().Add(50*time.Millisecond)), ErrTimeout)
	require.ErrorIs(t, Ask(socket, online, time.Now().Add(-time.Second)), ErrTimeout)
}

func TestAskBoundsTheAnswer(t *testing.T) {
	socket, _ := serve(t, "refused "+strings.Repeat("x", 10*maxAnswer))
	var r *Refused
	require.ErrorAs(t, Ask(socket, online, time.Now().Add(time.Minute)), &r)
	assert.LessOrEqual(t, len(r.Text), 2*maxAnswer)
}

func env(kv ...string) func(string) string {
	return func(k string) string {
		for i := 0; i < len(kv); i += 2 {
			if kv[i] == k {
				return kv[i+1]
			}
		}
		return ""
	}
}

func TestParse(t *testing.T) {
	libxl := env("XENBUS_PATH", "backend/vif/5/0", "vif", "vif5.0", "script", "/etc/xen/scripts/vif-plug")
	inv, err := Parse([]string{"online", "type_if=vif"}, libxl)
	require.NoError(t, err)
	assert.Equal(t, Invocation{"online", "vif", "backend/vif/5/0", "vif5.0", "/etc/xen/scripts/vif-plug"}, inv)
	assert.False(t, inv.Nothing())

	inv, err = Parse([]string{"offline"}, libxl)
	require.NoError(t, err)
	assert.Equal(t, "vif", inv.Type, "type_if is vif where nothing says otherwise")

	for _, args := range [][]string{{"online", "type_if=tap"}, {"add", "type_if=vif"}, {"remove"}} {
		inv, err = Parse(args, libxl)
		require.NoError(t, err)
		assert.True(t, inv.Nothing(), args)
	}
}

// udev gives a tap's name alone.
func TestParseTap(t *testing.T) {
	for name, path := range map[string]string{
		"vif5.0-emu": "5/0", "vif12345.10-emu": "12345/10", "vif12345.100-em": "12345/100", "vif12345.1000-e": "12345/1000", "vif12345.12345-": "12345/12345", "tap5.1": "5/1",
	} {
		inv, err := Parse([]string{"add", "type_if=tap"}, env("INTERFACE", name))
		require.NoError(t, err, name)
		assert.Equal(t, "backend/vif/"+path, inv.XenbusPath, name)
		assert.False(t, inv.Nothing())
	}
	for _, name := range []string{"", "vif5.0", "web-emu", "tap0", "tap5.", "tap.5", "vif5.0-emu2", "vif5.x-emu", "vif5.0 -emu", "vif5/0-emu", "vif5.0\n-emu", "eth0"} {
		_, err := Parse([]string{"add", "type_if=tap"}, env("INTERFACE", name))
		require.ErrorContains(t, err, "INTERFACE", name)
	}
	inv, err := Parse([]string{"remove", "type_if=tap"}, env("INTERFACE", "vif9.9-emu", "XENBUS_PATH", "backend/vif/5/0", "vif", "vif5.0"))
	require.NoError(t, err)
	assert.Equal(t, Invocation{Command: "remove", Type: "tap", XenbusPath: "backend/vif/5/0", VIF: "vif5.0"}, inv, "libxl gives the path, which counts")
	inv, err = Parse([]string{"online"}, env("INTERFACE", "vif5.0-emu", "XENBUS_PATH", "backend/vif/5/0"))
	require.NoError(t, err)
	assert.Equal(t, "vif", inv.Type, "libxl sets INTERFACE in both runs")
}

func TestParseRefuses(t *testing.T) {
	good := env("XENBUS_PATH", "backend/vif/5/0", "vif", "vif5.0")
	for _, c := range []struct {
		args []string
		env  func(string) string
		want string
	}{
		{nil, good, "no command"},
		{[]string{"up"}, good, `"up" is unknown`},
		{[]string{"online", "offline"}, good, "one command too many"},
		{[]string{"online", "type_if=veth"}, good, `"veth" is unknown`},
		{[]string{"online"}, env(), "XENBUS_PATH"},
		{[]string{"add", "type_if=tap"}, env("XENBUS_PATH", "backend/vbd/5/0"), "XENBUS_PATH"},
		{[]string{"online"}, env("XENBUS_PATH", "backend/vbd/5/0"), "XENBUS_PATH"},
		{[]string{"online"}, env("XENBUS_PATH", "backend/vif/5/0\r\nX: y"), "XENBUS_PATH"},
		{[]string{"online"}, env("XENBUS_PATH", "backend/vif/5/0&x=y"), "XENBUS_PATH"},
		{[]string{"online"}, env("XENBUS_PATH", "backend/vif/"+strings.Repeat("1", 1000)), "XENBUS_PATH"},
		{[]string{"online"}, env("XENBUS_PATH", "backend/vif/5/0", "vif", "a b"), "no device name"},
	} {
		_, err := Parse(c.args, c.env)
		if assert.Error(t, err, c.args) {
			assert.Contains(t, err.Error(), c.want)
			assert.NotContains(t, err.Error(), "\n")
		}
	}
}

func TestParseLine(t *testing.T) {
	inv, err := ParseLine("hotplug offline vif backend/vif/5/0 \n")
	require.NoError(t, err)
	assert.Equal(t, Invocation{Command: "offline", Type: "vif", XenbusPath: "backend/vif/5/0"}, inv)
	for _, line := range []string{
		"", "\n", "hotplug\n", "hotplug online vif backend/vif/5/0\n", "hotplug online vif backend/vif/5/0 vif5.0 more\n",
		"hotplug online  vif backend/vif/5/0 vif5.0\n", "hotplug up vif backend/vif/5/0 vif5.0\n", "hotplug online vif  vif5.0\n",
		"hotplug online vif backend/vif/5/0 vif5.0\r\n", "GET / HTTP/1.1 x\n",
	} {
		_, err := ParseLine(line)
		if assert.Error(t, err, line) {
			assert.NotContains(t, err.Error(), "\n")
		}
	}
}

// FuzzParse: the hotplug environment. What is accepted goes to the daemon as it is.
func FuzzParse(f *testing.F) {
	f.Add("online", "type_if=vif", "backend/vif/5/0", "vif5.0")
	f.Add("add", "type_if=tap", "", "")
	f.Add("online", "ip=$(reboot)", "backend/vif/5/0\r\n", "vif5.0 HTTP/1.1")
	f.Fuzz(func(t *testing.T, a, b, path, vif string) {
		inv, err := Parse([]string{a, b}, env("XENBUS_PATH", path, "vif", vif))
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r\x00\x1b") || len(err.Error()) > 400 {
				t.Errorf("%q is no error to show", err)
			}
			return
		}
		if inv.Nothing() {
			return
		}
		if strings.ContainsAny(inv.Command+inv.Type+inv.XenbusPath+inv.VIF, " \r\n?&#%\x00") {
			t.Errorf("accepted %+v", inv)
		}
		line := inv.Line()
		again, err := ParseLine(line)
		if err != nil || again != inv || len(line) > MaxLine {
			t.Errorf("%+v went as %q and came as %+v, %v", inv, line, again, err)
		}
	})
}
