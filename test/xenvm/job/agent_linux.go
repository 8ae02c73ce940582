package job

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// drain is how long the output may stay open after the command has ended: a daemon that it left behind may hold it for ever.
const drain = 2 * time.Second

// Agent runs the job in the dom0 and tells the host how it ended.
func Agent() error {
	j, err := Load(Path)
	if err != nil {
		return err
	}
	ports, err := openPorts("/sys/class/virtio-ports", "/dev")
	if err != nil {
		return err
	}
	return Serve(j, ports[PortOut], ports[PortErr], ports[PortControl])
}

// openPorts opens the three ports by their names. They are opened such that a write returns when the host has what was written: so nothing is
// lost when the dom0 powers off.
func openPorts(class, dev string) (ports map[string]*os.File, err error) {
	names, err := filepath.Glob(filepath.Join(class, "*", "name"))
	if err != nil {
		return nil, fmt.Errorf("job: %w", err)
	}
	ports = map[string]*os.File{}
	defer func() {
		if err != nil {
			for _, f := range ports {
				_ = f.Close()
			}
		}
	}()
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil {
			return nil, fmt.Errorf("job: %w", err)
		}
		p := filepath.Join(dev, filepath.Base(filepath.Dir(n)))
		fd, err := syscall.Open(p, syscall.O_RDWR|syscall.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("job: open %s: %w", p, err)
		}
		ports[strings.TrimSpace(string(b))] = os.NewFile(uintptr(fd), p)
	}
	for _, name := range []string{PortOut, PortErr, PortControl} {
		if ports[name] == nil {
			return nil, fmt.Errorf("job: no virtio port %s below %s", name, class)
		}
	}
	return ports, nil
}

// Serve runs the job: its output goes to out and errout, and control hears "ready" before and the status after all of its output.
func Serve(j Job, out, errout io.Writer, control io.ReadWriter) error {
	if _, err := io.WriteString(control, Message{Verb: "ready"}.String()); err != nil {
		return fmt.Errorf("job: tell the host: %w", err)
	}
	end := run(j, out, errout, control)
	if _, err := io.WriteString(control, end.String()); err != nil {
		return fmt.Errorf("job: tell the host: %w", err)
	}
	return nil
}

func run(j Job, out, errout io.Writer, control io.Reader) Message {
	cmd := exec.Command(j.Args[0], j.Args[1:]...)
	cmd.Dir, cmd.Env = j.Dir, append(os.Environ(), j.Env...)
	// writers that are no files make exec copy through pipes of its own, which a child may open again by /dev/stderr
	cmd.Stdout, cmd.Stderr = pipe{out}, pipe{errout}
	if j.Merge {
		cmd.Stderr = cmd.Stdout
	}
	cmd.WaitDelay = drain
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		fmt.Fprintf(errout, "xenvm: start %s in dom0: %v\n", j.Args[0], err) //nolint:errcheck // there is nowhere else to say it
		return Message{Verb: "exit", Number: 127}
	}
	go runSignals(control, cmd.Process.Pid) // ends when the dom0 does
	err := cmd.Wait()
	if errors.Is(err, exec.ErrWaitDelay) {
		fmt.Fprintf(errout, "xenvm: something that the command started still holds its output\n") //nolint:errcheck // as above
	}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok {
		return ended(ws)
	}
	return Message{Verb: "exit", Number: 1}
}

// pipe hides that the writer is a file.
type pipe struct{ io.Writer }

// runSignals passes the host's signals on to the command's process group.
func runSignals(control io.Reader, pid int) {
	lines := bufio.NewScanner(control)
	for lines.Scan() {
		if m, err := ParseMessage(lines.Text()); err == nil && m.Verb == "signal" {
			_ = syscall.Kill(-pid, syscall.Signal(m.Number))
		}
	}
}
