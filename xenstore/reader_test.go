package xenstore

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vifplug/xenstore/wire"
)

// canned is a connection that says what it is told to, and takes what it is sent.
type canned struct {
	io.Reader
	io.Writer
	closed int
}

func (c *canned) Close() error { c.closed++; return nil }

// Whatever a store sends: the connection ends with an error, once, everybody who waits is told, and nothing comes out that was not in it.
func FuzzReader(f *testing.F) {
	f.Add(wire.AppendMessage(nil, wire.Header{Type: wire.Read, ReqID: 1}, []byte("value")))
	f.Fuzz(func(t *testing.T, stream []byte) {
		from := &canned{Reader: bytes.NewReader(stream), Writer: io.Discard}
		c := newConn(&transport{ReadWriteCloser: from, name: "canned", limit: wire.PayloadMax})
		read := newBatch([]Op{ReadOp("/a"), DirectoryOp("/a"), pathOp(wire.GetPerms, "/a"), {kind: wire.TransactionStart}, IntroducedOp(1)})
		gone := newBatch([]Op{{kind: wire.TransactionStart}, ReadOp("/b")})
		for _, b := range []*batch{read, gone} {
			_, err := c.offer(0, b)
			require.NoError(t, err)
		}
		c.abandon(gone)
		err := c.serve(func(path, token string) {
			require.Contains(t, string(stream), path+"\x00"+token+"\x00")
		})
		require.ErrorIs(t, err, ErrDisconnected)
		require.Equal(t, 1, from.closed)
		require.Empty(t, c.pending)
		<-read.done
		for _, r := range read.results {
			require.Contains(t, string(stream), r.Value)
			require.Contains(t, string(stream), strings.Join(r.List, "\x00"))
		}
		if read.err == nil {
			require.Zero(t, read.left)
		}
	})
}
