package hotplug

import "fmt"

// Code says why a NIC is not plugged, for programs; [Reason] says it for people.
type Code string

// The reasons that the engine knows. docs/troubleshooting.md has a paragraph on each.
const (
	CodeNodeInvalid   Code = "node-invalid"
	CodeNoBridgeNamed Code = "no-bridge-named"
	CodeBridgeMissing Code = "bridge-missing"
	CodeNotABridge    Code = "not-a-bridge"
	CodeNetdevMissing Code = "netdev-missing"
	CodeBackendWait   Code = "backend-not-ready"
	CodeBackendGone   Code = "backend-gone"
	CodeKernelError   Code = "netback-error"
	CodeNameTaken     Code = "name-taken"
	CodePortElsewhere Code = "port-elsewhere"
	CodeMTUTooBig     Code = "mtu-too-big"
	CodeStep          Code = "step-failed"
	CodeNotKept       Code = "not-kept"
	CodeStore         Code = "store"
	CodeOtherScript   Code = "other-script"
	CodeNetworkRole   Code = "network-role"
	CodeNetworkVLAN   Code = "network-vlan"
	CodeTapMissing    Code = "tap-missing"
	CodeTapUnpaired   Code = "tap-unpaired"
)

// remedies is the one table of what to do next, by code. Each is one sentence.
var remedies = map[Code]string{
	CodeNodeInvalid:   "Correct the vif's line in the guest's configuration and attach the NIC again.",
	CodeNoBridgeNamed: "Say bridge=NAME in the guest's vif line, or set vif.default.bridge in xl.conf.",
	CodeBridgeMissing: "Create the bridge or correct bridge= in the guest's vif line; the NIC is plugged as soon as the bridge is there.",
	CodeNotABridge:    "Name a Linux bridge in the guest's vif line, or a script made for that kind of device.",
	CodeNetdevMissing: "Look for netback's error in the kernel log and load xen-netback; the NIC is plugged as soon as its netdev is there.",
	CodeBackendWait:   "Nothing: netback has not set the device up yet.",
	CodeBackendGone:   "Nothing: the device is being removed.",
	CodeKernelError:   "Look for xen-netback in the kernel log, then detach the NIC and attach it again.",
	CodeNameTaken:     "Choose another vifname; the device that has this name is left alone.",
	CodePortElsewhere: "Take the vif off that bridge (ip link set VIF nomaster); vifplug then puts it on its own.",
	CodeMTUTooBig:     "Lower mtu= in the guest's vif line.",
	CodeStep:          "See the steps by vifctl explain; vifplug tries again on the next change.",
	CodeNotKept:       "Look for another program that manages this device (NetworkManager, systemd-networkd, a hotplug script).",
	CodeStore:         "Check that xenstored runs and that vifplugd may write to it.",
	CodeOtherScript:   "Nothing: that script plugs this NIC. Say script=vif-plug in its vif line to hand it to vifplug.",
	CodeNetworkRole:   "Name another network in the guest's vif line or by vifctl move, or give this one the role and apply.",
	CodeTapMissing:    "Look into QEMU's log (/var/log/xen/qemu-dm-GUEST.log); the tap is plugged as soon as QEMU makes it.",
	CodeTapUnpaired:   "Say type=ioemu in the guest's vif line if QEMU is to emulate this NIC; otherwise nothing.",
	CodeNetworkVLAN:   "Declare vlan-filtering = true for the network and apply, or leave vlan= out of the guest's vif line.",
}

// Reason is why a NIC is not plugged: a code, one sentence of cause, one of remedy. The same text stands in hotplug-error, the journal, the
// event stream and the CLI.
type Reason struct {
	Code   Code   `json:"code"`
	Cause  string `json:"cause"`
	Remedy string `json:"remedy"`
}

func because(c Code, format string, args ...any) *Reason {
	return &Reason{Code: c, Cause: fmt.Sprintf(format, args...), Remedy: remedies[c]}
}

// Error makes a Reason the error that vif-plug prints.
func (r *Reason) Error() string { return r.Cause + ". " + r.Remedy }

func (r *Reason) same(o *Reason) bool {
	if r == nil || o == nil {
		return r == o
	}
	return r.Code == o.Code && r.Cause == o.Cause
}
