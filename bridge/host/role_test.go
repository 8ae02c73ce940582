package host

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"vifplug/bridge"
	"vifplug/bridge/bridgetest"
	"vifplug/bridge/host/hosttest"
	"vifplug/bridge/network"
)

// The test binary plays other processes of a test: one that dies while it applies, or the machine at the other end of the wire.
const (
	roleEnv = "HOST_TEST_ROLE" // "apply" or "peer"
	dirEnv  = "HOST_TEST_DIR"
	dieEnv  = "HOST_TEST_DIE" // the number of the change at which it dies
	waitEnv = "HOST_TEST_WAIT"
)

func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case "apply":
		playApply()
	case "peer":
		playPeer()
	default:
		goleak.VerifyTestMain(m)
	}
}

// playApply applies a declaration of its standard input, and dies by SIGKILL before a change, or after the last.
func playApply() {
	var spec network.Spec
	die, _ := strconv.Atoi(os.Getenv(dieEnv))
	wait, _ := time.ParseDuration(os.Getenv(waitEnv))
	c, err := bridge.Open()
	if err == nil {
		err = json.NewDecoder(os.Stdin).Decode(&spec)
	}
	var m *Manager
	if err == nil {
		gate := &hosttest.Gate{Changer: c}
		gate.Keep(func(n int, _ bridge.Name) error {
			if n == die {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
			return nil
		})
		m, err = New(Options{Kernel: gate, Dir: os.Getenv(dirEnv)})
	}
	if err == nil {
		_, err = m.Apply(context.Background(), spec, ApplyOptions{Confirm: wait})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

// echoPort is where the peer answers.
const echoPort = 7

// playPeer makes a veth end that comes into its namespace the other end of the wire, 10.0.0.1, and sends back whatever it gets.
func playPeer() {
	err := os.ErrDeadlineExceeded
	for deadline := time.Now().Add(10 * time.Second); err != nil && time.Now().Before(deadline); {
		if err = bridgetest.SetUp("peer0"); err != nil {
			time.Sleep(2 * time.Millisecond) // between two looks for a device that another process sends
		}
	}
	if err == nil {
		err = bridgetest.AddAddress("peer0", netip.MustParsePrefix("10.0.0.1/24"))
	}
	var conn *net.UDPConn
	if err == nil {
		conn, err = net.ListenUDP("udp4", &net.UDPAddr{Port: echoPort})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
	fmt.Println("ready")
	buf := make([]byte, 100)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err == nil {
			_, err = conn.WriteToUDPAddrPort(buf[:n], from)
		}
		if err != nil {
			os.Exit(1)
		}
	}
}

// role is a command of the test binary in a role. It begins in the network namespace of the calling thread.
func role(t *testing.T, name string, env ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	c := exec.CommandContext(t.Context(), self)
	c.Env = append(append(os.Environ(), roleEnv+"="+name), env...)
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}
