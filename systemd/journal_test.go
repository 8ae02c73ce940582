package systemd

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/slogtest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func journalAt(t *testing.T, o LogOptions) (*slog.Logger, func() string) {
	t.Helper()
	path, read := datagrams(t)
	o.Socket, o.Identifier = path, "vifplugd"
	h, err := NewJournalHandler(&o)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, h.Close()) })
	return slog.New(h), read
}

// untimed takes the one field away that differs from run to run.
func untimed(record string) string {
	var keep []string
	for line := range strings.Lines(record) {
		if !strings.HasPrefix(line, "SYSLOG_TIMESTAMP=") {
			keep = append(keep, line)
		}
	}
	return strings.Join(keep, "")
}

func TestJournalWire(t *testing.T) {
	log, read := journalAt(t, LogOptions{})
	log.With("op", "plug").Warn("nic.failed", "event", "nic.failed", "domid", uint16(5), "vif", "vif5.0", "network", "vmnet",
		"err_code", "bridge-missing", "err", errors.New("bridge vmnet does not exist"), "took", 3*time.Millisecond)
	assert.Equal(t, "OP=plug\nEVENT=nic.failed\nDOMID=5\nVIF=vif5.0\nNETWORK=vmnet\nERR_CODE=bridge-missing\n"+
		"ERR=bridge vmnet does not exist\nTOOK=3ms\nSYSLOG_IDENTIFIER=vifplugd\nPRIORITY=4\nMESSAGE_ID="+MessageIDs["nic.failed"]+"\n"+
		"MESSAGE=nic.failed op=plug event=nic.failed domid=5 vif=vif5.0 network=vmnet err_code=bridge-missing "+
		"err=\"bridge vmnet does not exist\" took=3ms\n", untimed(read()))
}

func TestJournalPriorities(t *testing.T) {
	log, read := journalAt(t, LogOptions{Level: slog.LevelDebug - 4})
	for level, want := range map[slog.Level]string{
		slog.LevelDebug - 4: "7", slog.LevelDebug: "7", slog.LevelInfo: "6", slog.LevelInfo + 2: "5", slog.LevelWarn: "4",
		slog.LevelWarn + 1: "4", slog.LevelError: "3", slog.LevelError + 4: "2",
	} {
		log.Log(t.Context(), level, "x")
		assert.Contains(t, read(), "\nPRIORITY="+want+"\n", level)
	}
}

func TestJournalLevel(t *testing.T) {
	var level slog.LevelVar
	log, read := journalAt(t, LogOptions{Level: &level})
	log.Debug("unheard")
	level.Set(slog.LevelDebug)
	log.Debug("heard")
	assert.Contains(t, read(), "MESSAGE=heard\n")
}

// A guest chooses its name. It cannot begin a field, end a record, or move the reader's cursor.
func TestJournalQuotesHostileText(t *testing.T) {
	log, read := journalAt(t, LogOptions{})
	for _, evil := range []string{"a\nPRIORITY=0\nMESSAGE=all is well", "\x1b[2J", "a\x00b", "\u202egnp.exe", "\xff\xfe", "a\r", "\u2028"} {
		log.Info("domain.created\n"+evil, "domain", evil, "err", errors.New(evil), evil, "v")
		got := read()
		assert.Contains(t, got, "DOMAIN="+strconv.Quote(evil)+"\n", "%q", evil)
		assert.Contains(t, got, "ERR="+strconv.Quote(evil)+"\n", "%q", evil)
		assert.Equal(t, 1, strings.Count(got, "\nPRIORITY="))
		assert.Equal(t, 1, strings.Count(got, "\nMESSAGE="))
		assert.Equal(t, 7, strings.Count(got, "\n"), got)
		for _, line := range strings.Split(strings.TrimSuffix(got, "\n"), "\n") {
			assert.Equal(t, line, clean(line, 1<<20), "%q", evil)
		}
	}
}

func TestJournalCapsText(t *testing.T) {
	log, read := journalAt(t, LogOptions{})
	log.Info(strings.Repeat("m", 1<<20), "domain", strings.Repeat("d", 1<<20))
	got := read()
	assert.Contains(t, got, "DOMAIN="+strings.Repeat("d", maxValue)+"…\n")
	assert.Contains(t, got, "\nMESSAGE="+strings.Repeat("m", maxMessage))

	var many []any
	for i := range 1000 {
		many = append(many, "key"+strconv.Itoa(i), strings.Repeat("\n", maxValue))
	}
	log.Info("many", many...)
	assert.Less(t, len(read()), 2*maxFields, "it fits one datagram")
}

