package ask

import (
	"errors"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrNoDaemon says that nobody serves the socket: the caller does the work itself.
var ErrNoDaemon = errors.New("vif-plug: vifplugd is not running")

// ErrTimeout says that the daemon had the question and gave no answer in time.
var ErrTimeout = errors.New("vif-plug: vifplugd gave no answer in time. See journalctl -u vifplugd")

// Refused is the daemon's answer that the NIC is not plugged: its reason and what to do, in the words that also stand in hotplug-error.
type Refused struct{ Text string }

func (r *Refused) Error() string { return r.Text }

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 16 << 10

// Ask puts an invocation to the daemon at a Unix socket and waits for its answer until the deadline. A daemon that dies between taking the
// question and answering it is asked again: the work is idempotent, and where systemd holds the socket its successor answers.
func Ask(socket string, inv Invocation, deadline time.Time) error {
	request := []byte("POST /v1/hotplug?command=" + inv.Command + "&type_if=" + inv.Type + "&xenbus_path=" + inv.XenbusPath + "&vif=" + inv.VIF +
		" HTTP/1.1\r\nHost: vifplug\r\nAccept: text/plain\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		answer, err := exchange(socket, request, deadline)
		if err == nil {
			err = judge(answer)
		}
		if !errors.Is(err, errBroken) {
			return err
		}
		if time.Until(deadline) < wait {
			return ErrTimeout
		}
		time.Sleep(wait)
	}
}

// errBroken says that the daemon went away before it had answered.
var errBroken = errors.New("vif-plug: the connection broke off")

// exchange sends one request and reads the answer to its end. It uses plain system calls: net would start the runtime's poller.
func exchange(socket string, request []byte, deadline time.Time) ([]byte, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, errors.New("vif-plug: socket: " + err.Error())
	}
	defer syscall.Close(fd) //nolint:errcheck // nothing to do about it
	if err := bound(fd, deadline); err != nil {
		return nil, err
	}
	if err := connect(fd, socket); err != nil {
		return nil, err
	}
	for sent := 0; sent < len(request); {
		n, err := syscall.Write(fd, request[sent:])
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return nil, ErrTimeout
		case err != nil:
			return nil, errBroken
		default:
			sent += n
		}
	}
	return readAll(fd)
}

func connect(fd int, socket string) error {
	for {
		err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: socket})
		switch err {
		case nil:
			return nil
		case syscall.EINTR:
		case syscall.ENOENT, syscall.ECONNREFUSED:
			return ErrNoDaemon
		case syscall.EAGAIN:
			return ErrTimeout // the daemon's backlog stayed full
		default:
			return errors.New("vif-plug: connect " + socket + ": " + err.Error())
		}
	}
}

// bound limits every wait on the socket to the time that is left.
func bound(fd int, deadline time.Time) error {
	left := time.Until(deadline)
	if left <= 0 {
		return ErrTimeout
	}
	tv := syscall.NsecToTimeval(int64(max(left, time.Millisecond)))
	for _, opt := range [...]int{syscall.SO_RCVTIMEO, syscall.SO_SNDTIMEO} {
		if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, opt, &tv); err != nil {
			return errors.New("vif-plug: socket timeout: " + err.Error())
		}
	}
	return nil
}

func readAll(fd int) ([]byte, error) {
	buf := make([]byte, 0, 1024)
	for len(buf) < maxAnswer {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := syscall.Read(fd, buf[len(buf):cap(buf)])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return nil, ErrTimeout
		case err != nil:
			return nil, errBroken
		case n == 0:
			return buf, nil
		}
		buf = buf[:len(buf)+n]
	}
	return buf, nil
}

// judge reads the answer: any 2xx is success, 503 is a daemon on its way out, the body of anything else is the reason.
func judge(answer []byte) error {
	head, body, whole := strings.Cut(string(answer), "\r\n\r\n")
	proto, rest, _ := strings.Cut(head, " ")
	if !whole || !strings.HasPrefix(proto, "HTTP/1.") || len(rest) < 3 {
		return errBroken
	}
	code, err := strconv.Atoi(rest[:3])
	switch {
	case err != nil || code == 503:
		return errBroken
	case code/100 == 2:
		return nil
	}
	if body = strings.TrimSpace(body); body == "" {
		body = "vif-plug: vifplugd refused: " + quote(rest)
	}
	return &Refused{Text: body}
}
