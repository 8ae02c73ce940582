package udev

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestBackend(t *testing.T) {
	const bus = "/devices/"
	for _, tc := range []struct {
		path, subsystem string
		front           uint16
		dev             uint32
		ok              bool
	}{
		{bus + "vif-5-0", "xen-backend", 5, 0, true},
		{bus + "vif-0-3", "xen-backend", 0, 3, true}, // dom0 as the guest of a driver domain
		{bus + "vif-32751-2147483647", "xen-backend", 32751, 2147483647, true},
		{bus + "vif-32752-0", "xen-backend", 0, 0, false}, // DOMID_FIRST_RESERVED
		{bus + "vif-5-2147483648", "xen-backend", 0, 0, false},
		{bus + "vif-5-18446744073709551616", "xen-backend", 0, 0, false},
		{bus + "vbd-5-51712", "xen-backend", 0, 0, false},
		{bus + "vif-5-0", "xen", 0, 0, false},
		{bus + "vif-5-0/net/vif5.0", "net", 0, 0, false},
		{bus + "vif-5", "xen-backend", 0, 0, false},
		{bus + "vif-5-", "xen-backend", 0, 0, false},
		{bus + "vif--0", "xen-backend", 0, 0, false},
		{bus + "vif-05-0", "xen-backend", 0, 0, false},
		{bus + "vif-5-00", "xen-backend", 0, 0, false},
		{bus + "vif-+5-0", "xen-backend", 0, 0, false},
		{bus + "vif-5-0-1", "xen-backend", 0, 0, false},
		{bus + "vif-5-0x1", "xen-backend", 0, 0, false},
		{"", "xen-backend", 0, 0, false},
	} {
		front, dev, ok := Event{DevPath: tc.path, Subsystem: tc.subsystem}.Backend()
		assert.Equal(t, tc.ok, ok, tc.path)
		assert.Equal(t, tc.front, front, tc.path)
		assert.Equal(t, tc.dev, dev, tc.path)
	}
}

func TestSysName(t *testing.T) {
	assert.Equal(t, "lo", Event{DevPath: "/devices/virtual/net/lo"}.SysName())
	assert.Equal(t, "", Event{}.SysName())
}
