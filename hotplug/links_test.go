package hotplug

import (
	"sort"
	"testing"

	"github.com/stretchr/testify/assert"

	"vifplug/bridge"
)

func port(i int, name string, master int) bridge.Link {
	return bridge.Link{Index: i, Name: bridge.Name(name), Kind: "vif", MTU: 1500, Master: master, Up: true}
}

func changed(l bridge.Link) bridge.LinkEvent { return bridge.LinkEvent{Link: l} }

func TestLinkTableFindsTheNICOfALink(t *testing.T) {
	tb := newLinkTable()
	k := Key{Front: 5, Device: 0}
	assert.Equal(t, []Key{k}, tb.event(changed(port(10, "vif5.0", 0))), "by name")
	renamed := port(11, "web0", 0)
	renamed.Parent, renamed.ParentBus = "vif-5-0", backendBus
	assert.Equal(t, []Key{k}, tb.event(changed(renamed)), "by its parent device")
	tb.claim(k, port(10, "web0", 3))
	assert.Equal(t, []Key{k}, tb.event(changed(port(10, "web0", 0))), "by its claim")
	assert.Empty(t, tb.event(changed(port(10, "web0", 3))), "as its worker saw it: nothing new")
	assert.Equal(t, []Key{k}, tb.event(bridge.LinkEvent{Link: port(10, "web0", 3), Deleted: true}), "gone")
	assert.Equal(t, [2]int{0, 11}, tb.indexes(k), "the one by its parent device is left")
	tb.event(bridge.LinkEvent{Link: renamed, Deleted: true})
	assert.Equal(t, [2]int{}, tb.indexes(k))
}

func TestLinkTableMarksABridgesNICsOnlyWhenItMatters(t *testing.T) {
	tb := newLinkTable()
	tb.wish(Key{Front: 5, Device: 0}, wish{bridge: "xenbr0"})
	tb.wish(Key{Front: 6, Device: 0}, wish{bridge: "xenbr0"})
	tb.wish(Key{Front: 7, Device: 0}, wish{bridge: "xenbr1"})
	br := bridge.Link{Index: 3, Name: "xenbr0", Kind: "bridge", MTU: 1500}
	both := []Key{{Front: 5}, {Front: 6}}
	assert.Equal(t, both, sorted(tb.event(changed(br))), "it came")
	assert.Empty(t, tb.event(changed(br)), "it is as it was")
	br.MTU = 9000
	assert.Equal(t, both, sorted(tb.event(changed(br))), "another MTU")
	renamed := br
	renamed.Name = "xenbr1"
	assert.Equal(t, []Key{{Front: 5}, {Front: 6}, {Front: 7}}, sorted(tb.event(changed(renamed))), "another name concerns those who want the old and those who want the new")
	assert.Equal(t, []Key{{Front: 7}}, sorted(tb.event(bridge.LinkEvent{Link: renamed, Deleted: true})), "it went")
	tb.wish(Key{Front: 6, Device: 0}, wish{bridge: "xenbr2"})
	assert.Equal(t, []Key{{Front: 5}}, sorted(tb.event(changed(br))))
}

func TestLinkTableLegacyName(t *testing.T) {
	tb := newLinkTable()
	tb.wish(Key{Front: 5, Device: 0}, wish{bridge: "xenbr0"})
	assert.Equal(t, []Key{{Front: 5}}, tb.event(changed(bridge.Link{Index: 3, Name: "eth0", Kind: "bridge"})))
}

// A dump after lost events marks what changed, what came, and what is gone.
func TestLinkTableReset(t *testing.T) {
	tb := newLinkTable()
	tb.claim(Key{Front: 5, Device: 0}, port(10, "vif5.0", 3))
	tb.claim(Key{Front: 6, Device: 0}, port(11, "vif6.0", 3))
	tb.claim(Key{Front: 7, Device: 0}, port(12, "vif7.0", 3))
	tb.wish(Key{Front: 8, Device: 0}, wish{bridge: "xenbr9"})
	tb.event(changed(bridge.Link{Index: 4, Name: "xenbr9", Kind: "bridge"}))
	got := tb.reset([]bridge.Link{port(10, "vif5.0", 3), port(11, "vif6.0", 0), port(13, "vif9.0", 0)})
	assert.Equal(t, []Key{{Front: 6}, {Front: 7}, {Front: 8}, {Front: 9}}, sorted(got))
}

func TestLinkTableForgets(t *testing.T) {
	tb := newLinkTable()
	for i := range 100 {
		k := Key{Front: 5, Device: uint32(i)}
		tb.claim(k, port(i+1, k.VIF(), 3))
		tb.claim(k, port(i+1001, k.VIF(), 3))
		tb.wish(k, wish{bridge: "xenbr0"})
		tb.unclaim(k)
	}
	assert.Empty(t, tb.byKey)
	assert.Empty(t, tb.byIndex)
	assert.Empty(t, tb.wanted)
	assert.Empty(t, tb.wants)
}

func sorted(keys []Key) []Key {
	sort.Slice(keys, func(i, j int) bool { return keys[i].Front < keys[j].Front })
	return keys
}
