package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// roles are the roles by their bits, and what each carries: half a sentence for documents and errors.
var roles = []struct{ name, text string }{
	{"server-management", "the manager's traffic to the host's agent; exactly one network has it"},
	{"cluster-heartbeat", "the pool's heartbeat; the first network with it counts"},
	{"live-migrate", "guests' memory between hosts"},
	{"storage", "NFS, iSCSI or anything else"},
	{"virtual-machine", "guests among themselves and with the outside; the network gets a bridge"},
}

// RoleNames are the names of all roles, in the order of their bits.
func RoleNames() []string {
	out := make([]string, len(roles))
	for i, r := range roles {
		out[i] = r.name
	}
	return out
}

// ErrRole says that a text is no role.
var ErrRole = errors.New("is no role")

// ParseRole reads one role's name.
func ParseRole(s string) (Roles, error) {
	for i, r := range roles {
		if r.name == s {
			return 1 << i, nil
		}
	}
	return 0, fmt.Errorf("%w. Did you mean %s?", ErrRole, Nearest(s, RoleNames()))
}

// List gives the roles' names, in the order of their bits; empty, not nil, where there is none.
func (r Roles) List() []string {
	out := []string{}
	for i, x := range roles {
		if r.Has(1 << i) {
			out = append(out, x.name)
		}
	}
	return out
}

// String lists the roles: "server-management, storage".
func (r Roles) String() string { return strings.Join(r.List(), ", ") }

// MarshalJSON gives a list of names.
func (r Roles) MarshalJSON() ([]byte, error) { return json.Marshal(r.List()) }

// UnmarshalJSON reads a list of names.
func (r *Roles) UnmarshalJSON(b []byte) error {
	var names []string
	if err := json.Unmarshal(b, &names); err != nil {
		return err
	}
	var out Roles
	for _, n := range names {
		one, err := ParseRole(n)
		if err != nil {
			return fmt.Errorf("%q %w", n, err)
		}
		out |= one
	}
	*r = out
	return nil
}
