package main

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge/host"
	"vifplug/bridge/network"
	"vifplug/hotplug"
	"vifplug/hotplug/control"
	"vifplug/hotplug/paths"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.Local)

var missing = &hotplug.Reason{Code: hotplug.CodeBridgeMissing, Cause: "the bridge xenbr9 does not exist", Remedy: "Create the bridge."}

var web, db = hotplug.Domain{ID: 5, UUID: "aaaa", Name: "web01"}, hotplug.Domain{ID: 12}

// nics are one that is fine and one that is not, of a guest without a name.
func nics() []hotplug.NICStatus {
	return []hotplug.NICStatus{
		{
			VIF: "vif5.0", Domain: web, State: hotplug.Plugged, Since: noon.Add(-3 * time.Hour), Notes: []string{"vif-bridge acts on it too"},
			Backend: &hotplug.BackendStatus{State: 4, StateName: "Connected", Online: true, Bridge: "xenbr0", MAC: "00:16:3e:00:05:00", HotplugStatus: "connected"},
			Link:    &hotplug.LinkStatus{Name: "web-front", Index: 7, MTU: 1400, Up: true, Bridge: "xenbr0"},
			Path:    &paths.State{Path: paths.Bridge, Wanted: paths.Auto, Guard: paths.MAC, Mode: "tcx", Dropped: 7, Reason: "no shortcut: the port is isolated", Advice: "Turn it off."},
		},
		{VIF: "vif12.10", Domain: db, Device: 10, State: hotplug.Failed, Since: noon, Reason: missing},
	}
}

func TestPrintStatus(t *testing.T) {
	var out strings.Builder
	st := control.Status{NICs: nics()}
	st.Daemon.Online = true
	printStatus(&out, st, noon)
	assert.Equal(t, `VIF       GUEST  STATE    NETDEV     BRIDGE  MAC                MTU   PATH    SINCE
vif5.0    web01  plugged  web-front  xenbr0  00:16:3e:00:05:00  1400  bridge  3h
    note: vif-bridge acts on it too
    path bridge: no shortcut: the port is isolated
vif12.10  12     failed   -          -       -                  -     -       now
    the bridge xenbr9 does not exist. Create the bridge.
advice: Turn it off.
`, out.String())
}

func TestPrintStatusWithoutStore(t *testing.T) {
	var out strings.Builder
	printStatus(&out, control.Status{Daemon: control.Daemon{Store: "dev:/dev/xen/xenbus"}}, noon)
	assert.Equal(t, "xenstore does not answer: what follows is how things were; NICs stay as they are until it is back\n"+
		"no guest NICs (xenstore at dev:/dev/xen/xenbus)\n", out.String())
}

func TestMatching(t *testing.T) {
	for what, want := range map[string]int{"vif5.0": 1, "web-front": 1, "web01": 1, "5": 1, "12": 1, "vif12.10": 1, "vif12.1": 0, "1": 0, "web": 0} {
		assert.Len(t, matching(nics(), what), want, what)
	}
}

func TestPrintExplanation(t *testing.T) {
	var out strings.Builder
	x := hotplug.Explanation{NICStatus: nics()[0], Runs: []hotplug.Run{{
		Time: noon, Observed: "state 2, no bridge", Observe: 1500 * time.Microsecond, Decided: hotplug.Failed, Reason: missing,
		Steps: []hotplug.StepRun{{Text: "put on xenbr9", Took: 1234567 * time.Nanosecond, Error: "no such device"}},
	}}}
	x.Reason = missing
	printExplanation(&out, x, noon)
	assert.Equal(t, `vif5.0: eth0 of guest web01 (5), plugged since 2026-11-23 09:00:00 (3h)
  why: the bridge xenbr9 does not exist
  do:  Create the bridge.
  note: vif-bridge acts on it too
  backend: state 4 Connected, online true, bridge xenbr0, guest MAC 00:16:3e:00:05:00, script -, hotplug-status "connected"
  netdev:  web-front (index 7), up true, MTU 1400, on xenbr0
  path:    bridge: no shortcut: the port is isolated
  guard:   frames from other source addresses than the NIC's own are dropped (tcx); 7 were
  advice:  Turn it off.

12:00:00.000000
  saw      state 2, no bridge (1.5ms)
  decided  failed
  did      put on xenbr9 (1.235ms)
  failed   no such device
  because  the bridge xenbr9 does not exist
  do       Create the bridge.
`, out.String())
}

