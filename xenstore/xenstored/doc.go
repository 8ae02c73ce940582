// Package xenstored is a store that speaks the xenstore protocol over Unix sockets, for machines without Xen: the demo, most tests, and people
// who develop Xen tools. It behaves as Xen 4.17's C xenstored does towards dom0, and towards guests as far as permissions and quotas go.
//
// The content lives in memory and ends with the process, as the C daemon's does. One conformance suite (conformance_test.go) runs against this
// store and the real one: testdata/conformance holds what the C daemon did, line by line.
package xenstored
