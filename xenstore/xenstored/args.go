package xenstored

import (
	"bytes"
	"math"
	"strings"

	"vifplug/xenstore/wire"
)

// splitArgs gives a payload's NUL-terminated strings, and whether something follows the last NUL.
func splitArgs(payload []byte) (args []string, rest bool) {
	i := bytes.LastIndexByte(payload, 0)
	if i >= 0 {
		args = strings.Split(string(payload[:i]), "\x00")
	}
	return args, i+1 < len(payload)
}

// scanNumber reads a number as C's strtol does in base ten: blanks, a sign, digits; rest is what follows.
func scanNumber(s string) (n int64, rest string, ok bool) {
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	negative := strings.HasPrefix(s, "-")
	if negative || strings.HasPrefix(s, "+") {
		s = s[1:]
	}
	i := 0
	for ; i < len(s) && s[i] >= '0' && s[i] <= '9'; i++ {
		if n > (math.MaxInt64-9)/10 {
			n = math.MaxInt64 / 10
		}
		n = n*10 + int64(s[i]-'0')
	}
	if negative {
		n = -n
	}
	return n, s[i:], i > 0
}

// atoi is the number that a text begins with, or 0. The C daemon reads domids, ports and offsets so.
func atoi(s string) uint32 {
	n, _, _ := scanNumber(s)
	return uint32(n)
}

func parsePerms(args []string) ([]perm, error) {
	perms := make([]perm, len(args))
	for i, a := range args {
		if a == "" || !strings.Contains("nrwb", a[:1]) {
			return nil, wire.EINVAL
		}
		n, rest, ok := scanNumber(a[1:])
		if !ok || rest != "" {
			return nil, wire.EINVAL
		}
		perms[i] = perm{letter: a[0], id: domID(n)}
	}
	return perms, nil
}

// pathMax bounds a path, what leads to a domain's home not counted (xen: tools/xenstored/core.c is_valid_nodename).
const pathMax = 2048

// absolute puts the domain's home before a relative path.
func (d *domain) absolute(p string) string {
	if strings.HasPrefix(p, "/") || strings.HasPrefix(p, "@") {
		return p
	}
	return d.home() + "/" + p
}

// nodePath makes a path absolute that must be able to name a node.
func (d *domain) nodePath(p string) (string, error) {
	p = d.absolute(p)
	if p[0] != '/' || len(p) > homeLen(p)+pathMax || wire.CheckPath(p) != nil {
		return "", wire.EINVAL
	}
	return p, nil
}

// homeLen is how much of a path is "/local/domain/N/", where it begins so.
func homeLen(p string) int {
	const parent, digits = "/local/domain/", 5
	id, found := strings.CutPrefix(p, parent)
	if !found {
		return 0
	}
	n := strings.IndexFunc(id, func(r rune) bool { return r < '0' || r > '9' })
	if n < 1 || n > digits || id[n] != '/' {
		return 0
	}
	return len(parent) + n + 1
}
