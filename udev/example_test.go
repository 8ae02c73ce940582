package udev_test

import (
	"fmt"

	"vifplug/udev"
)

func ExampleParse() {
	event, err := udev.Parse([]byte("online@/devices/vif-5-0\x00ACTION=online\x00DEVPATH=/devices/vif-5-0\x00" +
		"SUBSYSTEM=xen-backend\x00XENBUS_PATH=backend/vif/5/0\x00vif=vif5.0\x00SEQNUM=2211\x00"))
	if err != nil {
		fmt.Println(err)
		return
	}
	front, device, ok := event.Backend()
	fmt.Println(event.Action, event.SysName(), front, device, ok)
	// Output: online vif-5-0 5 0 true
}
