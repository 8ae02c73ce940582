package xenstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"vifplug/xenstore/wire"
)

// Options are how a Client behaves. The zero value connects again for ever and logs nothing.
type Options struct {
	Logger *slog.Logger
	// NoReconnect ends the client with its connection: for tools that do one thing.
	NoReconnect bool
	// OnState is called when the connection is lost (false and why) and when it is back (true). It must not call the client.
	OnState func(connected bool, why error)
}

// Client is a connection to a store that outlives the store's restarts. Its methods may be called from any goroutine.
type Client struct {
	target string
	opt    Options
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{} // closed when the run goroutine has ended

	mu      sync.Mutex // guards all following fields
	conn    *conn      // the present connection; its err says whether it is down
	watches map[string]*registration
	counter uint64 // of tokens
}

// Backoff between attempts to connect again.
const (
	firstRetry = 50 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// Open connects to a store: "auto" (the socket, else the device), "unix:PATH", "dev" or "dev:PATH". It fails when that first connection
// does. o may be nil.
func Open(ctx context.Context, target string, o *Options) (*Client, error) {
	c := &Client{target: target, done: make(chan struct{}), watches: map[string]*registration{}}
	if o != nil {
		c.opt = *o
	}
	if c.log = c.opt.Logger; c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	t, err := dial(ctx, target)
	if err != nil {
		return nil, err
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.conn = newConn(t)
	go c.runClient()
	return c, nil
}

// Close ends the client. Requests under way fail; watches go with the connection.
func (c *Client) Close() error {
	c.cancel()
	c.current().fail(ErrClosed)
	<-c.done
	return nil
}

// Transport names what serves the store: "unix:PATH" or "dev:PATH".
func (c *Client) Transport() string { return c.current().name }

func (c *Client) current() *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn
}

// runClient reads one connection after the other.
func (c *Client) runClient() {
	defer close(c.done)
	for {
		conn := c.current()
		err := conn.runReader(c.event)
		conn.fail(err)
		if c.ctx.Err() != nil || c.opt.NoReconnect {
			return
		}
		c.log.Warn("xenstore connection lost", "transport", conn.name, "err", err)
		if c.opt.OnState != nil {
			c.opt.OnState(false, err)
		}
		if !c.reconnect() {
			return
		}
	}
}

// reconnect tries until it has a connection; false: the client was closed meanwhile. The watches are renewed by a goroutine of their own, since
// their replies need the reader.
func (c *Client) reconnect() bool {
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		t := time.NewTimer(wait/2 + rand.N(wait/2))
		select {
		case <-c.ctx.Done():
			t.Stop()
			return false
		case <-t.C:
		}
		tr, err := dial(c.ctx, c.target)
		if err != nil {
			c.log.Debug("xenstore is still away", "err", err)
			continue
		}
		conn := newConn(tr)
		c.mu.Lock()
		c.conn = conn
		c.mu.Unlock()
		if c.ctx.Err() != nil { // Close may have failed the old connection only
			conn.fail(ErrClosed)
			return false
		}
		go c.runRenew(conn)
		return true
	}
}

// runRenew registers every watch anew with a fresh token, so that an event of the old connection cannot be taken for one of the new. It ends
// with its connection at the latest.
func (c *Client) runRenew(conn *conn) {
	c.mu.Lock()
	var regs []*registration
	for token, r := range c.watches {
		delete(c.watches, token)
		r.token = c.newToken()
		c.watches[r.token] = r
		regs = append(regs, r)
	}
	c.mu.Unlock()
	for _, r := range regs {
		res, err := conn.pipeline(c.ctx, 0, []Op{c.watchOp(r)})
		if err == nil {
			err = res[0].Err
		}
		if errors.Is(err, ErrDisconnected) || c.ctx.Err() != nil {
			return // the next connection does it
		}
		if err != nil {
			c.log.Error("cannot renew a watch", "path", r.path, "err", err)
		}
		r.queue.resync(r.path)
	}
	if c.opt.OnState != nil {
		c.opt.OnState(true, nil)
	}
}

// Pipeline sends requests in one write and waits for all replies: N requests cost one round trip. The error is about the connection or the
// context, or says which request cannot be sent; each reply's own error is in its Result.
func (c *Client) Pipeline(ctx context.Context, ops ...Op) ([]Result, error) {
	return c.current().pipeline(ctx, 0, ops)
}

// one sends one request and turns every failure into an error.
func (c *Client) one(ctx context.Context, tx uint32, o Op) (Result, error) {
	return c.current().one(ctx, tx, o)
}

func (c *conn) one(ctx context.Context, tx uint32, o Op) (Result, error) {
	res, err := c.pipeline(ctx, tx, []Op{o})
	if err != nil {
		return Result{}, err
	}
	return res[0], res[0].Err
}

// Read reads a node's value, which may be any bytes.
func (c *Client) Read(ctx context.Context, path string) (string, error) {
	r, err := c.one(ctx, 0, ReadOp(path))
	return r.Value, err
}

// Write writes a node's value. Missing parents are created and inherit the permissions above them.
func (c *Client) Write(ctx context.Context, path, value string) error {
	_, err := c.one(ctx, 0, WriteOp(path, value))
	return err
}

// Mkdir makes a node where there is none.
func (c *Client) Mkdir(ctx context.Context, path string) error {
	_, err := c.one(ctx, 0, MkdirOp(path))
	return err
}

