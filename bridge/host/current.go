package host

import (
	"fmt"

	"vifplug/bridge/network"
)

// Current is the declaration that a state directory says is carried out, whether final or waiting for its confirmation; false where none is.
func Current(dir string) (network.Spec, bool, error) {
	s, err := readState(dir)
	if err != nil || s.current() == nil {
		return network.Spec{}, false, err
	}
	return *s.current(), true, nil
}

// Diff reads the host and says what is not as declared; nothing where nothing is declared. It cannot change anything, for what it holds cannot.
func Diff(r Reader, dir string, guests []network.Guest) ([]network.Difference, error) {
	spec, declared, err := Current(dir)
	if err != nil || !declared {
		return nil, err
	}
	have, err := r.Host()
	if err != nil {
		return nil, fmt.Errorf("host: read the host: %w", err)
	}
	return network.Compare(network.Input{Want: spec, Before: &spec, Have: have, Guests: guests}), nil
}
