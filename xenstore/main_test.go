package xenstore

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"vifplug/xenstore/wire"
	"vifplug/xenstore/xenstoretest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// eachStore runs a test against the embedded store and against Debian's.
func eachStore(t *testing.T, test func(t *testing.T, c *Client, target string)) {
	for name, start := range map[string]func(testing.TB) string{
		"embedded": xenstoretest.Start,
		"real":     func(t testing.TB) string { target, _ := xenstoretest.StartReal(t); return target },
	} {
		t.Run(name, func(t *testing.T) {
			target := start(t)
			test(t, connect(t, target, nil), target)
		})
	}
}

func connect(t testing.TB, target string, o *Options) *Client {
	t.Helper()
	c, err := Open(context.Background(), target, o)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, c.Close()) })
	return c
}

// fake is one connection of a store that does what its test says, for what a well-behaved store never does.
type fake struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

type request struct {
	wire.Header
	payload string
}

// fakes makes a client's connections. The first error of refuse, where there is one, is the answer to an attempt.
type fakes struct {
	t       *testing.T
	change  func(*transport)
	socket  net.Listener // nil: pipes without any buffer
	made    chan *fake
	refuse  chan error
	attempt chan time.Time
}

func newFakes(t *testing.T) *fakes {
	return &fakes{t: t, change: func(*transport) {}, made: make(chan *fake, 16), refuse: make(chan error, 64), attempt: make(chan time.Time, 64)}
}

// onSocket has the connections be those of a real socket, with its buffers.
func (w *fakes) onSocket() *fakes {
	l, err := net.Listen("unix", filepath.Join(w.t.TempDir(), "s"))
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = l.Close() })
	w.socket = l
	return w
}

func (w *fakes) dial(ctx context.Context) (*transport, error) {
	w.attempt <- time.Now()
	select {
	case err := <-w.refuse:
		return nil, err
	default:
	}
	near, far := net.Pipe()
	tr := &transport{ReadWriteCloser: near, name: "fake", limit: wire.PayloadMax}
	if w.socket != nil {
		var err error
		if tr, err = dialSocket(ctx, w.socket.Addr().String()); err != nil {
			return nil, err
		}
		if far, err = w.socket.Accept(); err != nil {
			return nil, err
		}
	}
	w.change(tr)
	w.made <- &fake{t: w.t, conn: far, in: bufio.NewReader(far)}
	return tr, nil
}

// open gives a client and the store's end of its first connection.
func (w *fakes) open(o *Options) (*Client, *fake) {
	w.t.Helper()
	c, err := open(context.Background(), w.dial, o)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { assert.NoError(w.t, c.Close()) })
	return c, w.next()
}

func (w *fakes) next() *fake {
	w.t.Helper()
	select {
	case f := <-w.made:
		w.t.Cleanup(func() { _ = f.conn.Close() })
		return f
	case <-time.After(patience):
		require.FailNow(w.t, "the client does not connect")
		return nil
	}
}

func openFake(t *testing.T, o *Options) (*Client, *fake) {
	t.Helper()
	return newFakes(t).open(o)
}

// next reads a request.
func (f *fake) next() request {
	f.t.Helper()
	r, err := f.read()
	require.NoError(f.t, err)
	return r
}

func (f *fake) read() (r request, err error) {
	_ = f.conn.SetReadDeadline(time.Now().Add(patience))
	var head [wire.HeaderSize]byte
	if _, err := io.ReadFull(f.in, head[:]); err != nil {
		return r, err
	}
	if r.Header, err = wire.ParseHeader(head[:]); err != nil {
		return r, err
	}
	payload := make([]byte, r.Len)
	_, err = io.ReadFull(f.in, payload)
	r.payload = string(payload)
	return r, err
}

// expect reads a request that must be this one.
func (f *fake) expect(kind wire.Type, payload string) request {
	f.t.Helper()
	r := f.next()
	require.Equal(f.t, kind, r.Type)
	require.Equal(f.t, payload, r.payload)
	return r
}

// silent checks that the client sends nothing more before it closes the connection.
func (f *fake) silent(c *Client) {
	f.t.Helper()
	go runClose(c)
	r, err := f.read()
	require.ErrorIs(f.t, err, io.EOF, "an unexpected %v %q", r.Type, r.payload)
}

func runClose(c *Client) { _ = c.Close() }

func (f *fake) send(h wire.Header, payload string) {
	f.t.Helper()
	_ = f.conn.SetWriteDeadline(time.Now().Add(patience))
	_, err := f.conn.Write(wire.AppendMessage(nil, h, []byte(payload)))
	require.NoError(f.t, err)
}

func (f *fake) reply(r request, payload string) {
	f.t.Helper()
	f.send(wire.Header{Type: r.Type, ReqID: r.ReqID, TxID: r.TxID}, payload)
}

func (f *fake) deny(r request, no wire.Errno) {
	f.t.Helper()
	f.send(wire.Header{Type: wire.Error, ReqID: r.ReqID, TxID: r.TxID}, string(no)+"\x00")
}

func (f *fake) event(path, token string) {
	f.t.Helper()
	f.send(wire.Header{Type: wire.WatchEvent}, path+"\x00"+token+"\x00")
}

// outcome is what a call returned.
type outcome[T any] struct {
	value T
	err   error
}

// beside makes a call while the test plays the store.
func beside[T any](call func() (T, error)) <-chan outcome[T] {
	done := make(chan outcome[T], 1)
	go runCall(call, done)
	return done
}

func runCall[T any](call func() (T, error), done chan<- outcome[T]) {
	v, err := call()
	done <- outcome[T]{v, err}
}

// nothing makes a call of one that returns an error alone.
func nothing(call func() error) func() (struct{}, error) {
	return func() (struct{}, error) { return struct{}{}, call() }
}

// receive waits for what must come.
func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		require.FailNow(t, "nothing comes")
		panic("unreachable")
	}
}

// take gives the events of a watch, once there are some.
func take(t *testing.T, w *Watch) []Event {
	t.Helper()
	for {
		receive(t, w.Ready())
		if events := w.Take(); len(events) > 0 {
			return events
		}
	}
}

// eventually asks until the answer is yes, for what nothing tells of.
func eventually(t *testing.T, what string, yes func() bool) {
	t.Helper()
	require.Eventually(t, yes, patience, time.Millisecond, what)
}

var errTest = errors.New("an error of the test's")