// Remove removes a node and everything below it. A missing node is no error where its parent exists.
func (c *Client) Remove(ctx context.Context, path string) error {
	_, err := c.one(ctx, 0, RemoveOp(path))
	return err
}

// Directory lists a node's children, in parts where they do not fit one message.
func (c *Client) Directory(ctx context.Context, path string) ([]string, error) {
	return c.current().directory(ctx, 0, path)
}

func (c *conn) directory(ctx context.Context, tx uint32, path string) ([]string, error) {
	r, err := c.one(ctx, tx, DirectoryOp(path))
	if !errors.Is(err, wire.E2BIG) {
		return r.List, err
	}
	const attempts = 10 // a directory that changes all the time gives up in the end
	for range attempts {
		list, changed, err := c.directoryParts(ctx, tx, path)
		if err != nil || !changed {
			return list, err
		}
	}
	return nil, &Error{Op: wire.DirectoryPart.String(), Path: path, Err: wire.EAGAIN}
}

// directoryParts reads a long directory piece by piece. Each piece begins with the node's generation: another one means that it changed.
func (c *conn) directoryParts(ctx context.Context, tx uint32, path string) (list []string, changed bool, err error) {
	var all []byte
	generation := ""
	for len(all) < maxReply {
		o := pathOp(wire.DirectoryPart, path, strconv.Itoa(len(all)), "\x00")
		r, err := c.one(ctx, tx, o)
		if err != nil {
			return nil, false, err
		}
		gen, part, ok := strings.Cut(r.Value, "\x00")
		if !ok || part == "" {
			return nil, false, o.fail(wire.ErrShort)
		}
		if generation == "" {
			generation = gen
		} else if gen != generation {
			return nil, true, nil
		}
		all = append(all, part...)
		if part == "\x00" || bytes.HasSuffix(all, []byte{0, 0}) {
			list, err := wire.SplitStrings(all[:len(all)-1])
			return list, false, err
		}
	}
	return nil, false, &Error{Op: wire.DirectoryPart.String(), Path: path, Err: wire.E2BIG}
}

// Perms reads a node's permissions. The first entry names the owner.
func (c *Client) Perms(ctx context.Context, path string) ([]wire.Perm, error) {
	return c.current().perms(ctx, 0, path)
}

func (c *conn) perms(ctx context.Context, tx uint32, path string) ([]wire.Perm, error) {
	o := pathOp(wire.GetPerms, path)
	r, err := c.one(ctx, tx, o)
	if err != nil {
		return nil, err
	}
	out := make([]wire.Perm, 0, len(r.List))
	for _, s := range r.List {
		p, err := wire.ParsePerm(s)
		if err != nil {
			return nil, o.fail(err)
		}
		out = append(out, p)
	}
	return out, nil
}

// SetPerms replaces a node's permissions. The first entry names the owner.
func (c *Client) SetPerms(ctx context.Context, path string, perms []wire.Perm) error {
	_, err := c.one(ctx, 0, permsOp(path, perms))
	return err
}

// DomainPath is a domain's home directory, whether it exists or not.
func (c *Client) DomainPath(ctx context.Context, id DomID) (string, error) {
	r, err := c.one(ctx, 0, domOp(wire.GetDomainPath, id))
	return r.Value, err
}

// Introduced says whether a domain is introduced. It needs a privileged connection.
func (c *Client) Introduced(ctx context.Context, id DomID) (bool, error) {
	r, err := c.one(ctx, 0, IntroducedOp(id))
	return r.Value == "T", err
}

// Introduce tells the store of a domain: the frame of its ring and its event channel. It needs a privileged connection.
func (c *Client) Introduce(ctx context.Context, id DomID, gfn uint64, port uint32) error {
	_, err := c.one(ctx, 0, domOp(wire.Introduce, id, strconv.FormatUint(gfn, 10), strconv.FormatUint(uint64(port), 10)))
	return err
}

// Release tells the store that a domain is no more. It needs a privileged connection.
func (c *Client) Release(ctx context.Context, id DomID) error {
	_, err := c.one(ctx, 0, domOp(wire.Release, id))
	return err
}

// Resume has the store look for a domain's shutdown again. It needs a privileged connection.
func (c *Client) Resume(ctx context.Context, id DomID) error {
	_, err := c.one(ctx, 0, domOp(wire.Resume, id))
	return err
}

// Features asks which optional features the store has (bit 0 reconnection, 1 error, 2 ..., 4 watch depth; xen: xs_wire.h, since 4.21). A
// store that does not know the question answers ENOSYS or EINVAL: it has none.
func (c *Client) Features(ctx context.Context) (uint32, error) {
	r, err := c.one(ctx, 0, Op{kind: wire.GetFeature})
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(r.Value, 10, 32)
	if err != nil {
		return 0, &Error{Op: wire.GetFeature.String(), Err: err}
	}
	return uint32(n), nil
}

// ResetWatches drops all watches and transactions of this connection, in the store and here. Through the device it is refused: it would drop
// the kernel's own.
func (c *Client) ResetWatches(ctx context.Context) error {
	conn := c.current()
	o := stringsOp(wire.ResetWatches, "", "")
	if conn.single {
		return o.fail(fmt.Errorf("the device's watches are the kernel's too: %w", wire.EPERM))
	}
	if _, err := conn.one(ctx, 0, o); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.watches)
	return nil
}
