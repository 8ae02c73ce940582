package machine

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestArgs holds the whole command line, one option a line, as a person would read it.
func TestArgs(t *testing.T) {
	c := Config{Xen: "/c/xen", Kernel: "/c,d/vmlinux", Initrd: "/proc/self/fd/7"}
	want := `
-nodefaults
-no-user-config
-display none
-no-reboot
-accel tcg,thread=multi
-cpu qemu64,+svm,+npt
-smp 2
-m 2048
-kernel /c/xen
-append dom0_mem=1024M,max:1024M console=com1 com1=115200,8n1 loglvl=warning guest_loglvl=warning edid=no
-initrd /c,,d/vmlinux console=hvc0 quiet rodata=off mitigations=off apparmor=0 audit=0 cryptomgr.notests=1 ,/proc/self/fd/7
-chardev socket,id=console,fd=3
-serial chardev:console
-device virtio-serial-pci,disable-legacy=on,iommu_platform=on,max_ports=4
-chardev socket,id=port0,fd=4
-device virtserialport,chardev=port0,name=vifplug.out,nr=1
-chardev socket,id=port1,fd=5
-device virtserialport,chardev=port1,name=vifplug.err,nr=2
-chardev socket,id=port2,fd=6
-device virtserialport,chardev=port2,name=vifplug.control,nr=3`
	assert.Equal(t, want, lines(c.Args()))
}

func TestArgsWithWishes(t *testing.T) {
	got := lines(Config{Xen: "x", Kernel: "k", Initrd: "i", Memory: 3000, Dom0: 1500, CPUs: 4, KernelArgs: "a=1,2"}.Args())
	for _, want := range []string{"\n-m 3000\n", "dom0_mem=1500M,max:1500M", "\n-smp 4\n", " a=1,,2,i\n"} {
		assert.Contains(t, got, want)
	}
}

// lines puts each option on a line of its own.
func lines(args []string) string {
	var b strings.Builder
	for _, a := range args {
		if strings.HasPrefix(a, "-") {
			b.WriteString("\n" + a)
		} else {
			b.WriteString(" " + a)
		}
	}
	return b.String()
}
