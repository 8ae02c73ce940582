package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"vifplug/hotplug"
)

// ErrNotReachable says that nobody answers at the socket.
var ErrNotReachable = errors.New("vifplugd is not reachable")

// Client asks a daemon at a Unix socket.
type Client struct {
	socket string
	http   http.Client
}

// NewClient makes a client of the daemon at socket. It connects with each question.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &Client{socket: socket, http: http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// Status asks for everything.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	return s, c.get(ctx, "/v1/status", &s)
}

// NIC asks for one NIC and its last runs.
func (c *Client) NIC(ctx context.Context, name string) (hotplug.Explanation, error) {
	var x hotplug.Explanation
	return x, c.get(ctx, "/v1/nics/"+url.PathEscape(name), &x)
}

// Resync has the daemon look at everything again.
func (c *Client) Resync(ctx context.Context) error {
	resp, err := c.do(ctx, http.MethodPost, "/v1/resync")
	if err == nil {
		err = resp.Body.Close()
	}
	return err
}

// Hotplug has the daemon do a hotplug command for the NIC at a xenbus path ("backend/vif/FE/N"), as vif-plug does.
func (c *Client) Hotplug(ctx context.Context, command, xenbusPath string) error {
	resp, err := c.do(ctx, http.MethodPost, "/v1/hotplug?"+url.Values{"command": {command}, "type_if": {"vif"}, "xenbus_path": {xenbusPath}}.Encode())
	if err == nil {
		err = resp.Body.Close()
	}
	return err
}

// Events calls yield with each event after since until yield says false, the stream ends or ctx does. follow waits for new ones.
func (c *Client) Events(ctx context.Context, since uint64, follow bool, yield func(hotplug.Event) bool) error {
	path := fmt.Sprintf("/v1/events?since=%d", since)
	if follow {
		path += "&follow=1"
	}
	resp, err := c.do(ctx, http.MethodGet, path)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // reading is over
	in := json.NewDecoder(bufio.NewReader(resp.Body))
	for {
		var e hotplug.Event
		switch err := in.Decode(&e); {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return fmt.Errorf("%w any more: it died while it told events: %w", ErrNotReachable, err)
		case err != nil:
			return fmt.Errorf("control: event stream: %w", err)
		}
		if !yield(e) {
			return nil
		}
	}
}

func (c *Client) get(ctx context.Context, path string, into any) error {
	resp, err := c.do(ctx, http.MethodGet, path)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // reading is over
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("control: %s: answer: %w", path, err)
	}
	return nil
}

// do sends a request; an answer that is no success becomes the error that its body tells.
func (c *Client) do(ctx context.Context, method, path string) (*http.Response, error) {
	return c.send(ctx, method, path, nil)
}

// send is do with a body.
func (c *Client) send(ctx context.Context, method, path string, content io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://vifplug"+path, content)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	switch {
	case errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%w at %s. Start it: systemctl start vifplugd", ErrNotReachable, c.socket)
	case err != nil:
		return nil, fmt.Errorf("control: %w", err)
	case resp.StatusCode/100 == 2:
		return resp, nil
	}
	defer resp.Body.Close() //nolint:errcheck // reading is over
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	var body Error
	if json.Unmarshal(text, &body) == nil && body.Error != "" {
		return nil, errors.New(body.Error)
	}
	return nil, fmt.Errorf("control: %s: %s: %s", path, resp.Status, strings.TrimSpace(string(text)))
}
