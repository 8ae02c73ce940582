// Package job is what a host asks of a dom0: one command, whose output and exit status come back over channels that carry nothing else.
//
// The host puts a [Job] into the dom0's root file system; there, [Agent] runs it. Its standard output and standard error flow through one
// virtio port each, as they are; a third port carries lines: "ready", "exit N", "killed N" to the host, "signal N" from it.
package job

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Path is where the job lies in the dom0.
const Path = "/.xenvm/job.json"

// AgentPath is where the agent lies in the dom0: the program that the host ran too.
const AgentPath = "/.xenvm/xenvm"

// Names of the virtio ports.
const (
	PortOut     = "vifplug.out"
	PortErr     = "vifplug.err"
	PortControl = "vifplug.control"
)

// Job is one command to run in the dom0.
type Job struct {
	Args  []string // the program and its arguments
	Dir   string   // the working directory
	Env   []string // KEY=VALUE, in addition to the dom0's own
	Merge bool     // standard error goes where standard output goes, in order
}

// Encode gives the job's file.
func (j Job) Encode() ([]byte, error) {
	b, err := json.Marshal(j)
	if err != nil {
		return nil, fmt.Errorf("job: %w", err)
	}
	return b, nil
}

// Load reads the job's file.
func Load(path string) (Job, error) {
	var j Job
	b, err := os.ReadFile(path)
	if err != nil {
		return j, fmt.Errorf("job: %w", err)
	}
	if err := json.Unmarshal(b, &j); err != nil {
		return j, fmt.Errorf("job: %s: %w", path, err)
	}
	if len(j.Args) == 0 {
		return j, fmt.Errorf("job: %s: no command", path)
	}
	return j, nil
}

// Message is one line on the control port.
type Message struct {
	Verb   string // ready, exit, killed, signal
	Number int    // exit status or signal
}

// String is the line, with its newline.
func (m Message) String() string {
	if m.Verb == "ready" {
		return "ready\n"
	}
	return m.Verb + " " + strconv.Itoa(m.Number) + "\n"
}

// ParseMessage reads one line.
func ParseMessage(line string) (Message, error) {
	verb, number, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	switch verb {
	case "ready":
		if number == "" {
			return Message{Verb: verb}, nil
		}
	case "exit", "killed", "signal":
		if n, err := strconv.ParseUint(number, 10, 8); err == nil {
			return Message{Verb: verb, Number: int(n)}, nil
		}
	}
	return Message{}, fmt.Errorf("job: not a message: %q", line)
}

// Status is the exit status that a shell would give: that of the command, or 128 and the signal that killed it. ok is false when the message
// does not end the job.
func (m Message) Status() (status int, ok bool) {
	switch m.Verb {
	case "exit":
		return m.Number, true
	case "killed":
		return 128 + m.Number, true
	}
	return 0, false
}

// ended says how a process ended.
func ended(ws syscall.WaitStatus) Message {
	if ws.Signaled() {
		return Message{Verb: "killed", Number: int(ws.Signal())}
	}
	return Message{Verb: "exit", Number: ws.ExitStatus()}
}
