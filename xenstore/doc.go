// Package xenstore is a client of the xenstore protocol.
//
// What a newcomer must know first: a [Client] is safe for many goroutines and pipelines their requests over one connection; replies are
// matched by request id, and watch events never hold up a reply. When the store goes away, requests under way fail with [ErrDisconnected],
// the client connects again by itself, renews its watches, and each watch gives one [Event] with Resync set: whoever reads it must look at
// everything again. A store that has come back may be empty: that is no order to undo anything.
//
// Paths should be absolute: a socket's relative paths mean the store's own domain (xen: docs/misc/xenstore.txt).
package xenstore
