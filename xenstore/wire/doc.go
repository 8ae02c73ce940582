// Package wire is the framing of the xenstore protocol: messages, paths, permissions and error names, without any I/O.
//
// Every message is a 16-byte header in native byte order and a payload (xen: xen/include/public/io/xs_wire.h).
package wire
