package network

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"
)

func TestDistance(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "abc", 0}, {"abc", "abd", 1}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}} {
		assert.Equal(t, tc.want, distance(tc.a, tc.b), tc)
		assert.Equal(t, tc.want, distance(tc.b, tc.a), tc)
	}
}

func TestNearest(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"virtual-machne", "virtual-machine"}, {"storrage", "storage"}, {"live_migrate", "live-migrate"},
	} {
		assert.Equal(t, tc.want, Nearest(tc.text, RoleNames()))
	}
	assert.Empty(t, Nearest("x", nil))
	assert.Equal(t, "a", Nearest("c", []string{"a", "b"}), "of equals the first")
}

// Whatever is written, a slip of one letter in a candidate that is far from the others is understood.
func TestNearestUnderstandsASlip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		role := rapid.SampledFrom(RoleNames()).Draw(t, "role")
		at := rapid.IntRange(0, len(role)-1).Draw(t, "at")
		slip := role[:at] + rapid.StringMatching(`[a-z]{0,2}`).Draw(t, "letters") + role[at+1:]
		assert.Equal(t, role, Nearest(slip, RoleNames()))
		assert.NotEmpty(t, Nearest(rapid.String().Draw(t, "any"), RoleNames()))
	})
}
