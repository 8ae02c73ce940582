// Package dom0 holds the tests that need real Xen: `make test-xen` runs them in a dom0 inside QEMU (test/xenvm). Each leaves xenstore and the
// links as it found them, and says so.
package dom0
