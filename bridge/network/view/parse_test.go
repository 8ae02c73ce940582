package view

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"vifplug/bridge/network"
)

// The worked example as a declaration gives the networks that these tests draw.
func TestWorkedExampleIsTheDeclaredOne(t *testing.T) {
	text, err := os.ReadFile("../testdata/worked.toml")
	require.NoError(t, err)
	spec, err := network.Parse([]network.File{{Name: "worked.toml", Text: text}})
	require.NoError(t, err)
	spec, err = network.Resolve(spec, nil)
	require.NoError(t, err)
	for i := range spec.Bonds {
		spec.Bonds[i].At, spec.Bonds[i].Keys, spec.Bonds[i].Options = network.Place{}, nil, nil
	}
	for i := range spec.Networks {
		spec.Networks[i].At, spec.Networks[i].Keys, spec.Networks[i].Bridge = network.Place{}, nil, nil
	}
	assert.Equal(t, workedSpec(), spec)
}
