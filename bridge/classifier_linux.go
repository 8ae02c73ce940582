package bridge

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Classifiers reads what tc and XDP have on one link, at a cost that does not grow with the host. A link that is gone is ErrNotFound.
//
// That there is a clsact or ingress qdisc without filters is not told: it does nothing, and only a list of the whole host's would say so (the
// question for one link's is, before Linux 6.8, an event to everybody who listens to tc).
func (c *Conn) Classifiers(index int) (Classifiers, error) {
	object := strconv.Itoa(index)
	msg, err := c.linkMessage(index)
	if err != nil {
		return Classifiers{}, fail("read tc of link", object, err)
	}
	var out Classifiers
	out.link(msg)
	for _, parent := range []uint32{atIngress, atEgress} {
		found, err := c.filters(index, parent)
		if err == nil && parent == atEgress && len(found) > 0 {
			found, err = c.atEgressAlone(index, found)
		}
		if err != nil {
			return Classifiers{}, fail("read tc of link", object, err)
		}
		out.Filters = append(out.Filters, found...)
	}
	return out, nil
}

// atEgressAlone tells an ingress qdisc, which has no egress but says of any place what it has at ingress, from clsact, which knows two places
// (linux: net/sched/sch_ingress.c ingress_find, clsact_find).
func (c *Conn) atEgressAlone(index int, found []Filter) ([]Filter, error) {
	anywhere, err := c.filters(index, nowhere)
	if err != nil || len(anywhere) > 0 {
		return nil, err
	}
	return found, nil
}

// filters lists the filters of a link at ingress or egress, in the order in which they are gone through.
func (c *Conn) filters(index int, parent uint32) (out []Filter, err error) {
	msgs, err := c.dump(unix.RTM_GETTFILTER, tcRequest(index, parent, 0, 0))
	if err != nil {
		return nil, err
	}
	for _, m := range msgs {
		if f, ok := decodeFilter(m, index); ok {
			f.Egress = parent == atEgress
			out = append(out, f)
		}
	}
	return out, nil
}

// AttachClassifier has a program (of type sched_cls, by descriptor) see every frame that comes in at a link, by a clsact qdisc, which is made
// where none is, and a filter of kind bpf that decides itself. One of ours that is there already is replaced, and no frame sees neither. The
// name begins with [ClassifierPrefix]. Errors: ErrNotFound, the link is gone; ErrExists, a stranger's filter is in its place;
// ErrUnsupported, the kernel has no clsact or no bpf filter (modules sch_ingress, cls_bpf).
func (c *Conn) AttachClassifier(index, progFD int, name string) error {
	object := strconv.Itoa(index)
	if !strings.HasPrefix(name, ClassifierPrefix) {
		return fail("attach classifier to link", object, fmt.Errorf("the name %q does not begin with %q: %w", name, ClassifierPrefix, ErrInvalid))
	}
	if err := c.clsact(index); err != nil {
		return fail("add qdisc clsact to link", object, err)
	}
	there, found, err := c.inOurPlace(index)
	if err == nil && found && !there.Ours {
		err = errTaken(there)
	}
	if err != nil {
		return fail("attach classifier to link", object, err)
	}
	flags := netlink.Acknowledge | netlink.Create
	if !found {
		flags |= netlink.Excl // somebody may have come in between
	}
	_, err = c.execute(unix.RTM_NEWTFILTER, flags, encodeClassifier(index, progFD, name))
	return fail("attach classifier to link", object, err)
}

// clsact makes the qdisc that has filters at ingress and egress. One that is there, or an ingress qdisc, which does as well, is left alone.
func (c *Conn) clsact(index int) error {
	if index <= 0 {
		return unix.ENODEV
	}
	req := appendString(tcRequest(index, clsactParent, clsactHandle, 0), tcaKind, "clsact")
	_, err := c.execute(unix.RTM_NEWQDISC, netlink.Acknowledge|netlink.Create|netlink.Excl, req)
	switch {
	case errors.Is(err, unix.EEXIST):
		return nil
	case errors.Is(err, unix.ENOENT): // the link is there, so the kind is not
		return unix.EOPNOTSUPP
	}
	return err
}

// inOurPlace finds the filter, whosever it is, that has our priority: one priority has filters of one kind only, so that any may be in the way.
func (c *Conn) inOurPlace(index int) (Filter, bool, error) {
	found, err := c.filters(index, atIngress)
	if err != nil {
		return Filter{}, false, err
	}
	i := slices.IndexFunc(found, func(f Filter) bool {
		return f.Chain == 0 && f.Priority == ourPriority && (f.Handle == ourHandle || f.Kind != "bpf")
	})
	if i < 0 {
		return Filter{}, false, nil
	}
	return found[i], true, nil
}

// DetachClassifier removes a classifier that AttachClassifier attached under that name. It is nil where there is none, or no link any more.
//
// The clsact qdisc stays: nothing about it tells who made it, and whoever is about to add a filter would find it gone. Empty, it lets every
// frame through; it goes with its link.
func (c *Conn) DetachClassifier(index int, name string) error {
	object := strconv.Itoa(index)
	there, found, err := c.inOurPlace(index)
	if err != nil {
		return fail("detach classifier from link", object, err)
	}
	if !found || !there.Ours || there.Name != name {
		return nil
	}
	req := appendString(tcRequest(index, atIngress, ourHandle, filterInfo(ourPriority, unix.ETH_P_ALL)), tcaKind, "bpf")
	_, err = c.execute(unix.RTM_DELTFILTER, netlink.Acknowledge, req)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return fail("detach classifier from link", object, err)
}
