package ask

import (
	"errors"
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
	question := []byte(inv.Line())
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		answer, err := exchange(socket, question, deadline)
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

// exchange sends a question and reads the answer. It uses plain system calls: net would start the runtime's poller.
func exchange(socket string, question []byte, deadline time.Time) (answer string, err error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", errors.New("vif-plug: socket: " + err.Error())
	}
	defer syscall.Close(fd) //nolint:errcheck // nothing to do about it
	if err := bound(fd, deadline); err != nil {
		return "", err
	}
	if err := connect(fd, socket); err != nil {
		return "", err
	}
	for sent := 0; sent < len(question); {
		n, err := syscall.Write(fd, question[sent:])
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return "", ErrTimeout
		case err != nil:
			return "", errBroken
		default:
			sent += n
		}
	}
	return readLine(fd)
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

// readLine reads to the newline, or to where the daemon hangs up.
func readLine(fd int) (string, error) {
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
			return "", ErrTimeout
		case err != nil:
			return "", errBroken
		}
		if buf = buf[:len(buf)+n]; n == 0 || buf[len(buf)-1] == '\n' {
			break
		}
	}
	return string(buf), nil
}
