//go:build linux

package lanfind

import (
	"context"
	"encoding/json"
	"io"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// A lab's host runs this test binary again: sockets belong to the host in which they are made, and a Browse makes some
// whenever an interface appears.

const roleEnv = "LANFIND_TEST_ROLE"

func TestMain(m *testing.M) {
	if spec := os.Getenv(roleEnv); spec != "" {
		os.Exit(play(spec))
	}
	goleak.VerifyTestMain(m)
}

// A role is what the binary does in a host. It ends with its standard input, or after For.
type role struct {
	Options Options
	// Only makes it announce without a look at others.
	Only bool
	// For is how long it works at most.
	For time.Duration
	// Attack is the name of an attack to carry out instead.
	Attack string
}

// line is what it writes: an event, or what has become of it at the end.
type line struct {
	Event *Event        `json:",omitempty"`
	After time.Duration // since it started

	End    bool          `json:",omitempty"`
	Err    string        `json:",omitempty"`
	Leak   string        `json:",omitempty"`
	CPU    time.Duration `json:",omitempty"`
	Heap   uint64        `json:",omitempty"` // the most there was
	Events int           `json:",omitempty"`
	Sent   map[string]int
	Troubl []string `json:",omitempty"`
}

func play(spec string) int {
	var r role
	if err := json.Unmarshal([]byte(spec), &r); err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if r.For > 0 {
		ctx, cancel = context.WithTimeout(ctx, r.For)
		defer cancel()
	}
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	if r.Attack != "" {
		attackTable()[r.Attack](ctx, &r)
		return 0
	}
	end := line{End: true, Sent: make(map[string]int)}
	r.Options.Trace = &Trace{
		Sent: func(to netip.AddrPort, _, _ int) { end.Sent[kindOf(to)]++ },
		Problem: func(err error) {
			if len(end.Troubl) < 10 {
				end.Troubl = append(end.Troubl, err.Error())
			}
		},
	}
	began := time.Now()
	out := json.NewEncoder(os.Stdout)
	out.Encode(line{})
	if r.Only {
		if err := Announce(ctx, r.Options.Announce, &r.Options); err != nil {
			end.Err = err.Error()
		}
	} else {
		for e, err := range Browse(ctx, &r.Options) {
			if err != nil {
				end.Err = err.Error()
				break
			}
			end.Events++
			end.Heap = max(end.Heap, heap())
			if end.Events < 2000 {
				out.Encode(line{Event: &e, After: time.Since(began)})
			}
		}
	}
	end.Heap = max(end.Heap, heap())
	end.CPU, end.After = used(), time.Since(began)
	if err := goleak.Find(goleak.IgnoreAnyFunction("github.com/tcppunch/tcppunch/lanfind.play.func1")); err != nil {
		end.Leak = err.Error()
	}
	out.Encode(end)
	return 0
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func used() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// kindOf says by which way a packet goes.
func kindOf(to netip.AddrPort) string {
	switch {
	case to.Addr().IsMulticast():
		return "multicast"
	case to.Port() == 5353:
		return "legacy"
	}
	return "datagram"
}

// actor is a role at work in a host.
type actor struct {
	t    *testing.T
	proc *natlab.Proc
	host *natlab.Machine
	quit func()
}

func start(t *testing.T, host *natlab.Machine, r role) *actor {
	t.Helper()
	spec, err := json.Marshal(&r)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	in, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	cmd := host.Command(context.WithoutCancel(t.Context()), self)
	cmd.Env = append(os.Environ(), roleEnv+"="+string(spec), "GORACE=atexit_sleep_ms=0") // or each end takes a second
	cmd.Stdin = in
	a := &actor{t: t, proc: cmd.StartProc(), host: host, quit: func() { w.Close() }}
	in.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := a.proc.Stdout.WaitFor(ctx, func(s string) bool { return s != "" || r.Attack != "" }); err != nil {
		t.Fatalf("%s did not start: %v: %s", host.Name(), err, a.proc.Stderr)
	}
	return a
}

// lines are what it has written so far.
func (a *actor) lines() []line { return parseLines(a.proc.Stdout.String()) }

func parseLines(text string) []line {
	var all []line
	for s := range strings.Lines(text) {
		var l line
		if json.Unmarshal([]byte(s), &l) == nil {
			all = append(all, l)
		}
	}
	return all
}

// wait waits for an event, which must come in time.
func (a *actor) wait(within time.Duration, what string, want func(Event) bool) line {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), within)
	defer cancel()
	var found line
	_, err := a.proc.Stdout.WaitFor(ctx, func(s string) bool {
		for _, l := range parseLines(s) {
			if l.Event != nil && want(*l.Event) {
				found = l
				return true
			}
		}
		return false
	})
	if err != nil {
		a.t.Fatalf("%s, in %v: no %s: %v\n%s%s", a.host.Name(), within, what, err, a.proc.Stdout, a.proc.Stderr)
	}
	return found
}

// finds waits until it has found a peer of that name.
func (a *actor) finds(within time.Duration, name string) line {
	a.t.Helper()
	return a.wait(within, name, func(e Event) bool { return e.Kind == Found && e.Peer.Name == name })
}

// end ends it and returns what it says then.
func (a *actor) end() line {
	a.t.Helper()
	a.quit()
	res := a.proc.Wait()
	all := a.lines()
	if len(all) == 0 || !all[len(all)-1].End {
		a.t.Fatalf("%s: no last line: %v %s %s", a.host.Name(), res.Err, res.Stdout, res.Stderr)
	}
	l := all[len(all)-1]
	if l.Leak != "" || l.Err != "" || res.Code != 0 {
		a.t.Errorf("%s: %s%s, exit status %d: %s", a.host.Name(), l.Err, l.Leak, res.Code, res.Stderr)
	}
	return l
}

// lan is a topology of one network with these hosts on it.
func lan(firewall natlab.Firewall, names ...string) natlab.Topology {
	top := natlab.Topology{IPv6: true, LANs: []natlab.LAN{{Name: "lan"}}}
	for _, n := range names {
		top.Hosts = append(top.Hosts, natlab.Host{Name: n, Behind: "lan", Firewall: firewall})
	}
	return top
}

func service(name, room string) *Service { return &Service{Name: name, Port: 7070, Room: room} }
