package control

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A server may be closed before, while and after it begins to serve.
func TestCloseWhileItBegins(t *testing.T) {
	for range 50 {
		s := NewServer(Options{Logger: slog.New(slog.DiscardHandler)})
		l, err := net.Listen("unix", fmt.Sprintf("@vifplug-control-close-%d-%d", os.Getpid(), sockets.Add(1)))
		require.NoError(t, err)
		running := &service{T: t, server: s, served: make(chan error, 1)}
		go running.runServe(l)
		assert.NoError(t, s.Close())
		assert.NoError(t, <-running.served)
	}
}
