// Package shortcut is the fast path for guests' frames inside the kernel: eBPF programs at the ingress of the ports of a bridge, which send on at once what
// they know, and leave the rest to the bridge.
//
// The bridge stays beneath, and its forwarding database fresh, so that the shortcut may vanish at any moment. A program never decides otherwise than the
// bridge would: it redirects a frame only to where the bridge would send it, or passes it on. What it drops, it drops because its port is guarded.
// [Decide] is the same decision in Go, against which the programs are tested frame by frame.
//
// The programs are assembled here, need no compiler and no BTF, and run on Linux 5.10 and later: at TCX (6.6), else as a classifier of tc.
package shortcut
