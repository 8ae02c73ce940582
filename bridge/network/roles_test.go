package network

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestRoles(t *testing.T) {
	r := VirtualMachine | ServerManagement
	assert.Equal(t, "server-management, virtual-machine", r.String())
	assert.Equal(t, []string{"server-management", "virtual-machine"}, r.List())
	assert.Empty(t, Roles(0).String())
	assert.True(t, r.Has(VirtualMachine))
	assert.False(t, r.Has(VirtualMachine|Storage))
	for i, name := range RoleNames() {
		one, err := ParseRole(name)
		require.NoError(t, err)
		assert.Equal(t, Roles(1)<<i, one)
	}
	none, err := ParseRole("heart-beat")
	require.ErrorIs(t, err, ErrRole)
	assert.Zero(t, none)
	assert.EqualError(t, err, "is no role. Did you mean storage?")
	_, err = ParseRole("cluster-heart-beat")
	assert.EqualError(t, err, "is no role. Did you mean cluster-heartbeat?")
}

func TestRolesJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Roles(rapid.Uint8Range(0, 31).Draw(t, "roles"))
		b, err := json.Marshal(want)
		require.NoError(t, err)
		got := Roles(0xff)
		require.NoError(t, json.Unmarshal(b, &got))
		assert.Equal(t, want, got)
	})
	b, err := json.Marshal(Roles(0))
	require.NoError(t, err)
	assert.Equal(t, "[]", string(b), "a list, not null")

	r := Storage
	require.ErrorIs(t, json.Unmarshal([]byte(`["storage","x"]`), &r), ErrRole)
	require.Error(t, json.Unmarshal([]byte(`5`), &r))
	assert.Equal(t, Storage, r, "an error changes nothing")
}
