package guest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/test/echo"
)

// carries has the guest and the peer exchange all that guests exchange, over segments that are plugged.
func (l *lan) carries(g *Guest) {
	l.Helper()
	for _, s := range l.segments {
		l.carriesPings(g, s)
		l.carriesTCP(g, s)
	}
	l.answers(1472)
	for _, s := range l.segments {
		l.setMTU(g, s, s.jumbo)
	}
	l.carriesJumbo(g)
}

// answers: the peer's pings of a second or more all come back, from all segments at once.
func (l *lan) answers(payload int) {
	l.Helper()
	var pingers []*echo.Pinger
	for _, s := range l.segments {
		pingers = append(pingers, l.ping(s, min(payload, s.jumbo-28)))
	}
	for i, s := range l.segments {
		require.NoError(l, pingers[i].Settle(30*time.Second), s.name)
	}
	for i, s := range l.segments {
		l.noneLost(pingers[i], s)
	}
}

// carriesPings: small ones, full ones and fragments; IPv6 with the discovery of neighbours, by one's address and by all nodes' group.
func (l *lan) carriesPings(g *Guest, s *segment) {
	l.Helper()
	for _, size := range []int{0, 56, 1472, 4000} {
		out, err := g.Run("ping -c 3 -A -W 5 -s %d %s", size, s.peerIP())
		assert.NoError(l, err, "%s: ping of %d bytes", s.name, size)
		assert.Contains(l, out, " 0% packet loss", "%s", s.name)
	}
	_, err := g.Run("ping6 -c 1 -W 5 %s", s.peerIP6()) // the discovery may ask twice, as it may everywhere
	assert.NoError(l, err, "%s: discovery of %s", s.name, s.peerIP6())
	out, err := g.Run("ping6 -c 3 -A -W 5 %s", s.peerIP6())
	assert.NoError(l, err, "%s: ping of %s", s.name, s.peerIP6())
	assert.Contains(l, out, " 0% packet loss", "%s", s.name)
	group := "ff02::1%" + s.dev // all nodes: the guest itself is one
	out, err = g.Run("ping6 -c 2 -i 0.2 -W 5 %s", group)
	assert.NoError(l, err, "%s: ping of %s", s.name, group)
	assert.Contains(l, out, " 0% packet loss", "%s: %s", s.name, group)
	assert.Contains(l, out, "DUP!", "%s: two nodes answer to %s", s.name, group)
}

// carriesTCP: some megabytes each way, once asked for by the guest and once by the peer, over IPv4 and IPv6. Both ends compare sums.
func (l *lan) carriesTCP(g *Guest, s *segment) {
	l.Helper()
	for _, host := range []string{s.peerIP(), "[" + s.peerIP6() + "]"} {
		l.downloads(g, s, host)
	}
	made, err := g.Run("mkdir -p /www; [ -e /www/bulk ] || { dd if=/dev/urandom of=/www/bulk bs=64k count=64 2>/dev/null; httpd -h /www; }; sha256sum /www/bulk")
	require.NoError(l, err)
	for _, host := range []string{s.guestIP(), "[" + s.guestIP6() + "]"} {
		got, err := l.fetch(host)
		assert.NoError(l, err, "%s: from the guest's %s", s.name, host)
		assert.Len(l, got, 4<<20, "%s", s.name)
		assert.Equal(l, strings.Fields(made)[0], sum(got), "%s: from the guest's %s", s.name, host)
	}
}

// downloads has the guest get the peer's bulk. (busybox 1.35's wget has a -T that ends it.)
func (l *lan) downloads(g *Guest, s *segment, host string) {
	l.Helper()
	out, err := g.Run("set -o pipefail; timeout 50 wget -q -O - http://%s/bulk | sha256sum", host)
	assert.NoError(l, err, "%s: wget from %s", s.name, host)
	assert.Equal(l, sum(l.bulk), strings.Fields(out + " none")[0], "%s: from %s", s.name, host)
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// fetch gets the guest's bulk to the peer.
func (l *lan) fetch(host string) ([]byte, error) {
	r, err := l.client().Get("http://" + host + "/bulk")
	if err != nil {
		return nil, err
	}
	defer r.Body.Close() //nolint:errcheck // read to its end
	if r.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the guest's web server says %s", r.Status)
	}
	return io.ReadAll(r.Body)
}

// carriesJumbo: with the MTU raised along the segments, the largest packets pass unfragmented both ways, and a TCP stream of them. (A driver starts
// its NIC anew for that; e1000 then says that its link is up, that it is down, and that it is up again.)
func (l *lan) carriesJumbo(g *Guest) {
	l.Helper()
	pieces := l.snmp("ReasmReqds")
	l.answers(9000 - 28)
	for _, s := range l.segments {
		l.downloads(g, s, s.peerIP())
	}
	assert.Equal(l, pieces, l.snmp("ReasmReqds"), "fragments came")
}
