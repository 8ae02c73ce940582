//go:build race

package loop

// raced says that the race detector is in, which allocates memory of its own.
const raced = true
