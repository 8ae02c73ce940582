package xenstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"

	"vifplug/xenstore/wire"
)

// Options are how a Client behaves. The zero value connects again for ever and logs nothing.
type Options struct {
	Logger *slog.Logger
	// NoReconnect ends the client with its connection: for tools that do one thing.
	NoReconnect bool
	// OnState is called when the connection is lost (false and why), and when it is back with all its watches (true): in turn, never at
	// once. It must not call the client. Without it, this is logged.
	OnState func(connected bool, why error)
}

// Client is a connection to a store that outlives the store's restarts. Its methods may be called from any goroutine.
type Client struct {
	dial    func(context.Context) (*transport, error)
	opt     Options
	log     *slog.Logger
	ctx     context.Context
	cancel  context.CancelFunc
	workers sync.WaitGroup

	state     sync.Mutex // held while OnState is called; guards connected
	connected bool       // as OnState knows it

	mu      sync.Mutex // guards all following fields; a conn's mu may be taken under it
	conn    *conn      // the present connection; its err says whether it is down
	watches map[string]*registration
	counter uint64 // of tokens
}

// Open connects to a store: "auto" (the socket, else the device), "unix:PATH", "dev" or "dev:PATH". It fails when that first connection
// does. o may be nil.
func Open(ctx context.Context, target string, o *Options) (*Client, error) {
	return open(ctx, func(ctx context.Context) (*transport, error) { return dial(ctx, target) }, o)
}

func open(ctx context.Context, dial func(context.Context) (*transport, error), o *Options) (*Client, error) {
	c := &Client{dial: dial, connected: true, watches: map[string]*registration{}}
	if o != nil {
		c.opt = *o
	}
	if c.log = c.opt.Logger; c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	t, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.conn = newConn(t)
	c.workers.Add(1)
	go c.runClient()
	return c, nil
}

// Close ends the client. Requests under way fail with [ErrClosed]; watches go with the connection. Closing again does nothing.
func (c *Client) Close() error {
	c.cancel()
	c.current().fail(ErrClosed)
	c.workers.Wait()
	return nil
}

// Transport names what serves the store: "unix:PATH" or "dev:PATH".
func (c *Client) Transport() string { return c.current().name }

func (c *Client) current() *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn
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

// The optional features of a store (xen: xs_wire.h XENSTORE_SERVER_FEATURE_*).
const (
	FeatureReconnection uint32 = 1 << iota // a guest may connect to its ring again
	FeatureError                           // the ring says why a connection failed
	FeatureWatchDepth                      // a watch may be bounded: [WatchOptions.Depth]
	FeatureAnyDomain                       // permissions may name DOMID_ANY
)

// Features asks which optional features the store has. A store that does not know the question, as any before Xen 4.21 and every oxenstored,
// answers ENOSYS or EINVAL: it has none that this client could use.
func (c *Client) Features(ctx context.Context) (uint32, error) {
	ask := Op{kind: wire.GetFeature}
	r, err := c.one(ctx, 0, ask)
	if errors.Is(err, wire.ENOSYS) || errors.Is(err, wire.EINVAL) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(r.Value, 10, 32)
	if err != nil {
		return 0, ask.fail(err)
	}
	return uint32(n), nil
}

// ResetWatches drops all watches and transactions of this connection, in the store and here. Nobody may be calling Watch or be in a transaction
// meanwhile. Through the device it is refused: it would drop the kernel's own.
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
