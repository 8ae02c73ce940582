package xenstore

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"
)

func TestQueueCoalescesByKey(t *testing.T) {
	q := WatchOptions{Key: func(p string) (string, bool) {
		key, leaf, _ := strings.Cut(p, ":")
		return key, leaf != "drop"
	}}.queue()
	for _, p := range []string{"b:1", "a:1", "b:2", "c:drop", "a:3"} {
		q.push(p, "/")
	}
	assert.Equal(t, []Event{{Path: "b"}, {Path: "a"}}, q.take())
	assert.Empty(t, q.take())
	q.push("a:1", "/")
	assert.Equal(t, []Event{{Path: "a"}}, q.take(), "what was taken may come again")
}

func TestQueueIsReadyWhenItHasEvents(t *testing.T) {
	q := WatchOptions{}.queue()
	ready := func() bool {
		select {
		case <-q.ready:
			return true
		default:
			return false
		}
	}
	assert.False(t, ready())
	q.push("/a", "/")
	q.push("/b", "/")
	assert.True(t, ready())
	assert.False(t, ready())
	q.resync("/")
	assert.True(t, ready())
}

func TestOverflowTellsEveryWatchOfTheQueue(t *testing.T) {
	q := WatchOptions{Max: 3}.queue()
	q.push("/a/1", "/a")
	q.push("/b/1", "/b")
	q.push("/b/2", "/b")
	q.push("/a/1", "/a") // pending already
	q.push("/c/1", "/c") // too many
	q.push("/c/2", "/c")
	q.push("/d/1", "/d")
	q.push("/d/2", "/d")
	q.resync("/a")
	got := q.take()
	slices.SortFunc(got, func(a, b Event) int { return strings.Compare(a.Path, b.Path) })
	assert.Equal(t, []Event{{"/a", true}, {"/b", true}, {"/c", true}, {"/d", true}}, got)
	q.push("/a/9", "/a")
	assert.Equal(t, []Event{{Path: "/a/9"}}, q.take(), "single events are told again")
}

// Once a look at everything is due, single events below add nothing.
func TestOverflowSaysAllUntilItIsTaken(t *testing.T) {
	q := WatchOptions{Max: 3}.queue()
	for i := range 10 {
		q.push(fmt.Sprintf("/a/%d", i), "/a")
	}
	assert.Equal(t, []Event{{"/a", true}}, q.take())
	many := WatchOptions{}.queue()
	for i := range 5000 {
		many.push(fmt.Sprintf("/a/%d", i), "/a")
	}
	assert.Len(t, many.take(), 5000)
	many.push("/a/1", "/a")
	assert.Equal(t, []Event{{Path: "/a/1"}}, many.take(), "a long queue starts afresh too")
}

// Whatever comes, and whenever it is taken: an event is told, or a resync of its watch is, once each, and what waits is bounded.
func TestQueueLosesNothingAndStaysBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(1, 8).Draw(t, "max")
		q := WatchOptions{Max: most}.queue()
		owed := map[Event]bool{} // what the next take must tell, as events
		of := map[string]string{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			watched := fmt.Sprintf("/w%d", rapid.IntRange(0, 2).Draw(t, "watch"))
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				checkTaken(t, q.take(), owed, of)
				clear(owed)
			case 1:
				q.resync(watched)
				owed[Event{watched, true}] = true
			default:
				path := fmt.Sprintf("%s/%d", watched, rapid.IntRange(0, 9).Draw(t, "node"))
				q.push(path, watched)
				owed[Event{Path: path}], of[path] = true, watched
			}
			if len(q.events) > most+3 {
				t.Fatalf("%d events wait, at most %d may, and a resync for each of 3 watches", len(q.events), most)
			}
		}
		checkTaken(t, q.take(), owed, of)
	})
}

func checkTaken(t *rapid.T, got []Event, owed map[Event]bool, of map[string]string) {
	told := map[Event]bool{}
	for _, e := range got {
		if told[e] {
			t.Fatalf("%+v is told twice in %+v", e, got)
		}
		told[e] = true
	}
	for e := range owed {
		if !told[e] && (e.Resync || !told[Event{of[e.Path], true}]) {
			t.Fatalf("%+v is lost: got %+v", e, got)
		}
	}
	for e := range told {
		if !e.Resync && !owed[e] {
			t.Fatalf("%+v is told and did not come", e)
		}
	}
}
