package main

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs the command as its users do, on this machine alone. Scripts
// know two more words:
//
//	status N tcppunch ARGS...   runs it without a terminal, and wants that exit status
//	random FILE SIZE            makes a file of random bytes
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, ".home")
			env.Setenv("PATH", filepath.Dir(command)+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("HOME", home)
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(home, "config"))
			env.Setenv("XDG_CACHE_HOME", filepath.Join(home, "cache"))
			env.Setenv("XDG_STATE_HOME", filepath.Join(home, "state"))
			env.Setenv("GORACE", "halt_on_error=1 atexit_sleep_ms=0")
			env.Setenv("SHELL", "/bin/bash")
			env.Setenv("TCPPUNCH_LAN", "false") // that of whoever runs the tests is none of their business
			env.Setenv("PORT_A", strconv.Itoa(int(freePorts(t, 4))))
			env.Setenv("PORT_B", strconv.Itoa(int(freePorts(t, 4))))
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"status": scriptStatus, "random": scriptRandom,
		},
	})
}

func scriptStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N program args...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	path := args[1]
	if path == "tcppunch" {
		path = command
	}
	cmd := exec.Command(path, args[2:]...)
	cmd.Dir, cmd.SysProcAttr = ts.MkAbs("."), noTerminal()
	cmd.Stdout, cmd.Stderr = ts.Stdout(), ts.Stderr()
	cmd.Env = os.Environ()
	for _, name := range []string{"HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "TCPPUNCH_STUN", "TCPPUNCH_PEER", "TCPPUNCH_LAN"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	got := 0
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

func scriptRandom(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: random file size")
	}
	size, err := strconv.Atoi(args[1])
	ts.Check(err)
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o666))
}

// freePorts finds n ports in a row that nobody uses, below those that systems
// give out by themselves.
func freePorts(t *testing.T, n int) uint16 {
	t.Helper()
	for range 1000 {
		base := 10000 + rand.IntN(20000)
		free := true
		for i := range n {
			ln, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(base+i))))
			if free = err == nil; !free {
				break
			}
			ln.Close()
		}
		if free {
			return uint16(base)
		}
	}
	t.Fatal("no free ports")
	return 0
}
