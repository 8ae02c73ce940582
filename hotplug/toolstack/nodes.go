package toolstack

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"vifplug/hotplug"
	"vifplug/xenstore"
	"vifplug/xenstore/wire"
)

// DefaultScript is what libxl runs for a NIC that vifplug serves.
const DefaultScript = "/etc/xen/scripts/vif-plug"

// defaultMTU is what libxl tells a guest whose NIC has no mtu (xen: libxl_nic.c). The engine tells the true one before the guest is connected.
const defaultMTU = 1500

// Nodes are a NIC's values in the store. They are written as they are.
type Nodes struct {
	Key     hotplug.Key
	Backend xenstore.DomID // whose netback serves it
	MAC     string         // the guest's
	Bridge  string
	Script  string // "": DefaultScript
	Type    string // "": "vif"
	State   string // of the backend; "": 1, as a toolstack leaves it to netback
	VIFName string // "": none
	IP      string // "": none
	Rate    string // "bytes,microseconds"; "": none
	VLAN    string // "": none
	MTU     int    // 0: none
}

// dirs are where a NIC's nodes are: netback's, the guest's, and the toolstack's own copy.
type dirs struct{ back, front, libxl string }

func dirsOf(backend xenstore.DomID, k hotplug.Key) dirs {
	return dirs{
		back:  fmt.Sprintf("/local/domain/%d/backend/vif/%d/%d", backend, k.Front, k.Device),
		front: fmt.Sprintf("/local/domain/%d/device/vif/%d", k.Front, k.Device),
		libxl: fmt.Sprintf("/libxl/%d/device/vif/%d", k.Front, k.Device),
	}
}

// parents are the directories of NICs of a domain.
func parents(backend, front xenstore.DomID) []string {
	d := dirsOf(backend, hotplug.Key{Front: front})
	return []string{strings.TrimSuffix(d.back, "/0"), strings.TrimSuffix(d.front, "/0"), strings.TrimSuffix(d.libxl, "/0")}
}

// Write writes a NIC as libxl does (xen: libxl_nic.c libxl__set_xenstore_nic, libxl_device.c libxl__device_generic_add; looked at with xl of Xen 4.17):
// the guest owns its directory but for the MTU, netback's domain owns the backend, and the toolstack alone sees its copy.
func (n Nodes) Write(ctx context.Context, tx *xenstore.Tx) error {
	d, guest := dirsOf(n.Backend, n.Key), n.Key.Front
	back, front := n.values(d.front), n.frontend(d.back)
	ops := directory(d.libxl, []wire.Perm{{Letter: 'n'}}, append([][2]string{{"frontend", d.front}, {"backend", d.back}}, back[1:]...))
	ops = append(ops, directory(d.front, perms(guest, n.Backend), front)...)
	ops = append(ops, xenstore.WriteOp(d.front+"/mtu", strconv.Itoa(n.mtu())), xenstore.SetPermsOp(d.front+"/mtu", perms(n.Backend, guest)))
	ops = append(ops, directory(d.back, perms(n.Backend, guest), back)...)
	return all(tx.Pipeline(ctx, ops...))
}

// directory makes one with its rights and values. What is written below a directory inherits its rights.
func directory(path string, p []wire.Perm, values [][2]string) []xenstore.Op {
	ops := []xenstore.Op{xenstore.MkdirOp(path), xenstore.SetPermsOp(path, p)}
	for _, kv := range values {
		ops = append(ops, xenstore.WriteOp(path+"/"+kv[0], kv[1]))
	}
	return ops
}

// perms gives owner everything and reader the right to read.
func perms(owner, reader xenstore.DomID) []wire.Perm {
	return []wire.Perm{{Letter: 'n', DomID: owner}, {Letter: 'r', DomID: reader}}
}

// all is the first error of a pipeline.
func all(res []xenstore.Result, err error) error {
	for _, r := range res {
		if err == nil {
			err = r.Err
		}
	}
	return err
}

// values are the backend's, frontend first.
func (n Nodes) values(front string) [][2]string {
	kv := [][2]string{
		{"frontend", front},
		{"frontend-id", strconv.Itoa(int(n.Key.Front))},
		{"online", "1"},
		{"state", or(n.State, "1")},
		{"script", or(n.Script, DefaultScript)},
		{"mac", n.MAC},
		{"bridge", n.Bridge},
		{"handle", n.handle()},
		{"type", or(n.Type, "vif")},
		{"hotplug-status", ""},
	}
	mtu := ""
	if n.MTU != 0 {
		mtu = strconv.Itoa(n.MTU)
	}
	for _, o := range [][2]string{{"vifname", n.VIFName}, {"ip", n.IP}, {"rate", n.Rate}, {"mtu", mtu}, {"vlan", n.VLAN}} {
		if o[1] != "" {
			kv = append(kv, o)
		}
	}
	return kv
}

func (n Nodes) frontend(back string) [][2]string {
	return [][2]string{
		{"backend", back},
		{"backend-id", strconv.Itoa(int(n.Backend))},
		{"state", "1"},
		{"handle", n.handle()},
		{"mac", n.MAC},
		{"trusted", "1"},
	}
}

func (n Nodes) handle() string { return strconv.FormatUint(uint64(n.Key.Device), 10) }

func (n Nodes) mtu() int {
	if n.MTU != 0 {
		return n.MTU
	}
	return defaultMTU
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// Erase removes a NIC's nodes, and the directories above them that are empty then, as libxl does (xen: libxl__xs_path_cleanup).
func Erase(ctx context.Context, tx *xenstore.Tx, backend xenstore.DomID, k hotplug.Key) error {
	d := dirsOf(backend, k)
	for _, at := range []struct {
		path   string
		levels int // of directories above that are NICs' alone
	}{{d.front, 1}, {d.back, 2}, {d.libxl, 2}} {
		if err := erase(ctx, tx, at.path, at.levels); err != nil {
			return err
		}
	}
	return nil
}

// erase removes a node, and of the directories above it so many, while they are empty.
func erase(ctx context.Context, tx *xenstore.Tx, path string, levels int) error {
	if err := remove(ctx, tx, path); err != nil || levels == 0 {
		return err
	}
	up := path[:strings.LastIndexByte(path, '/')]
	left, err := tx.Directory(ctx, up)
	if err != nil && !errors.Is(err, xenstore.ENOENT) || len(left) > 0 {
		return err
	}
	return erase(ctx, tx, up, levels-1)
}

// remove removes what is there.
func remove(ctx context.Context, tx *xenstore.Tx, path string) error {
	_, err := tx.Read(ctx, path)
	if err == nil {
		err = tx.Remove(ctx, path)
	}
	if errors.Is(err, xenstore.ENOENT) {
		err = nil
	}
	return err
}
