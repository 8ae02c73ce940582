// Package control is the service's control interface: HTTP and JSON over a Unix socket, described for its users in docs/api.md.
//
// Who may do what is decided by the peer's credentials, which the kernel vouches for: root and the daemon's own user may read and write,
// members of the reader group may read, nobody else anything.
package control
