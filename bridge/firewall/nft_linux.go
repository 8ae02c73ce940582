package firewall

import (
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

var (
	errMalformed = errors.New("firewall: a message of nfnetlink is malformed")
	errChanging  = errors.New("the rules kept changing while they were read")
)

// readings bounds how often rules that change meanwhile are read.
const readings = 20

// readNFT lists the base chains of nftables. A kernel without nftables has none.
func readNFT() ([]Hook, error) {
	nl, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out, err := readChains(nl)
	return out, errors.Join(err, nl.Close())
}

// readChains reads until what it has read is of one generation of the rules.
func readChains(nl *netlink.Conn) ([]Hook, error) {
	for range readings {
		before, err := generation(nl)
		if errors.Is(err, unix.EINVAL) { // no such part of nfnetlink (linux: net/netfilter/nfnetlink.c nfnetlink_rcv_msg)
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		out, err := chains(nl)
		if err != nil {
			return nil, err
		}
		after, err := generation(nl)
		if err != nil {
			return nil, err
		}
		if before == after {
			return out, nil
		}
	}
	return nil, errChanging
}

// generation is a number that every change of the rules makes another one.
func generation(nl *netlink.Conn) (id uint32, err error) {
	msgs, err := ask(nl, unix.NFT_MSG_GETGEN, 0)
	if err != nil {
		return 0, err
	}
	for _, m := range msgs {
		ad, _, err := attributes(m.Data)
		if err != nil {
			return 0, err
		}
		for ad.Next() {
			if ad.Type() == unix.NFTA_GEN_ID {
				id = ad.Uint32()
			}
		}
		if err := ad.Err(); err != nil {
			return 0, err
		}
	}
	return id, nil
}

func chains(nl *netlink.Conn) ([]Hook, error) {
	tables, err := ask(nl, unix.NFT_MSG_GETTABLE, netlink.Dump)
	if err != nil {
		return nil, err
	}
	asleep := map[table]bool{}
	for _, m := range tables {
		t, dormant, err := decodeDormant(m.Data)
		if err != nil {
			return nil, err
		}
		asleep[t] = dormant
	}
	msgs, err := ask(nl, unix.NFT_MSG_GETCHAIN, netlink.Dump)
	if err != nil {
		return nil, err
	}
	var out []Hook
	for _, m := range msgs {
		h, ok, err := decodeChain(m.Data)
		if err != nil {
			return nil, err
		}
		if ok && h.Table != Own && !asleep[table{m.Data[0], h.Table}] {
			out = append(out, h)
		}
	}
	return out, nil
}

// ask puts a question about all families to nftables.
func ask(nl *netlink.Conn, kind int, flags netlink.HeaderFlags) ([]netlink.Message, error) {
	msgs, err := nl.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind), Flags: netlink.Request | flags},
		Data:   make([]byte, nfgenmsg), // NFPROTO_UNSPEC
	})
	if err != nil {
		return nil, fmt.Errorf("ask nftables: %w", err)
	}
	return msgs, nil
}
