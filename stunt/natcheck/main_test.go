package natcheck

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// A lab's host runs this test binary again, as a server or as a client: sockets belong to the host in which they are
// made, and both make some all the time.

const roleEnv = "NATCHECK_TEST_ROLE"

func TestMain(m *testing.M) {
	if spec := os.Getenv(roleEnv); spec != "" {
		os.Exit(play(spec))
	}
	goleak.VerifyTestMain(m)
}

// A role is what the binary does in a host. One of its fields is set.
type role struct {
	Server  *ServerConfig
	Client  *Options
	Routers netip.Addr
}

// result is what it writes.
type result struct {
	Report  *Report
	Min     time.Duration
	Max     time.Duration
	Took    time.Duration
	Routers int
	Err     string
	Leak    string
}

// play serves until its standard input ends, or prints a result.
func play(spec string) int {
	var r role
	if err := json.Unmarshal([]byte(spec), &r); err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if r.Server != nil {
		s, err := Listen(ctx, r.Server)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Println("ready", s.Addrs())
		go func() {
			io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
		if err := s.Serve(ctx); err != nil {
			fmt.Println(err)
			return 1
		}
		return leaked(nil)
	}
	began := time.Now()
	var res result
	var err error
	if r.Client != nil {
		if res.Report, err = Run(ctx, r.Client); err == nil {
			res.Min, res.Max = res.Report.UDP.LifetimeMin, res.Report.UDP.LifetimeMax
		}
	} else {
		res.Routers, err = Routers(ctx, r.Routers)
	}
	res.Took = time.Since(began)
	if err != nil {
		res.Err = err.Error()
	}
	return leaked(&res)
}

// leaked says whether goroutines are left.
func leaked(res *result) int {
	err := goleak.Find()
	if res == nil {
		if err != nil {
			fmt.Println(err)
			return 1
		}
		return 0
	}
	if err != nil {
		res.Leak = err.Error()
	}
	if err := json.NewEncoder(os.Stdout).Encode(res); err != nil {
		panic(err)
	}
	return 0
}

func start(t *testing.T, host *natlab.Machine, r role, stdin io.Reader) *natlab.Proc {
	t.Helper()
	spec, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := host.Command(context.WithoutCancel(t.Context()), self)
	cmd.Env = append(os.Environ(), roleEnv+"="+string(spec), "GORACE=halt_on_error=1")
	cmd.Stdin = stdin
	return cmd.StartProc()
}

// startServer runs a server in a host until the test ends, and checks how it ended.
func startServer(t *testing.T, host *natlab.Machine, c ServerConfig) {
	t.Helper()
	in, stop, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, host, role{Server: &c}, in)
	in.Close()
	t.Cleanup(func() {
		stop.Close()
		if r := p.Wait(); r.Code != 0 {
			t.Errorf("the server ended with status %d: %s%s", r.Code, r.Stdout, r.Stderr)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := p.Stdout.WaitFor(ctx, func(s string) bool { return strings.Contains(s, "ready") }); err != nil {
		t.Fatalf("the server does not start: %v %s", err, p.Stdout)
	}
}

// runClient runs a client in a host.
func runClient(t *testing.T, host *natlab.Machine, o Options) result {
	t.Helper()
	return finish(t, start(t, host, role{Client: &o}, nil))
}

func finish(t *testing.T, p *natlab.Proc) result {
	t.Helper()
	r := p.Wait()
	var res result
	if err := json.Unmarshal([]byte(r.Stdout), &res); err != nil || res.Leak != "" {
		t.Fatalf("the client ended with status %d: %v\n%s%s", r.Code, err, r.Stdout, r.Stderr)
	}
	if res.Report != nil {
		res.Report.UDP.LifetimeMin, res.Report.UDP.LifetimeMax = res.Min, res.Max
	}
	return res
}

// serversAt names both ports of each address.
func serversAt(addrs ...netip.Addr) []string {
	var all []string
	for _, a := range addrs {
		for _, port := range []uint16{firstPort, secondPort} {
			all = append(all, netip.AddrPortFrom(a, port).String())
		}
	}
	return all
}
