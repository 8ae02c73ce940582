// Package cases has one test for each edge case of Xen's NIC hotplug (section 9 of its specification) that concerns a vif in bridge mode. The
// engine, a store, the kernel and stand-ins for toolstack, netback and guest work together in a network namespace of the tests' own; the
// faults are real ones: bridges that vanish, domains that die between two steps, stores that restart.
//
// TestCase08... tests case 8. The cases that other issues deal with stand in elsewhere_test.go, with what they concern; a test keeps the two
// complete. Run them as root: go test ./test/cases.
package cases
