// Package capture takes down the frames of a guest's NIC as they pass its devices in the host: netback's and QEMU's tap, on whichever path they go.
//
// A frame is seen where it enters the host's network, before any guard and whichever path it takes then, and where it leaves it for the guest. Nothing about the
// devices is changed for that.
package capture
