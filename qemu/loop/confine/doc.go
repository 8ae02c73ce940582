// Package confine takes from a process everything that carrying frames between descriptors it has does not need: its user, capabilities, root directory,
// limits, and nearly all system calls. What a hostile guest might make of such a process can neither open, connect, execute nor signal anything.
package confine
