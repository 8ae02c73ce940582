package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"syscall"

	"vifplug/bridge"
	"vifplug/xenstore/wire"
)

// floor does the fewest messages that plug a NIC safely, one after the other on blocking sockets, with nothing else in the process's way:
// two reads of the backend node, the bridge's index, two link messages (MAC, MTU, master; up), and hotplug-status in a transaction that reads
// the node first. It has no watch, no decision, no error text, no read-back: what remains is what the store and the kernel cost.
type floor struct {
	fd    int
	links *bridge.Conn
	buf   []byte
	id    uint32
}

func newFloor(store string) (*floor, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: strings.TrimPrefix(store, "unix:")}); err != nil {
		return nil, fmt.Errorf("floor: connect %s: %w", store, err)
	}
	links, err := bridge.Open()
	return &floor{fd: fd, links: links, buf: make([]byte, 8192)}, err
}

// ask sends one message and awaits its reply.
func (f *floor) ask(t wire.Type, tx uint32, payload string) (string, error) {
	f.id++
	msg := wire.AppendMessage(nil, wire.Header{Type: t, ReqID: f.id, TxID: tx}, []byte(payload))
	if _, err := syscall.Write(f.fd, msg); err != nil {
		return "", err
	}
	have := 0
	for have < 16 || have < 16+int(binary.NativeEndian.Uint32(f.buf[12:])) {
		n, err := syscall.Read(f.fd, f.buf[have:])
		if err != nil || n == 0 {
			return "", fmt.Errorf("floor: the store broke off: %v", err)
		}
		have += n
	}
	body := string(f.buf[16:have])
	if wire.Type(binary.NativeEndian.Uint32(f.buf)) == wire.Error {
		return "", wire.Errno(strings.TrimRight(body, "\x00"))
	}
	return body, nil
}

// plug is the floor's whole work for one NIC.
func (f *floor) plug(dir, vif string) error {
	br, err := f.ask(wire.Read, 0, dir+"/bridge\x00")
	if err != nil {
		return err
	}
	if _, err := f.ask(wire.Read, 0, dir+"/mtu\x00"); err != nil && err != wire.ENOENT { //nolint:errorlint // ask returns it bare
		return err
	}
	b, err := f.links.LinkByName(bridge.Name(br))
	if err != nil {
		return err
	}
	nic, err := net.InterfaceByName(vif)
	if err != nil {
		return err
	}
	mac, up := bridge.MAC{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff}, true
	if err := f.links.Set(nic.Index, bridge.Change{MAC: &mac, MTU: b.MTU, Master: &b.Index}); err != nil {
		return err
	}
	if err := f.links.Set(nic.Index, bridge.Change{Up: &up}); err != nil {
		return err
	}
	return f.connected(dir)
}

func (f *floor) connected(dir string) error {
	text, err := f.ask(wire.TransactionStart, 0, "\x00")
	if err != nil {
		return err
	}
	var tx uint32
	if _, err := fmt.Sscanf(strings.TrimRight(text, "\x00"), "%d", &tx); err != nil {
		return err
	}
	if _, err := f.ask(wire.Read, tx, dir+"/frontend-id\x00"); err != nil {
		return err
	}
	if _, err := f.ask(wire.Write, tx, dir+"/hotplug-status\x00connected"); err != nil {
		return err
	}
	_, err = f.ask(wire.TransactionEnd, tx, "T\x00")
	return err
}

func (f *floor) close() {
	_ = syscall.Close(f.fd)
	_ = f.links.Close()
}
