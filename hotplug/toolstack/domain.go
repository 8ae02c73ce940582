package toolstack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"vifplug/bridge"
	"vifplug/bridge/network"
	"vifplug/hotplug"
	"vifplug/xenstore"
)

// guest is a domain that may have NICs.
type guest struct {
	id   xenstore.DomID
	name string
}

// guests are the live domains but this one.
func (t *Toolstack) guests(ctx context.Context) ([]guest, error) {
	store := t.host.Store()
	ids, err := directory32(ctx, store, "/local/domain")
	if err != nil {
		return nil, fmt.Errorf("list the guests: %w", err)
	}
	ops := make([]xenstore.Op, 0, 2*len(ids))
	for _, id := range ids {
		ops = append(ops, xenstore.ReadOp(fmt.Sprintf("/local/domain/%d/name", id)), xenstore.IntroducedOp(id))
	}
	res, err := store.Pipeline(ctx, ops...)
	if err != nil {
		return nil, fmt.Errorf("list the guests: %w", err)
	}
	var out []guest
	for i, id := range ids {
		if name, live := res[2*i], res[2*i+1]; id != 0 && id != t.host.Self() && live.Value == "T" {
			out = append(out, guest{id, name.Value})
		}
	}
	return out, nil
}

// directory32 lists a directory of domains. One that is not there has none.
func directory32(ctx context.Context, store *xenstore.Client, path string) (out []xenstore.DomID, err error) {
	names, err := store.Directory(ctx, path)
	if err != nil && !errors.Is(err, xenstore.ENOENT) {
		return nil, err
	}
	for _, n := range names {
		if id, err := xenstore.ParseDomID(n); err == nil {
			out = append(out, id)
		}
	}
	return out, nil
}

// guest finds a domain by its id or, where the text is no number, by its name.
func (t *Toolstack) guest(ctx context.Context, text string) (guest, error) {
	all, err := t.guests(ctx)
	if err != nil {
		return guest{}, err
	}
	id, notNumber := xenstore.ParseDomID(text)
	if notNumber == nil && (id == 0 || id == t.host.Self()) || text == "Domain-0" {
		return guest{}, argument("domain %s is this host itself: NICs are for guests", text)
	}
	var found []guest
	var names, ids []string
	for _, g := range all {
		if notNumber == nil && g.id == id || notNumber != nil && g.name == text && text != "" {
			found, ids = append(found, g), append(ids, fmt.Sprint(g.id))
		}
		if g.name != "" {
			names = append(names, g.name)
		}
	}
	switch near := network.Nearest(text, names); {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return guest{}, argument("%d guests are called %q: say which by its id: %s", len(found), text, strings.Join(ids, ", "))
	case notNumber == nil:
		return guest{}, unknown("no guest has the id %s. See vifctl status or xl list", text)
	case near != "":
		return guest{}, unknown("no guest is called %q. Did you mean %s?", text, near)
	default:
		return guest{}, unknown("no guest is called %q: none is running", text)
	}
}

// Guest finds a running guest by its id or, where the text is no number, by its name.
func (t *Toolstack) Guest(ctx context.Context, text string) (hotplug.Domain, error) {
	g, err := t.guest(ctx, text)
	return hotplug.Domain{ID: uint16(g.id), Name: g.name}, err
}

// addresses are the MAC addresses of the host's NICs, each with whose it is: of all backends here, and of all that libxl knows of, which may be in
// driver domains.
func (t *Toolstack) addresses(ctx context.Context) (map[string]string, error) {
	store := t.host.Store()
	out := map[string]string{}
	backends := fmt.Sprintf("/local/domain/%d/backend/vif", t.host.Self())
	for _, root := range []struct{ dir, below string }{{backends, ""}, {"/libxl", "/device/vif"}} {
		ids, err := directory32(ctx, store, root.dir)
		if err != nil {
			return nil, fmt.Errorf("list the NICs: %w", err)
		}
		lists := make([]xenstore.Op, len(ids))
		for i, id := range ids {
			lists[i] = xenstore.DirectoryOp(fmt.Sprintf("%s/%d%s", root.dir, id, root.below))
		}
		devices, err := store.Pipeline(ctx, lists...)
		if err != nil {
			return nil, fmt.Errorf("list the NICs: %w", err)
		}
		var reads []xenstore.Op
		var whose []string
		for i, id := range ids {
			for _, dev := range devices[i].List {
				reads = append(reads, xenstore.ReadOp(fmt.Sprintf("%s/%d%s/%s/mac", root.dir, id, root.below, dev)))
				whose = append(whose, fmt.Sprintf("vif%d.%s", id, dev))
			}
		}
		macs, err := store.Pipeline(ctx, reads...)
		if err != nil {
			return nil, fmt.Errorf("list the NICs: %w", err)
		}
		for i, m := range macs {
			if m.Err == nil {
				out[strings.ToLower(m.Value)] = whose[i]
			}
		}
	}
	return out, nil
}

// pick chooses the NIC's address: the one that is asked for, where nobody has it, else one of Xen's at random.
func pick(asked string, taken map[string]string) (string, error) {
	if whose := taken[asked]; whose != "" {
		return "", argument("MAC %s is that of %s: two NICs with one address would take each other's frames", asked, whose)
	}
	for asked == "" || taken[asked] != "" {
		mac := bridge.MAC{0x00, 0x16, 0x3e} // Xen's own range (xen: xl-network-configuration(5))
		_, _ = rand.Read(mac[3:])           // never fails
		asked = mac.String()
	}
	return asked, nil
}
