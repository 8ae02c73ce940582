package xenstore

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/xenstore/wire"
)

// What is sent is on its way before anybody waits for it, and replies that nobody waits for are dropped.
func TestSendDoesNotWait(t *testing.T) {
	c, f := openFake(t, nil)
	first := c.Send(t.Context(), ReadOp("/a"), ReadOp("/b"))
	left := c.Send(t.Context(), ReadOp("/c"))
	a, b, dropped := f.expect(wire.Read, "/a\x00"), f.expect(wire.Read, "/b\x00"), f.expect(wire.Read, "/c\x00")
	f.reply(dropped, "nobody's")
	f.reply(b, "2")
	f.deny(a, ENOENT)
	res, err := first.Wait(t.Context())
	require.NoError(t, err)
	assert.ErrorIs(t, res[0].Err, ENOENT)
	assert.Equal(t, "2", res[1].Value)
	assert.NotNil(t, left)

	none, err := c.Send(t.Context()).Wait(t.Context())
	assert.NoError(t, err)
	assert.Empty(t, none)
	_, err = c.Send(t.Context(), ReadOp("no//path")).Wait(t.Context())
	assert.ErrorContains(t, err, "empty element")
	f.silent(c)
}

// A transaction can be asked for ahead of its use: it is there, or it is given up, whenever that is decided.
func TestStartBegin(t *testing.T) {
	c, f := openFake(t, nil)
	opening := c.StartBegin(t.Context())
	f.start(7)
	tx, err := opening.Tx(t.Context())
	require.NoError(t, err)
	reads := tx.Send(t.Context(), ReadOp("/a"))
	r := f.expect(wire.Read, "/a\x00")
	assert.EqualValues(t, 7, r.TxID)
	f.reply(r, "1")
	res, err := reads.Wait(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "1", res[0].Value)
	tx.Abort()
	f.end("F", 7)

	early := c.StartBegin(t.Context())
	early.Drop() // before the store has answered
	f.start(8)
	f.end("F", 8)

	late := c.StartBegin(t.Context())
	f.start(9)
	marker := c.Send(t.Context(), ReadOp("/marker"))
	f.reply(f.expect(wire.Read, "/marker\x00"), "")
	_, err = marker.Wait(t.Context())
	require.NoError(t, err, "so the transaction's reply is here too")
	late.Drop()
	f.end("F", 9)

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = c.StartBegin(ended).Tx(t.Context())
	assert.ErrorIs(t, err, context.Canceled, "nothing was sent")
}