func TestJournalMessageIDs(t *testing.T) {
	log, read := journalAt(t, LogOptions{})
	log.Info("x", "event", "nic.seen")
	assert.NotContains(t, read(), "MESSAGE_ID", "an event that nobody alerts on")
	log.WithGroup("g").Info("x", "event", "nic.lost")
	assert.NotContains(t, read(), "MESSAGE_ID", "the attribute of a group is another one")
	log.With("event", "nic.lost").Info("x")
	assert.Contains(t, read(), "\nMESSAGE_ID="+MessageIDs["nic.lost"]+"\n")
	log.Info("x", "message_id", "mine", "priority", 0)
	got := read()
	assert.Contains(t, got, "FIELD_MESSAGE_ID=mine\nFIELD_PRIORITY=0\n")

	seen := map[string]bool{}
	for event, id := range MessageIDs {
		assert.Regexp(t, "^[0-9a-f]{32}$", id, event)
		assert.False(t, seen[id], event)
		seen[id] = true
	}
}

func TestFieldName(t *testing.T) {
	for in, want := range map[string]string{
		"domid": "DOMID", "err_code": "ERR_CODE", "queue-len": "QUEUE_LEN", "_PID": "FIELD_PID", "9p": "FIELD_9p", "": "FIELD_",
		"Ünicode": "FIELD_NICODE", "message": "FIELD_MESSAGE", strings.Repeat("k", 100): strings.Repeat("K", 64),
	} {
		assert.Equal(t, strings.ToUpper(want), fieldName("", in), in)
	}
	assert.Equal(t, "NIC_MAC", fieldName("nic_", "mac"))
}

// TestJournalSlogtest holds the handler to the contract of log/slog: fields are read back into the map that slogtest wants.
func TestJournalSlogtest(t *testing.T) {
	path, read := datagrams(t)
	slogtest.Run(t, func(*testing.T) slog.Handler {
		h, err := NewJournalHandler(&LogOptions{Socket: path})
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, h.Close()) })
		return h
	}, func(t *testing.T) map[string]any {
		got := map[string]any{}
		for line := range strings.Lines(read()) {
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
			insert(got, name, value)
		}
		return got
	})
}

// insert undoes fieldName for the keys of slogtest, which are one letter, in groups that are one letter too.
func insert(m map[string]any, name, value string) {
	known := map[string]string{"SYSLOG_TIMESTAMP": slog.TimeKey, "PRIORITY": slog.LevelKey, "MESSAGE": slog.MessageKey, "SYSLOG_IDENTIFIER": "identifier"}
	if name == "MESSAGE" {
		value, _, _ = strings.Cut(value, " ") // what follows repeats the attributes
	}
	if key, ok := known[name]; ok {
		m[key] = value
		return
	}
	path := strings.Split(name, "_")
	for _, group := range path[:len(path)-1] {
		if m[group] == nil {
			m[group] = map[string]any{}
		}
		m = m[group].(map[string]any)
	}
	m[strings.ToLower(path[len(path)-1])] = value
}

func TestJournalFallsBackToStderr(t *testing.T) {
	var stderr bytes.Buffer
	dir := t.TempDir()
	_, err := NewJournalHandler(&LogOptions{Socket: dir + "/none"})
	require.ErrorContains(t, err, "systemd: connect to the journal: ")

	listen := func() *net.UnixConn {
		c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: dir + "/socket", Net: "unixgram"})
		require.NoError(t, err)
		return c
	}
	journald := listen()
	h, err := NewJournalHandler(&LogOptions{Socket: dir + "/socket", Stderr: &stderr})
	require.NoError(t, err)
	log := slog.New(h)

	require.NoError(t, journald.Close())
	require.NoError(t, os.Remove(dir+"/socket"))
	log.Error("alone", "vif", "vif5.0")
	assert.Equal(t, "<3>alone vif=vif5.0\n", stderr.String())

	journald = listen()
	defer journald.Close()
	log.Info("again")
	buf := make([]byte, 4096)
	n, err := journald.Read(buf)
	require.NoError(t, err)
	assert.Contains(t, string(buf[:n]), "MESSAGE=again\n", "a journal that is back is used again")

	require.NoError(t, h.Close())
	require.NoError(t, h.Close())
	log.Info("after")
	assert.True(t, strings.HasSuffix(stderr.String(), "\n<6>after\n"))
}

// A journal that takes nothing costs records, not the daemon; the next one that it takes tells how many.
func TestJournalDropsWhenFull(t *testing.T) {
	path, read := datagrams(t)
	var stderr bytes.Buffer
	h, err := NewJournalHandler(&LogOptions{Socket: path, Stderr: &stderr})
	require.NoError(t, err)
	defer h.Close()
	log := slog.New(h)
	sent := 0
	for h.out.dropped == 0 && sent < 1000 {
		log.Info(strings.Repeat("x", maxMessage))
		sent++
	}
	for range sent - 1 {
		assert.NotContains(t, read(), "LOG_DROPPED")
	}
	log.Info("x")
	assert.Contains(t, read(), "\nLOG_DROPPED=1\n")
	log.Info("x")
	assert.NotContains(t, read(), "LOG_DROPPED")
	assert.Empty(t, stderr.String())
}

func TestJournalDefaults(t *testing.T) {
	h, err := NewJournalHandler(nil)
	if err != nil {
		require.ErrorContains(t, err, "/run/systemd/journal/socket", "it is the path that systemd documents")
		return
	}
	assert.Contains(t, h.head, filepath.Base(os.Args[0]))
	require.NoError(t, h.Close())
}
