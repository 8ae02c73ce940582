// Package ask is what vif-plug says to vifplugd: one question over a Unix socket, in the fewest system calls and imports, since libxl waits
// for the process and starting one is most of its cost.
//
// The question is a plain HTTP request of the control API (docs/api.md), POST /v1/hotplug, answered in plain text.
package ask
