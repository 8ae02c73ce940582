package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"vifplug/hotplug"
	"vifplug/hotplug/ask"
	"vifplug/qemu"
	"vifplug/xenstore"
)

// tapWord begins a question about a tap: a line as vif-plug's, since descriptors can be handed over beside its answer, which HTTP has no place for.
const tapWord = "tap "

// Tap is a question about a NIC's tap.
type Tap struct {
	Domain  string // the guest's id, or its name where that has no blanks
	Device  uint32 // N of ethN
	Owner   int    // see qemu.Options
	Queues  int
	VNetHdr bool
	XAPI    bool // call it tapFE.N instead of vifFE.N-emu
	AFXDP   bool // for a QEMU at AF_XDP rings; it is called tapFE.N then, and none of the above is said but whose it is
}

// line is the question.
func (t Tap) line(verb string, handOver bool) string {
	words := []string{"tap", verb, t.Domain, strconv.FormatUint(uint64(t.Device), 10)}
	for _, w := range []struct {
		said bool
		word string
	}{
		{t.Owner != 0, fmt.Sprintf("owner=%d", t.Owner)},
		{t.Queues != 0, fmt.Sprintf("queues=%d", t.Queues)},
		{t.VNetHdr, "vnet-hdr"},
		{t.XAPI, "xapi"},
		{t.AFXDP, afxdpWord},
		{handOver, "fds"},
	} {
		if w.said {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, " ") + "\n"
}

// parseTap reads a question.
func parseTap(line string) (t Tap, verb string, handOver bool, err error) {
	words := strings.Split(strings.TrimSuffix(line, "\n"), " ")
	if len(words) < 4 || words[1] != "create" && words[1] != "delete" || words[2] == "" {
		return t, "", false, errors.New("want: tap create|delete DOMAIN NIC [owner=UID] [queues=N] [vnet-hdr] [xapi] [af-xdp] [fds]")
	}
	t.Domain, verb = words[2], words[1]
	n, err := strconv.ParseUint(words[3], 10, 32)
	if err != nil {
		return t, "", false, fmt.Errorf("%q is no number of a NIC: eth1 of the guest is 1", words[3])
	}
	t.Device = uint32(n)
	for _, w := range words[4:] {
		key, value, _ := strings.Cut(w, "=")
		switch {
		case w == "xapi":
			t.XAPI = true
		case w == afxdpWord:
			t.AFXDP = true
		case verb == "create" && w == "vnet-hdr":
			t.VNetHdr = true
		case verb == "create" && w == "fds":
			handOver = true
		case verb == "create" && key == "owner":
			t.Owner, err = strconv.Atoi(value)
		case verb == "create" && key == "queues":
			t.Queues, err = strconv.Atoi(value)
		default:
			err = fmt.Errorf("tap %s does not know %q", verb, w)
		}
		if err != nil {
			return t, "", false, err
		}
	}
	switch {
	case t.AFXDP && (t.Owner != 0 || t.Queues > 1 || t.VNetHdr || t.XAPI):
		err = errors.New("af-xdp goes with none of owner, queues, vnet-hdr and xapi: an emulated NIC has one queue, and who is handed its socket may use it")
	case t.AFXDP && verb == "create" && !handOver:
		err = errors.New("af-xdp needs fds: its socket can only be handed over")
	case handOver && t.Queues > maxHandedOver:
		err = fmt.Errorf("%d queues are more than the %d descriptors that go with one message. Leave fds out", t.Queues, maxHandedOver)
	}
	return t, verb, handOver, err
}

// afxdpWord asks for the port of a QEMU at AF_XDP rings instead of a tap.
const afxdpWord = "af-xdp"

// maxHandedOver is the kernel's limit of descriptors beside one message (linux: SCM_MAX_FD).
const maxHandedOver = 253

// answerTap does what a question about a tap asks. The files go with the answer, and are the caller's to close.
func (s *Server) answerTap(line string) (string, []*os.File) {
	q, verb, handOver, err := parseTap(line)
	var k hotplug.Key
	var dom hotplug.Domain
	if err == nil {
		ctx, cancel := context.WithTimeout(s.ctx, PlugWait)
		defer cancel()
		if dom, err = s.tools().Guest(ctx, q.Domain); err == nil {
			k = hotplug.Key{Front: xenstore.DomID(dom.ID), Device: q.Device, Tap: true}
		}
	}
	if err != nil {
		return ask.Refusal(err), nil
	}
	if q.AFXDP {
		return s.answerRings(k, verb)
	}
	name := k.TapName()
	if q.XAPI {
		name = fmt.Sprintf("tap%d.%d", dom.ID, q.Device)
	}
	if verb == "delete" {
		if err := s.opt.Engine.DeleteTap(name); err != nil {
			return ask.Refusal(err), nil
		}
		s.opt.Logger.Info("tap deleted", "vif", k.VIF(), "tap", name)
		return "done " + name + "\n", nil
	}
	tap, err := s.opt.Engine.CreateTap(dom, k, qemu.Options{Name: name, Owner: q.Owner, Queues: q.Queues, VNetHdr: q.VNetHdr, Persistent: !handOver})
	if err != nil {
		return ask.Refusal(err), nil
	}
	s.opt.Logger.Info("tap created", "vif", k.VIF(), "tap", name, "handed_over", handOver)
	if handOver {
		return "done " + name + "\n", tap.Queues
	}
	_ = tap.Close() // it lasts
	return "done " + name + "\n", nil
}

// send writes an answer, the files as descriptors beside it, and closes them here. Whoever asked may have gone.
func send(c net.Conn, text string, files []*os.File) {
	defer closeAll(files)
	u, ok := c.(*net.UnixConn)
	if len(files) == 0 || !ok {
		_, _ = io.WriteString(c, text)
		return
	}
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
		_ = unix.SetNonblock(int(f.Fd()), true) // Fd takes it off; QEMU wants it
	}
	_, _, _ = u.WriteMsgUnix([]byte(text), unix.UnixRights(fds...), nil)
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// CreateTap has the daemon make a tap for a guest's NIC that lasts until [Client.DeleteTap], and gives its name.
func (c *Client) CreateTap(ctx context.Context, t Tap) (name string, err error) {
	name, files, err := c.tap(ctx, t.line("create", false))
	closeAll(files)
	return name, err
}

// OpenTap has the daemon make a tap for a guest's NIC and hand its queues over. The tap goes when all have been closed.
func (c *Client) OpenTap(ctx context.Context, t Tap) (*qemu.Tap, error) {
	name, files, err := c.tap(ctx, t.line("create", true))
	if err == nil && len(files) != max(t.Queues, 1) {
		closeAll(files)
		err = fmt.Errorf("control: %d descriptors came for %d queues", len(files), max(t.Queues, 1))
	}
	if err != nil {
		return nil, err
	}
	return &qemu.Tap{Name: name, Queues: files}, nil
}

// DeleteTap has the daemon remove a tap that it has made, and gives its name.
func (c *Client) DeleteTap(ctx context.Context, t Tap) (name string, err error) {
	name, _, err = c.tap(ctx, Tap{Domain: t.Domain, Device: t.Device, XAPI: t.XAPI, AFXDP: t.AFXDP}.line("delete", false))
	return name, err
}

// tap asks a question about a tap.
func (c *Client) tap(ctx context.Context, line string) (name string, files []*os.File, err error) {
	if len(line) > ask.MaxLine || strings.Count(line, "\n") != 1 {
		return "", nil, errors.New("control: this is no name of a guest")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", c.socket)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ECONNREFUSED):
		return "", nil, fmt.Errorf("%w at %s. Start it: systemctl start vifplugd", ErrNotReachable, c.socket)
	case err != nil:
		return "", nil, fmt.Errorf("control: %w", err)
	}
	defer conn.Close() //nolint:errcheck // the answer is all
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(PlugWait)
	}
	_ = conn.SetDeadline(deadline)
	if _, err := io.WriteString(conn, line); err != nil {
		return "", nil, fmt.Errorf("control: %w", err)
	}
	text, files, err := readReply(conn.(*net.UnixConn))
	if err != nil {
		return "", nil, err
	}
	name, done := strings.CutPrefix(text, "done ")
	if done {
		return name, files, nil
	}
	closeAll(files)
	why, refused := strings.CutPrefix(text, "refused ")
	if !refused {
		return "", nil, hotplug.ErrStopping
	}
	return "", nil, errors.New(why)
}

// readReply reads an answer's line and the descriptors beside it, which come with its first byte.
func readReply(c *net.UnixConn) (text string, files []*os.File, err error) {
	buf, oob := make([]byte, 16<<10), make([]byte, unix.CmsgSpace(4*maxHandedOver))
	n, oobn, _, _, err := c.ReadMsgUnix(buf, oob)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", nil, fmt.Errorf("control: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	for _, m := range messages {
		fds, _ := unix.ParseUnixRights(&m)
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "tap"))
		}
	}
	for err == nil && n < len(buf) && !strings.HasSuffix(string(buf[:n]), "\n") {
		var more int
		more, err = c.Read(buf[n:])
		n += more
	}
	if err != nil && !errors.Is(err, io.EOF) {
		closeAll(files)
		return "", nil, fmt.Errorf("control: %w", err)
	}
	return strings.TrimSuffix(string(buf[:n]), "\n"), files, nil
}
