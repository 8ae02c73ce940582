package domctl

import (
	"encoding/binary"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestRequest(t *testing.T) {
	b := make([]byte, 4096)
	for i := range b {
		b[i] = 0xEE
	}
	request(b, 21, 0x1234)
	assert.Equal(t, uint32(5), binary.NativeEndian.Uint32(b), "XEN_DOMCTL_getdomaininfo")
	assert.Equal(t, uint32(21), binary.NativeEndian.Uint32(b[4:]))
	assert.Equal(t, uint16(0x1234), binary.NativeEndian.Uint16(b[8:]))
	assert.Equal(t, make([]byte, requestSize-10), b[10:requestSize], "the rest is clear")
	assert.Equal(t, byte(0xEE), b[requestSize], "and what lies behind it is left alone")
}

func TestAnswer(t *testing.T) {
	const domid = 7
	hvm, blocked, running := uint32(1<<1), uint32(1<<4), uint32(1<<5)
	for name, tt := range map[string]struct {
		flags uint32
		want  Info
	}{
		"running":             {running, Info{}},
		"blocked HVM guest":   {blocked | hvm, Info{}},
		"paused":              {flagPaused, Info{Paused: true}},
		"dying":               {flagDying | flagShutdown, Info{Dying: true, Shutdown: true, Reason: "poweroff"}},
		"shut down":           {flagShutdown, Info{Shutdown: true, Reason: "poweroff"}},
		"rebooting":           {flagShutdown | 1<<reasonShift, Info{Shutdown: true, Reason: "reboot"}},
		"suspended":           {flagShutdown | 2<<reasonShift, Info{Shutdown: true, Reason: "suspend"}},
		"crashed":             {flagShutdown | flagPaused | 3<<reasonShift, Info{Shutdown: true, Paused: true, Reason: "crash"}},
		"watchdog":            {flagShutdown | 4<<reasonShift, Info{Shutdown: true, Reason: "watchdog"}},
		"soft reset":          {flagShutdown | 5<<reasonShift, Info{Shutdown: true, Reason: "soft-reset"}},
		"a reason to come":    {flagShutdown | 200<<reasonShift, Info{Shutdown: true, Reason: "reason 200"}},
		"code while it runs":  {running | 255<<reasonShift, Info{}},
		"unknown flags, high": {running | 1<<31 | 1<<24, Info{}},
	} {
		t.Run(name, func(t *testing.T) {
			b := make([]byte, requestSize)
			binary.NativeEndian.PutUint16(b[16:], domid)
			binary.NativeEndian.PutUint32(b[20:], tt.flags)
			got, err := answer(b, domid)
			require.NoError(t, err)
			tt.want.Domid = domid
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestAnswerIsAboutAnotherDomain(t *testing.T) {
	b := make([]byte, requestSize)
	binary.NativeEndian.PutUint16(b[16:], 9)
	_, err := answer(b, 7)
	require.ErrorIs(t, err, ErrNotFound)
}

// hypervisor is one that takes one version of the interface.
type hypervisor struct {
	version uint32
	err     error // its answer to the right version
	calls   int
}

func (h *hypervisor) ask(version uint32, domid uint16) (Info, error) {
	h.calls++
	if version != h.version {
		return Info{}, fmt.Errorf("domctl: domain %d: %w", domid, unix.EACCES)
	}
	return Info{Domid: domid}, h.err
}

func TestInterfaceVersion(t *testing.T) {
	for name, tt := range map[string]struct {
		xen   hypervisor
		err   error
		known interfaceVersion
	}{
		"Xen 4.17":                 {xen: hypervisor{version: 21}, known: 21},
		"the oldest":               {xen: hypervisor{version: firstVersion}, known: firstVersion},
		"the newest":               {xen: hypervisor{version: lastVersion}, known: lastVersion},
		"no such domain":           {xen: hypervisor{version: 22, err: ErrNotFound}, err: ErrNotFound, known: 22},
		"an error says nothing":    {xen: hypervisor{version: 22, err: unix.EPERM}, err: unix.EPERM},
		"interrupted says nothing": {xen: hypervisor{version: 22, err: unix.EINTR}, err: unix.EINTR},
	} {
		t.Run(name, func(t *testing.T) {
			var v interfaceVersion
			_, err := v.info(3, tt.xen.ask)
			require.ErrorIs(t, err, tt.err)
			assert.Equal(t, tt.known, v)
			before := tt.xen.calls
			_, err = v.info(3, tt.xen.ask)
			require.ErrorIs(t, err, tt.err)
			if tt.known != 0 {
				assert.Equal(t, before+1, tt.xen.calls, "the second question needs no search")
			}
		})
	}
}

func TestNoVersionFits(t *testing.T) {
	var v interfaceVersion
	_, err := v.info(3, (&hypervisor{version: lastVersion + 1}).ask)
	require.EqualError(t, err, "domctl: the hypervisor takes none of the interface versions 8 to 40")
	assert.Zero(t, v)
}

func TestOpenWithoutXen(t *testing.T) {
	c, err := Open()
	if _, missing := os.Stat("/dev/xen/privcmd"); missing == nil {
		require.NoError(t, err, "this machine is a Xen control domain")
		require.NoError(t, c.Close())
		return
	}
	require.ErrorIs(t, err, ErrNoXen)
}
