// Package systemd speaks with the service manager: it takes the sockets that systemd has opened, tells systemd how the daemon is, feeds its
// watchdog from the daemon's own heartbeat, and logs to the journal with fields.
//
// What a newcomer must know first: everything here does nothing, at no cost, when the daemon was not started by systemd. Nothing needs D-Bus
// or libsystemd. The units stand in the folder units; `make install` copies them.
package systemd
