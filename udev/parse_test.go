package udev

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// online is what netback sends once its netdev is registered, as section 5.1 of the specification lists it.
const online = "online@/devices/vif-5-0\x00ACTION=online\x00DEVPATH=/devices/vif-5-0\x00SUBSYSTEM=xen-backend\x00XENBUS_TYPE=vif\x00" +
	"XENBUS_PATH=backend/vif/5/0\x00XENBUS_BASE_PATH=backend\x00MODALIAS=xen-backend:vif\x00script=/etc/xen/scripts/vif-plug\x00" +
	"vif=vif5.0\x00SEQNUM=2211\x00"

const loop = "add@/devices/virtual/net/lo\x00ACTION=add\x00DEVPATH=/devices/virtual/net/lo\x00SUBSYSTEM=net\x00SYNTH_UUID=0\x00" +
	"INTERFACE=lo\x00IFINDEX=1\x00SEQNUM=7\x00"

func TestParse(t *testing.T) {
	e, err := Parse([]byte(online))
	require.NoError(t, err)
	assert.Equal(t, "online", e.Action)
	assert.Equal(t, "/devices/vif-5-0", e.DevPath)
	assert.Equal(t, "xen-backend", e.Subsystem)
	assert.Equal(t, map[string]string{
		"ACTION": "online", "DEVPATH": "/devices/vif-5-0", "SUBSYSTEM": "xen-backend", "XENBUS_TYPE": "vif",
		"XENBUS_PATH": "backend/vif/5/0", "XENBUS_BASE_PATH": "backend", "MODALIAS": "xen-backend:vif",
		"script": "/etc/xen/scripts/vif-plug", "vif": "vif5.0", "SEQNUM": "2211",
	}, e.Env)
	front, dev, ok := e.Backend()
	assert.True(t, ok)
	assert.Equal(t, uint16(5), front)
	assert.Equal(t, uint32(0), dev)
}

func TestParseKeepsNothingOfTheBuffer(t *testing.T) {
	b := []byte(online)
	e, err := Parse(b)
	require.NoError(t, err)
	clear(b)
	assert.Equal(t, "vif5.0", e.Env["vif"])
}

// Values are whatever a driver says: only NUL ends them.
func TestParseTakesAnyValue(t *testing.T) {
	e, err := Parse([]byte(strings.Replace(online, "/etc/xen/scripts/vif-plug", "a=b\n\xff \x1b[31m", 1)))
	require.NoError(t, err)
	assert.Equal(t, "a=b\n\xff \x1b[31m", e.Env["script"])
}

func TestParseRefuses(t *testing.T) {
	replace := func(old, now string) string {
		require.Contains(t, online, old)
		return strings.ReplaceAll(online, old, now)
	}
	for name, msg := range map[string]string{
		"empty":                    "",
		"no NUL at the end":        strings.TrimSuffix(online, "\x00"),
		"no header":                online[strings.IndexByte(online, 0)+1:],
		"only NUL":                 "\x00",
		"header alone":             "online@/devices/vif-5-0\x00",
		"unknown action":           replace("online", "ONLINE"),
		"empty action":             replace("online", ""),
		"action differs":           replace("ACTION=online", "ACTION=offline"),
		"path differs":             replace("DEVPATH=/devices/vif-5-0", "DEVPATH=/devices/vif-6-0"),
		"path relative":            replace("/devices/vif-5-0", "devices/vif-5-0"),
		"path climbs":              replace("/devices/vif-5-0", "/devices/../vif-5-0"),
		"path with empty element":  replace("/devices/vif-5-0", "/devices//vif-5-0"),
		"path ends with slash":     replace("/devices/vif-5-0", "/devices/"),
		"path is root":             replace("/devices/vif-5-0", "/"),
		"path with control":        replace("/devices/vif-5-0", "/devices/\n"),
		"path too long":            replace("/devices/vif-5-0", "/"+strings.Repeat("p", maxPath)),
		"no subsystem":             replace("SUBSYSTEM=xen-backend\x00", ""),
		"empty subsystem":          replace("SUBSYSTEM=xen-backend", "SUBSYSTEM="),
		"no sequence number":       replace("SEQNUM=2211\x00", ""),
		"sequence number negative": replace("SEQNUM=2211", "SEQNUM=-1"),
		"sequence number too big":  replace("SEQNUM=2211", "SEQNUM=18446744073709551616"),
		"no assignment":            replace("vif=vif5.0", "vif5.0"),
		"empty key":                replace("vif=vif5.0", "=vif5.0"),
		"blank in key":             replace("vif=vif5.0", "v if=vif5.0"),
		"doubled key":              replace("vif=vif5.0", "vif=vif5.0\x00vif=vif6.0"),
		"doubled path":             replace("vif=vif5.0", "DEVPATH=/devices/vif-6-0"),
		"empty string between":     replace("vif=vif5.0\x00", "\x00"),
		"too many variables":       replace("vif=vif5.0", numbered(maxVars)),
		"too long":                 replace("vif5.0", strings.Repeat("v", MaxMessage)),
		"left over":                online + "x",
	} {
		e, err := Parse([]byte(msg))
		assert.ErrorContains(t, err, "udev: parse uevent: ", name)
		assert.Equal(t, Event{}, e, name)
	}
}

func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat("k", i+1) + "=v\x00")
	}
	return strings.TrimSuffix(b.String(), "\x00")
}

// libudev's frame: "libudev", a NUL, the magic number 0xfeedcafe in network order, sizes and hashes, then the properties.
func TestParseRefusesLibudev(t *testing.T) {
	_, err := Parse([]byte("libudev\x00\xfe\xed\xca\xfe\x28\x00\x00\x00" + online))
	assert.ErrorIs(t, err, ErrLibudev)
}

// encode writes an event as the kernel does: what the fuzz target compares with.
func encode(e Event) []byte {
	b := []byte(e.Action + "@" + e.DevPath + "\x00")
	for _, k := range slices.Sorted(maps.Keys(e.Env)) {
		b = append(b, k+"="+e.Env[k]+"\x00"...)
	}
	return b
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{online, loop, "libudev\x00\xfe\xed\xca\xfe" + online, "@\x00", "add@/a\x00ACTION=add\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Parse(b)
		if err != nil {
			assert.Equal(t, Event{}, e)
			return
		}
		again, err := Parse(encode(e))
		require.NoError(t, err)
		require.Equal(t, e, again)
		e.Backend()
	})
}

// The backend's number comes back as it was printed: no two sysnames mean the same NIC.
func FuzzBackend(f *testing.F) {
	for _, s := range []string{"vif-5-0", "vif-32751-3", "vif-05-0", "vbd-1-51712", "vif-1-0-0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		front, dev, ok := Event{DevPath: "/devices/" + name, Subsystem: "xen-backend"}.Backend()
		if ok {
			require.Equal(t, sysname(front, dev), name[strings.LastIndexByte(name, '/')+1:])
		}
	})
}
