package control

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"vifplug/hotplug"
	"vifplug/hotplug/ask"
	"vifplug/hotplug/rings"
	"vifplug/qemu/xsk"
)

// answerRings makes or removes the port of a NIC whose QEMU is at AF_XDP rings. The socket goes with the answer, which says what QEMU is to be told
// beside its number: the port's name, the device, and the mode.
func (s *Server) answerRings(k hotplug.Key, verb string) (string, []*os.File) {
	if s.opt.Rings == nil {
		return ask.Refusal(errors.New("this vifplugd makes no ports for AF_XDP")), nil
	}
	n := rings.NIC{Domain: uint16(k.Front), Device: k.Device}
	if verb == "delete" {
		name, err := s.opt.Rings.Delete(n)
		if err != nil {
			return ask.Refusal(err), nil
		}
		s.opt.Logger.Info("port for AF_XDP deleted", "vif", k.VIF(), "tap", name)
		return "done " + name + "\n", nil
	}
	p, err := s.opt.Rings.Open(n)
	if err != nil {
		return ask.Refusal(err), nil
	}
	s.opt.Logger.Info("socket of a port for AF_XDP handed over", "vif", k.VIF(), "tap", p.Name, "device", p.Device, "mode", string(p.Mode))
	return fmt.Sprintf("done %s %s %s\n", p.Name, p.Device, p.Mode), []*os.File{p.Socket}
}

// OpenRings has the daemon hand over a socket of a NIC's port for AF_XDP, which it makes if there is none. The port lasts until [Client.DeleteTap],
// or the guest's end. The caller closes the socket.
func (c *Client) OpenRings(ctx context.Context, domain string, device uint32) (*rings.Port, error) {
	answer, files, err := c.tap(ctx, Tap{Domain: domain, Device: device, AFXDP: true}.line("create", true))
	if err != nil {
		return nil, err
	}
	words := strings.Fields(answer)
	if len(words) != 3 || len(files) != 1 {
		closeAll(files)
		return nil, fmt.Errorf("control: an answer of %d words and %d descriptors came where 3 and 1 were due", len(words), len(files))
	}
	return &rings.Port{Name: words[0], Device: words[1], Mode: xsk.Mode(words[2]), Socket: files[0]}, nil
}
