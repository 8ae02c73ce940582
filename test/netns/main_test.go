package netns

import (
	"context"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// asked has the test binary play a program that runs itself again.
const asked = "NETNS_TEST_AGAIN"

func TestMain(m *testing.M) {
	switch {
	case Inside():
		os.Exit(played())
	case os.Getenv(asked) != "":
		if Again(context.Background()) != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// played is the program inside: it says where it is.
func played() int {
	ns, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(ns, os.Args[1:])
	if os.Getenv(asked) == "fail" {
		return 3
	}
	return 0
}
