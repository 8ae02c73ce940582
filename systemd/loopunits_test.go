package systemd

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A loop's port outlives it, the next QEMU starts it again with the guest's number of then, and no guest's loop touches another's.
func TestLoopUnitsKeepTheirPromises(t *testing.T) {
	units := shipped(t)
	service, socket := values(units["vif-loop@.service"]), values(units["vif-loop@.socket"])
	assert.Equal(t, []string{"/usr/sbin/vif-loop --instance %i"}, service["ExecStart"])
	assert.Equal(t, []string{"on-failure"}, service["Restart"])
	assert.Equal(t, []string{"0"}, service["StartLimitIntervalSec"], "a QEMU that waits is not given up")
	assert.Equal(t, []string{"infinity"}, service["LimitMEMLOCK"], "it counts for all loops together")
	assert.NotEmpty(t, service["MemoryMax"])
	for _, never := range []string{
		"ExecStop", "ExecStopPost", // the port stays
		"User", "DynamicUser", "PrivateNetwork", // making the port needs root, and the host's network
		"BindsTo", "PartOf", // it does not go with vifplugd
	} {
		assert.NotContains(t, service, never)
	}
	for _, need := range []string{"CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_BPF", "CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_SYS_CHROOT"} {
		assert.Contains(t, strings.Fields(service["CapabilityBoundingSet"][0]), need)
	}
	for _, call := range []string{"bpf", "chroot", "seccomp"} {
		assert.Contains(t, strings.Fields(service["SystemCallFilter"][0]), call)
	}
	assert.Equal(t, []string{"/run/vifplug/loop/%i.sock"}, socket["ListenStream"])
	assert.Equal(t, []string{"0600"}, socket["SocketMode"])
	assert.NotContains(t, socket, "Accept", "one loop serves one NIC")
}
