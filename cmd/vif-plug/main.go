// Command vif-plug is what Xen's toolstack and udev execute for each guest NIC: vif-plug online|offline|add|remove [type_if=vif|tap].
//
// It asks vifplugd over its Unix socket and waits at most 35 s, within libxl's 40. Where no daemon runs it becomes one for this NIC alone: the
// process goes on as `vifplugd --once`, the same code. It exits with 0 when the NIC is as asked, else with 1 and the reason on stderr and in
// the backend node's hotplug-error.
//
// It imports next to nothing, since libxl waits for its start: each package that it linked would cost page faults on every NIC.
package main

import (
	"errors"
	"os"
	"time"

	"vifplug/hotplug/ask"
)

const (
	// patience ends before libxl's 40 s (xen: libxl_internal.h LIBXL_HOTPLUG_TIMEOUT), so that the reason still reaches the log.
	patience      = 35 * time.Second
	defaultSocket = "/run/vifplug/control.sock"
)

func main() {
	deadline := time.Now().Add(patience)
	args := os.Args[1:]
	if len(args) == 1 && (args[0] == "-h" || args[0] == "--help" || args[0] == "help") {
		os.Stdout.WriteString(usage) //nolint:errcheck // nobody reads
		return
	}
	inv, err := ask.Parse(args, os.Getenv)
	if err != nil {
		os.Exit(complain(err, 2))
	}
	if inv.Nothing() {
		return // as the scripts do for what is not theirs, succeed silently
	}
	socket := os.Getenv("VIFPLUG_SOCKET")
	if socket == "" {
		socket = defaultSocket
	}
	err = ask.Ask(socket, inv, deadline)
	switch refused := (*ask.Refused)(nil); {
	case err == nil:
		return
	case errors.Is(err, ask.ErrNoDaemon):
		err = alone(inv.Command, inv, deadline, "")
	case !errors.As(err, &refused): // the daemon has not told the node
		complain(err, 1)
		command := "error"
		if inv.Type == "tap" {
			command = "tap-error"
		}
		err = alone(command, inv, deadline, err.Error())
	}
	os.Exit(complain(err, 1))
}

func complain(err error, code int) int {
	os.Stderr.WriteString("vif-plug: " + trimmed(err.Error()) + "\n") //nolint:errcheck // nobody reads
	return code
}

// trimmed drops the program's name where the error begins with it.
func trimmed(s string) string {
	const name = "vif-plug: "
	if len(s) > len(name) && s[:len(name)] == name {
		return s[len(name):]
	}
	return s
}

const usage = `vif-plug puts a Xen guest's NIC on its bridge, or takes it off, on behalf of libxl or udev.

Usage:
  vif-plug online|offline type_if=vif     plug or release the NIC of XENBUS_PATH
  vif-plug add|remove type_if=tap         the same for QEMU's tap, which INTERFACE names

You need not run it by hand: say script=vif-plug in a guest's vif line, or vif.default.script="vif-plug" in xl.conf.

Examples:
  vif = [ 'bridge=xenbr0,script=vif-plug' ]                             # in a guest's configuration
  XENBUS_PATH=backend/vif/5/0 vif=vif5.0 vif-plug online type_if=vif    # by hand, for the NIC vif5.0

Environment:
  XENBUS_PATH      backend/vif/DOMID/DEVID, set by libxl and udev
  INTERFACE        a tap's name, vifDOMID.DEVID-emu or tapDOMID.DEVID, where there is no XENBUS_PATH
  VIFPLUG_SOCKET   the daemon's socket (default ` + defaultSocket + `)
  VIFPLUG_CONFIG   the configuration's directory, where no daemon runs (default /etc/vifplug)
  XENSTORED_PATH   the store's socket, where no daemon runs

Exit status: 0 done, 1 not done (the reason is on stderr and in hotplug-error), 2 wrong arguments or environment.
`
