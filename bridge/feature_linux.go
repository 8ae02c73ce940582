package bridge

import (
	"encoding/binary"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The device's features are bits whose places differ between kernels; their names do not (linux: net/ethtool/common.c netdev_features_strings).
const (
	featureSet  = 4  // ETH_SS_FEATURES
	featureName = 32 // ETH_GSTRING_LEN, in bytes
)

// leftForLater says that a feature lets a frame leave unfinished in a way for which ethtool has no request of its own: a VLAN tag stands beside it,
// or it is to be segmented (by UDP, SCTP, tunnels...).
func leftForLater(name string) bool {
	return strings.HasPrefix(name, "tx-vlan-") || strings.HasPrefix(name, "tx-") && strings.HasSuffix(name, "-segmentation") || name == "tx-gso-list"
}

// featuresOff switches those of a device's features off that the function picks, as far as the device has them.
func featuresOff(fd int, name Name, pick func(string) bool) error {
	names, err := featureNames(fd, name)
	if err != nil {
		return err
	}
	words := (len(names) + 31) / 32
	b := make([]byte, 8+8*words) // struct ethtool_sfeatures: command, words; for each the bits that are meant, and what they shall be
	binary.NativeEndian.PutUint32(b, unix.ETHTOOL_SFEATURES)
	binary.NativeEndian.PutUint32(b[4:], uint32(words))
	for i, n := range names {
		if pick(n) {
			b[8+8*(i/32)+byteOf(i%32)] |= 1 << (i % 8)
		}
	}
	return ethtool(fd, name, b)
}

// byteOf is where in a word of this machine's the byte with a bit lies.
func byteOf(bit int) int {
	word := make([]byte, 4)
	binary.NativeEndian.PutUint32(word, 1<<bit)
	return slices.IndexFunc(word, func(b byte) bool { return b != 0 })
}

// featureNames are the names by their bits.
func featureNames(fd int, name Name) ([]string, error) {
	info := make([]byte, 20) // struct ethtool_sset_info: command, reserved, mask of sets, length of each
	binary.NativeEndian.PutUint32(info, unix.ETHTOOL_GSSET_INFO)
	binary.NativeEndian.PutUint64(info[8:], 1<<featureSet)
	if err := ethtool(fd, name, info); err != nil {
		return nil, err
	}
	n := int(binary.NativeEndian.Uint32(info[16:]))
	if n > 1024 {
		return nil, unix.EMSGSIZE
	}
	b := make([]byte, 12+featureName*n) // struct ethtool_gstrings
	binary.NativeEndian.PutUint32(b, unix.ETHTOOL_GSTRINGS)
	binary.NativeEndian.PutUint32(b[4:], featureSet)
	binary.NativeEndian.PutUint32(b[8:], uint32(n))
	if err := ethtool(fd, name, b); err != nil {
		return nil, err
	}
	var out []string
	for at := range slices.Chunk(b[12:], featureName) {
		out = append(out, text(at))
	}
	return out, nil
}

// ethtool makes one request, whose answer takes its place.
func ethtool(fd int, name Name, b []byte) error {
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [24 - unsafe.Sizeof(uintptr(0))]byte
	}{data: unsafe.Pointer(&b[0])}
	if len(name) >= len(request.name) {
		return unix.ENODEV
	}
	copy(request.name[:], name)
	_, _, no := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	runtime.KeepAlive(b)
	if no != 0 {
		return no
	}
	return nil
}