func TestEventLine(t *testing.T) {
	for want, e := range map[string]hotplug.Event{
		"12:00:00.000  domain.created   domain 5 web01 aaaa":                       {Kind: hotplug.DomainCreated, Domain: web},
		"12:00:00.000  domain.crashed   domain 12: watchdog":                       {Kind: hotplug.DomainCrashed, Domain: db, Detail: "watchdog"},
		"12:00:00.000  nic.plugged      vif5.0 domain 5 web01 bridge xenbr0: up":   {Kind: hotplug.NICPlugged, Domain: web, VIF: "vif5.0", Netdev: "vif5.0", Bridge: "xenbr0", Detail: "up"},
		"12:00:00.000  nic.back         vif5.0 (front) domain 5 web01":             {Kind: hotplug.NICBack, Domain: web, VIF: "vif5.0", Netdev: "front"},
		"12:00:00.000  nic.failed       vif5.0 domain 5 web01: " + missing.Error(): {Kind: hotplug.NICFailed, Domain: web, VIF: "vif5.0", Reason: missing},
		"12:00:00.000  network.lost     network guests: 4B: the bridge is missing": {
			Kind: hotplug.NetworkLost, Netdev: "4B", Network: "guests", Detail: "4B: the bridge is missing",
		},
		"12:00:00.000  network.failed   bond0: no such device":                               {Kind: hotplug.NetworkFailed, Netdev: "bond0", Detail: "no such device"},
		"12:00:00.000  network.failed   network guests 4B: no such file":                     {Kind: hotplug.NetworkFailed, Netdev: "4B", Network: "guests", Detail: "no such file"},
		"12:00:00.000  apply.done       the declaration holds":                               {Kind: hotplug.ApplyDone, Detail: "the declaration holds"},
		"12:00:00.000  overrun          7 events are missing here: this reader was too slow": {Kind: hotplug.Overrun, Lost: 7},
	} {
		e.Time = noon
		assert.Equal(t, want, eventLine(e))
	}
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "now", 0: "now", 999 * time.Millisecond: "now", time.Second: "1s", 59 * time.Second: "59s", time.Minute: "1m",
		59 * time.Minute: "59m", time.Hour: "1h", 47 * time.Hour: "47h", 48 * time.Hour: "2d", 1000 * time.Hour: "41d",
	} {
		assert.Equal(t, want, age(d), d)
	}
}

// Colours are for terminals alone, and only where nobody minds. They do not move the columns.
func TestColours(t *testing.T) {
	terminal, err := os.OpenFile("/dev/null", os.O_WRONLY, 0) // a character device, as a terminal is
	require.NoError(t, err)
	stdout := os.Stdout
	t.Cleanup(func() {
		os.Stdout = stdout
		assert.NoError(t, terminal.Close())
	})
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	file, err := os.Create(t.TempDir() + "/f")
	require.NoError(t, err)
	os.Stdout = file
	assert.Equal(t, "failed", paint(hotplug.Failed), "a file")
	require.NoError(t, file.Close())

	os.Stdout = terminal
	assert.Equal(t, "\x1b[31mfailed\x1b[0m", paint(hotplug.Failed))
	assert.Equal(t, "\x1b[32mplugged\x1b[0m", paint(hotplug.Plugged))
	assert.Equal(t, "\x1b[33mready\x1b[0m", paint(hotplug.Ready))
	lines := table{{"STATE", "X"}, {paint(hotplug.Plugged), "1"}, {paint(hotplug.Seen), ""}}.lines()
	assert.Equal(t, []string{"STATE    X", "\x1b[32mplugged\x1b[0m  1", "\x1b[33mseen\x1b[0m"}, lines)

	t.Setenv("NO_COLOR", "1")
	assert.Equal(t, "failed", paint(hotplug.Failed), "NO_COLOR")
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "dumb")
	assert.Equal(t, "failed", paint(hotplug.Failed), "a terminal that can do nothing")
}

func TestTimesAndCounts(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Minute: "60s", 2 * time.Minute: "2m", 90 * time.Second: "1m30s", time.Hour: "1h0m", 45 * time.Second: "45s", 300 * time.Millisecond: "300ms",
	} {
		assert.Equal(t, want, spell(d))
		again, err := time.ParseDuration(spell(d))
		require.NoError(t, err)
		assert.Equal(t, d, again, "as --confirm takes it")
	}
	assert.Equal(t, []string{"0 steps", "1 step", "9 steps"}, []string{count(0, "step"), count(1, "step"), count(9, "step")})
}

// What a program reads has lists where there is nothing, and the error beside what was done before it.
func TestNetworksJSON(t *testing.T) {
	var out strings.Builder
	require.NoError(t, printJSON(&out, planned(host.Proposal{})))
	assert.NotContains(t, out.String(), "null")
	out.Reset()
	require.NoError(t, printJSON(&out, resultOf(host.Result{Confirm: time.Second}, errors.New("no"))))
	assert.NotContains(t, out.String(), "null")
	assert.Contains(t, out.String(), `"error": "no"`)
	assert.Contains(t, out.String(), `"confirm": 1000000000`)
}

func TestPlanInWords(t *testing.T) {
	step := network.Step{Op: network.OpDelete, Device: "4B", Create: &network.Create{Kind: "bridge"}, Reason: "it is no longer declared"}
	for want, p := range map[string]network.Plan{
		"":                      {},
		"note: stays\n":         {Notes: []string{"stays"}},
		"  1  " + step.String(): {Steps: []network.Step{step}},
		"This touches server-management: because. vifctl apply undoes everything unless vifctl confirm comes within 60s.\n": {Steps: []network.Step{step}, Management: "because"},
		"This would cut off server-management: because. vifctl apply refuses it without --force.\n":                         {Steps: []network.Step{step}, Management: "x", Cuts: "because"},
	} {
		var out strings.Builder
		printPlan(&out, host.Proposal{Plan: p})
		assert.Contains(t, out.String(), want)
		assert.Equal(t, len(p.Steps) == 0 && len(p.Notes) == 0, out.String() == "", out.String())
	}
}
