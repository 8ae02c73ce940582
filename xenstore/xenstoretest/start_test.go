package xenstoretest_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"vifplug/xenstore"
	"vifplug/xenstore/xenstoretest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBothStoresAnswerTheClient(t *testing.T) {
	for name, start := range map[string]func(testing.TB) string{
		"embedded": xenstoretest.Start,
		"real":     func(t testing.TB) string { target, _ := xenstoretest.StartReal(t); return target },
	} {
		t.Run(name+strings.Repeat("-with-a-long-name", 4), func(t *testing.T) {
			c, err := xenstore.Open(context.Background(), start(t), nil)
			require.NoError(t, err)
			require.NoError(t, c.Write(t.Context(), "/a/b", "c"))
			got, err := c.Read(t.Context(), "/a/b")
			require.NoError(t, err)
			require.Equal(t, "c", got)
			require.NoError(t, c.Close())
		})
	}
}
