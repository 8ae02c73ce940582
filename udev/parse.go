package udev

import (
	"errors"
	"fmt"
	"strings"
)

// Bounds of a message. The kernel's own are 2048 bytes and 64 strings of environment, after a header that is at most an action and a sysfs
// path (linux: include/linux/kobject.h UEVENT_BUFFER_SIZE, UEVENT_NUM_ENVP).
const (
	MaxMessage = 8192 // bytes of a whole message
	maxVars    = 64   // strings of its environment
	maxPath    = 4096 // bytes of a device's path
)

// ErrLibudev says that a message is not the kernel's but one that systemd-udevd sends on to its own listeners.
var ErrLibudev = errors.New("message is framed by libudev, not by the kernel")

// Parse reads one message of the kernel: "ACTION@DEVPATH", then "KEY=VALUE" strings, each ended by NUL (linux: lib/kobject_uevent.c
// kobject_uevent_env). It is strict: header and environment must agree, nothing may be doubled, missing, oversized or left over. The result
// keeps no reference to b. errors.Is(err, [ErrLibudev]) holds for messages of libudev.
func Parse(b []byte) (Event, error) {
	e, err := parse(b)
	if err != nil {
		return Event{}, fmt.Errorf("udev: parse uevent: %w", err)
	}
	return e, nil
}

func parse(b []byte) (Event, error) {
	switch {
	case len(b) > MaxMessage:
		return Event{}, fmt.Errorf("%d bytes are more than %d", len(b), MaxMessage)
	case len(b) == 0 || b[len(b)-1] != 0:
		return Event{}, errors.New("message does not end with NUL")
	}
	// One copy: all strings of the event share it.
	head, rest, _ := strings.Cut(string(b), "\x00")
	if head == "libudev" {
		return Event{}, ErrLibudev
	}
	action, path, found := strings.Cut(head, "@")
	if !found {
		return Event{}, errors.New("header has no @")
	}
	env, err := parseEnv(rest)
	if err != nil {
		return Event{}, err
	}
	e := Event{Action: action, DevPath: path, Subsystem: env["SUBSYSTEM"], Env: env}
	return e, e.check()
}

func parseEnv(s string) (map[string]string, error) {
	n := strings.Count(s, "\x00")
	if n > maxVars {
		return nil, fmt.Errorf("%d variables are more than %d", n, maxVars)
	}
	env := make(map[string]string, n)
	for s != "" {
		var pair string
		pair, s, _ = strings.Cut(s, "\x00")
		key, value, found := strings.Cut(pair, "=")
		if !found || !graphic(key, '!') {
			return nil, fmt.Errorf("%.80q is no KEY=VALUE", pair)
		}
		if _, doubled := env[key]; doubled {
			return nil, fmt.Errorf("%.80q is there twice", key)
		}
		env[key] = value
	}
	return env, nil
}

func (e Event) check() error {
	switch {
	case !knownAction(e.Action):
		return fmt.Errorf("action %.80q is unknown", e.Action)
	case !validPath(e.DevPath):
		return fmt.Errorf("device path %.80q is none", e.DevPath)
	case e.Env["ACTION"] != e.Action:
		return errors.New("ACTION differs from the header")
	case e.Env["DEVPATH"] != e.DevPath:
		return errors.New("DEVPATH differs from the header")
	case !graphic(e.Subsystem, '!'):
		return fmt.Errorf("subsystem %.80q is none", e.Subsystem)
	}
	if _, ok := decimal(e.Env["SEQNUM"], 1<<64-1); !ok {
		return fmt.Errorf("SEQNUM %.80q is no number", e.Env["SEQNUM"])
	}
	return nil
}

// knownAction knows what the kernel can send (linux: lib/kobject_uevent.c kobject_actions).
func knownAction(s string) bool {
	switch s {
	case "add", "remove", "change", "move", "online", "offline", "bind", "unbind":
		return true
	}
	return false
}

func validPath(p string) bool {
	if len(p) > maxPath || len(p) < 2 || p[0] != '/' || !graphic(p, ' ') {
		return false
	}
	for element := range strings.SplitSeq(p[1:], "/") {
		if element == "" || element == "." || element == ".." {
			return false
		}
	}
	return true
}

// graphic says that s is not empty and has only ASCII from least to tilde.
func graphic(s string, least byte) bool {
	for i := range len(s) {
		if s[i] < least || s[i] > '~' {
			return false
		}
	}
	return s != ""
}
