// Package paths tests the shortcut of package vifplug/qemu/shortcut on real devices under a real bridge, attached both ways: by TCX, and by package
// vifplug/bridge as a classifier of tc.
package paths
