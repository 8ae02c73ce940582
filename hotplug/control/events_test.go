package control

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/hotplug"
)

// publish sends n events whose details are their numbers.
func (s *service) publish(n int) {
	for range n {
		s.engine.Events().Publish(hotplug.Event{Kind: hotplug.NICPlugged, VIF: "vif1.0", Detail: "x"})
	}
}

// collect takes the events of a client until it has n.
func (s *service) collect(since uint64, follow bool, n int) (seqs []uint64) {
	s.Helper()
	require.NoError(s, s.client().Events(s.Context(), since, follow, func(e hotplug.Event) bool {
		seqs = append(seqs, e.Seq)
		return len(seqs) < n
	}))
	return seqs
}

func TestEventsKept(t *testing.T) {
	s := serve(t)
	assert.Empty(t, s.collect(0, false, 1), "none yet, and the answer ends")
	s.publish(5)
	assert.Equal(t, []uint64{1, 2, 3, 4, 5}, s.collect(0, false, 100))
	assert.Equal(t, []uint64{4, 5}, s.collect(3, false, 100))
	assert.Empty(t, s.collect(5, false, 100))

	got := s.ask("GET", "/v1/events?since=4")
	assert.Equal(t, "application/x-ndjson", got.kind)
	assert.Equal(t, 1, strings.Count(got.body, "\n"), "an event is a line")
	e := decodeInto[hotplug.Event](t, got.body)
	assert.Equal(t, uint64(5), e.Seq)
	assert.Equal(t, hotplug.NICPlugged, e.Kind)
}

func TestEventsFollow(t *testing.T) {
	s := serve(t)
	s.publish(2)
	got := make(chan uint64)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go runFollow(ctx, s.client(), 1, got, done)
	assert.Equal(t, uint64(2), <-got, "kept ones first")
	for i := uint64(3); i < 20; i++ {
		s.publish(1)
		assert.Equal(t, i, <-got, "then each as it comes")
	}
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	s.serving(0)
}

func runFollow(ctx context.Context, c *Client, since uint64, got chan<- uint64, done chan<- error) {
	done <- c.Events(ctx, since, true, func(e hotplug.Event) bool { got <- e.Seq; return true })
}

// A follower hears that it is served before anything happens.
func TestEventsFollowAnswersAtOnce(t *testing.T) {
	s := serve(t)
	dial := &net.Dialer{}
	conn, err := dial.DialContext(t.Context(), "unix", s.socket)
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil) // its body ends with the connection
	require.NoError(t, err)
	assert.Equal(t, 200, resp.StatusCode)
}

func TestEventsBadSince(t *testing.T) {
	s := serve(t)
	for _, since := range []string{"x", "-1", "1.5", "18446744073709551616"} {
		got := s.ask("GET", "/v1/events?since="+since)
		assert.Equal(t, 400, got.code, since)
		assert.Contains(t, decodeInto[Error](t, got.body).Error, "is no event number")
	}
	assert.Equal(t, 400, s.ask("GET", "/v1/events?follow=yes").code, "not taken for no")
	assert.Equal(t, 200, s.ask("GET", "/v1/events?follow=0").code)
}

// A reader that does not read costs nobody anything: the engine goes on, and the reader is told how many events it has missed. Nothing else is
// missing, doubled or out of order.
func TestEventsSlowReader(t *testing.T) {
	s := serve(t)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "unix", s.socket)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.(*net.UnixConn).SetReadBuffer(1))
	_, err = io.WriteString(conn, "GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil) // its body ends with the connection
	require.NoError(t, err)

	const sent = 20_000 // more than the socket's and the subscription's buffers hold
	s.publish(sent)
	dec, next, lost := json.NewDecoder(resp.Body), uint64(1), uint64(0)
	for next <= sent {
		var e hotplug.Event
		require.NoError(t, dec.Decode(&e))
		if e.Kind == hotplug.Overrun {
			require.NotZero(t, e.Lost)
			lost += e.Lost
			next += e.Lost
			assert.Equal(t, next-1, e.Seq, "the number of the last that is missing")
			continue
		}
		require.Equal(t, next, e.Seq)
		next++
	}
	assert.NotZero(t, lost)
	s.publish(1)
	var e hotplug.Event
	require.NoError(t, dec.Decode(&e))
	assert.Equal(t, uint64(sent+1), e.Seq, "afterwards all is as before")
}

// A stream that breaks off is an error, not an end.
func TestEventsBrokenStream(t *testing.T) {
	l, err := net.Listen("unix", "@vifplug-control-broken-"+fmt.Sprint(sockets.Add(1)))
	require.NoError(t, err)
	defer l.Close()
	go runBroken(l)
	err = NewClient(l.Addr().String()).Events(t.Context(), 0, true, func(hotplug.Event) bool { return true })
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.ErrorContains(t, err, "it died while it told events")
}

func runBroken(l net.Listener) {
	c, err := l.Accept()
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = http.ReadRequest(bufio.NewReader(c))
	_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"seq\r\n")
}
