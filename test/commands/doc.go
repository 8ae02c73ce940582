// Package commands tests the programs as their users have them: built, run as processes, talking to each other over sockets, in a network
// namespace of their own, beside a store (vifctl xenstored) and a stand-in for netback.
package commands
