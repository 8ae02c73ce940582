package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"

	"vifplug/qemu/loop"
)

// loopProcess is the packet loop of path socket in a process of its own, as vif-loop is.
type loopProcess struct {
	pid     int
	command *exec.Cmd
	ask     io.WriteCloser
	answers *bufio.Scanner
}

// loopReport is what such a process tells of itself.
type loopReport struct {
	Dropped, Frames uint64 // both directions
	Mallocs         uint64 // since it began, without those of telling
	Text            string
}

// loopArgument has this program be such a process.
const loopArgument = "packet-loop"

// startLoop starts one for a device of the calling thread's namespace, on the second CPU.
func startLoop(index int, k loop.Kind, conn int) (*loopProcess, error) {
	two, err := theCPUs()
	if err == nil {
		err = pin(0, two[1]) // the child has what its parent's thread has, and that ends soon
	}
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := exec.Command(self, loopArgument, strconv.Itoa(index), strconv.Itoa(int(k)))
	c.Stderr = os.Stderr
	file, err := duplicate(conn)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // the child has it
	c.ExtraFiles = []*os.File{file}
	p := &loopProcess{command: c}
	if p.ask, err = c.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.answers = bufio.NewScanner(out)
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("start the loop: %w", err)
	}
	p.pid = c.Process.Pid
	if _, err := p.report(); err != nil { // it runs
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// report asks the process for what it has done.
func (p *loopProcess) report() (r loopReport, err error) {
	if _, err := fmt.Fprintln(p.ask); err != nil {
		return r, fmt.Errorf("ask the loop: %w", err)
	}
	if !p.answers.Scan() {
		return r, fmt.Errorf("the loop does not answer: %w", errors.Join(io.ErrUnexpectedEOF, p.answers.Err()))
	}
	return r, json.Unmarshal(p.answers.Bytes(), &r)
}

func (p *loopProcess) close() error {
	err := p.ask.Close() // it ends with its input
	return errors.Join(err, p.command.Wait())
}

// loopMain is such a process: the stream is descriptor 3; each line that it reads it answers by a report.
func loopMain(args []string) error {
	if len(args) != 2 {
		return errors.New("packet-loop is for the benchmark itself")
	}
	index, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	k, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	conn := os.NewFile(3, "stream")
	l, err := loop.Open(loop.Config{Index: index, Socket: loop.Kind(k), Conn: conn})
	if err = errors.Join(err, conn.Close()); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go runLoop(ctx, l, ended)
	var told uint64
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if err := tell(l, &told); err != nil {
			break
		}
	}
	cancel()
	return errors.Join(<-ended, l.Close())
}

func runLoop(ctx context.Context, l *loop.Loop, ended chan<- error) { ended <- l.Run(ctx) }

// tell answers one question. told is how much all answers have allocated.
func tell(l *loop.Loop, told *uint64) error {
	before := mallocs()
	c := l.Count()
	err := json.NewEncoder(os.Stdout).Encode(loopReport{
		Dropped: c.ToWire.Dropped() + c.ToGuest.Dropped(), Frames: c.ToWire.Frames.Load() + c.ToGuest.Frames.Load(), Mallocs: before - *told, Text: c.String(),
	})
	*told += mallocs() - before
	return err
}

func mallocs() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}
