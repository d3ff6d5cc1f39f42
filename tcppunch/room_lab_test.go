package tcppunch

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tcppunch/tcppunch/stunt/stun"
	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// A lab's host runs this test binary again, as a peer whose Signaler is its
// standard input and output.

const peerEnv = "TCPPUNCH_TEST_PEER"

func TestMain(m *testing.M) {
	if spec := os.Getenv(peerEnv); spec != "" {
		os.Exit(runPeer(spec))
	}
	goleak.VerifyTestMain(m, kcpClock...)
}

// kcpClock are the goroutines that package kcp starts when it is imported.
var kcpClock = []goleak.Option{
	goleak.IgnoreAnyFunction("github.com/xtaci/kcp-go/v5.(*TimedSched).sched"),
	goleak.IgnoreAnyFunction("github.com/xtaci/kcp-go/v5.(*TimedSched).prepend"),
}

// peerSpec is what a peer is told.
type peerSpec struct {
	Side  Side
	STUN  []string
	NAT   NAT
	Limit time.Duration
}

// peerReport is what a peer says at its end, times counted from knowing the
// other one's addresses.
type peerReport struct {
	Path      Path
	TCP       time.Duration // TCP of the nominated connection
	Auth      time.Duration // its TLS
	Nominated time.Duration
	Attempts  int
	Err       string
	Leak      string
}

// stdio is a Signaler: a message a line.
type stdio struct{ lines chan []byte }

func (s stdio) Send(_ context.Context, msg []byte) error {
	_, err := os.Stdout.Write(append(msg, '\n'))
	return err
}

func (s stdio) Recv(ctx context.Context) ([]byte, error) {
	select {
	case b, ok := <-s.lines:
		if !ok {
			return nil, io.EOF
		}
		return b, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func runPeer(spec string) int {
	var ps peerSpec
	if err := json.Unmarshal([]byte(spec), &ps); err != nil {
		panic(err)
	}
	sig := stdio{make(chan []byte, 64)}
	go func() {
		defer close(sig.lines)
		for sc := bufio.NewScanner(os.Stdin); sc.Scan(); {
			sig.lines <- slices.Clone(sc.Bytes())
		}
	}()
	rep := punch(ps, sig)
	ignore := append(slices.Clone(kcpClock), goleak.IgnoreTopFunction("os.(*File).Read"),
		goleak.IgnoreAnyFunction("github.com/tcppunch/tcppunch/tcppunch.runPeer.func1"))
	if err := goleak.Find(ignore...); err != nil {
		rep.Leak = err.Error()
	}
	if n := openSockets(); n > 0 {
		rep.Leak += fmt.Sprintf("%d sockets are still open", n)
	}
	json.NewEncoder(os.Stderr).Encode(rep)
	return 0
}

// punch dials and exchanges a word in both directions.
func punch(ps peerSpec, sig Signaler) (rep peerReport) {
	ctx, cancel := context.WithTimeout(context.Background(), ps.Limit)
	defer cancel()
	var mu sync.Mutex
	var known time.Time
	connected, authenticated := map[string]time.Time{}, map[string]time.Time{}
	know := func(context.Context, int) NAT { return ps.NAT }
	conn, err := Dial(ctx, &Config{Side: ps.Side, STUN: ps.STUN, NAT: know, Signaler: sig, Trace: &Trace{
		PeerKnown: func() { known = time.Now() },
		AttemptStart: func(Attempt) {
			mu.Lock()
			defer mu.Unlock()
			rep.Attempts++
		},
		Authenticated: func(a Attempt) {
			mu.Lock()
			defer mu.Unlock()
			key := fmt.Sprint(a.Lane, a.Remote)
			connected[key], authenticated[key] = a.Connected, time.Now()
		},
		Nominated: func(p Path) {
			mu.Lock()
			defer mu.Unlock()
			key := fmt.Sprint(p.Lane, p.Remote)
			rep.Path, rep.Nominated = p, time.Since(known)
			rep.TCP, rep.Auth = connected[key].Sub(known), authenticated[key].Sub(known)
		},
	}})
	if err != nil {
		rep.Err = err.Error()
		return rep
	}
	defer conn.Close()
	if err := greet(conn, ps.Side); err != nil {
		rep.Err = err.Error()
	}
	return rep
}

func greet(conn net.Conn, side Side) error {
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := fmt.Fprintf(conn, "side %d\n", side); err != nil {
		return err
	}
	got := make([]byte, 7)
	if _, err := io.ReadFull(conn, got); err != nil {
		return err
	}
	if want := fmt.Sprintf("side %d\n", SideA+SideB-side); string(got) != want {
		return fmt.Errorf("got %q, want %q", got, want)
	}
	return nil
}

func openSockets() int {
	n := 0
	fds, _ := os.ReadDir("/proc/self/fd")
	for _, fd := range fds {
		if to, _ := os.Readlink("/proc/self/fd/" + fd.Name()); strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// signalDelay is what a message takes through the room, one way.
const signalDelay = 50 * time.Millisecond

// pipe carries lines, late.
func pipe(from io.Reader, to io.WriteCloser) {
	type message struct {
		at   time.Time
		line []byte
	}
	queue := make(chan message, 64)
	go func() {
		defer close(queue)
		for sc := bufio.NewScanner(from); sc.Scan(); {
			queue <- message{time.Now().Add(signalDelay), append(slices.Clone(sc.Bytes()), '\n')}
		}
	}()
	go func() {
		defer to.Close()
		for m := range queue {
			time.Sleep(time.Until(m.at))
			to.Write(m.line) //nolint:errcheck // the reader has ended
		}
	}()
}

// serveSTUN runs a STUN server on the host stun, and returns its address.
func serveSTUN(t *testing.T, lab *natlab.Lab) []string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	var servers []string
	for _, port := range []string{":3478", ":3479"} {
		ln, err := lab.Host("stun").Listen("tcp", port)
		if err != nil {
			t.Fatal(err)
		}
		go func() { served <- (*stun.Server)(nil).Serve(ctx, ln) }()
		servers = append(servers, lab.Host("stun").Addr().String()+port)
	}
	t.Cleanup(func() {
		cancel()
		for range servers {
			<-served
		}
	})
	return servers
}

// meet runs SideA on the lab's host a and SideB on b.
func meet(t *testing.T, lab *natlab.Lab, servers []string, limit time.Duration, known ...NAT) (a, b peerReport) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var procs []*natlab.Proc
	var ins []io.WriteCloser
	var outs []io.Reader
	for i, name := range []string{"a", "b"} {
		ps := peerSpec{Side: SideA + Side(i), STUN: servers, Limit: limit}
		if known != nil {
			ps.NAT = known[i]
		}
		spec, _ := json.Marshal(ps)
		cmd := lab.Host(name).Command(t.Context(), exe)
		cmd.Env = append(os.Environ(), peerEnv+"="+string(spec))
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		r, w := io.Pipe()
		cmd.Stdout = w
		p := cmd.StartProc()
		go func() { <-p.Done(); w.Close() }()
		procs, ins, outs = append(procs, p), append(ins, in), append(outs, r)
	}
	pipe(outs[0], ins[1])
	pipe(outs[1], ins[0])
	var reps [2]peerReport
	for i, p := range procs {
		r := p.Wait()
		if err := json.Unmarshal([]byte(r.Stderr), &reps[i]); err != nil {
			t.Fatalf("peer ended with %d: %s", r.Code, r.Stderr)
		}
		if reps[i].Leak != "" {
			t.Errorf("leak: %s", reps[i].Leak)
		}
	}
	return reps[0], reps[1]
}

// homes are two NATs, 100 ms of round trip apart, and a STUN server.
func homes(a, b natlab.NAT) natlab.Topology {
	a.Name, b.Name = "home", "office"
	a.Link.Delay, b.Link.Delay = 25*time.Millisecond, 25*time.Millisecond
	return natlab.Topology{
		NATs:  []natlab.NAT{a, b},
		Hosts: []natlab.Host{{Name: "a", Behind: "home"}, {Name: "b", Behind: "office"}, {Name: "stun"}},
	}
}

const labRTT = 100 * time.Millisecond

var roomTable = flag.String("room.table", "", "append the table of rooms to this file, as Markdown")

// TestRoomLinuxPairs: with a Signaler, all pairs of real Linux NATs connect in
// the first round.
func TestRoomLinuxPairs(t *testing.T) {
	kinds := []natlab.Unsolicited{natlab.Drop, natlab.Accept, natlab.Reset}
	var tcp, nominated []time.Duration
	table := "**Rooms, real Linux NATs**\n\n| offerer's NAT | answerer's NAT | technique of the offerer | round | TCP / RTT | nominated / RTT |\n| --- | --- | --- | --- | --- | --- |\n"
	for _, ua := range kinds {
		for _, ub := range kinds {
			t.Run(fmt.Sprintf("%v-%v", ua, ub), func(t *testing.T) {
				lab := natlab.New(t, homes(natlab.NAT{Linux: true, Unsolicited: ua}, natlab.NAT{Linux: true, Unsolicited: ub}))
				a, b := meet(t, lab, serveSTUN(t, lab), 20*time.Second)
				wantOneConnection(t, a, b)
				t.Logf("offerer: TCP %v, TLS %v, nominated %v; answerer: nominated %v; %v, %d and %d sockets", a.TCP, a.Auth,
					a.Nominated, b.Nominated, a.Path, a.Attempts, b.Attempts)
				if a.Path.Round != 0 || b.Path.Round != 0 {
					t.Errorf("rounds %d and %d, want the first", a.Path.Round, b.Path.Round)
				}
				table += fmt.Sprintf("| %v | %v | %s | %d | %.2f | %.2f |\n", ua, ub, a.Path.Technique, a.Path.Round, rtts(a.TCP), rtts(a.Nominated))
				// The offerer knows the other side last, so it has the least time.
				tcp, nominated = append(tcp, a.TCP), append(nominated, a.Nominated)
			})
		}
	}
	if len(tcp) < 9 {
		return // skipped, or failed already
	}
	slices.Sort(tcp)
	slices.Sort(nominated)
	t.Logf("median of %d: TCP %.2f RTT, nominated %.2f RTT", len(tcp), rtts(tcp[len(tcp)/2]), rtts(nominated[len(nominated)/2]))
	if *roomTable != "" {
		f, err := os.OpenFile(*roomTable, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o666)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		fmt.Fprintf(f, "%s\nMedian: TCP connected after %.2f round trips, nominated after %.2f.\n", table, rtts(tcp[len(tcp)/2]), rtts(nominated[len(nominated)/2]))
	}
	if got := rtts(tcp[len(tcp)/2]); got > 1.3 {
		t.Errorf("TCP connected after %.2f RTT, want at most 1.3", got)
	}
	if got := rtts(nominated[len(nominated)/2]); got > 3.5 {
		t.Errorf("nominated after %.2f RTT, want at most 3.5", got)
	}
}

func rtts(d time.Duration) float64 { return float64(d) / float64(labRTT) }

// wantOneConnection checks that both sides hold the same connection.
func wantOneConnection(t *testing.T, a, b peerReport) {
	t.Helper()
	if a.Err != "" || b.Err != "" {
		t.Fatalf("a: %s; b: %s", a.Err, b.Err)
	}
	if a.Path.Local.Port() != b.Path.Remote.Port() || a.Path.Remote.Port() != b.Path.Local.Port() || a.Path.Kind != b.Path.Kind {
		t.Errorf("not one connection: %v and %v", a.Path, b.Path)
	}
}

// TestRoomSameNAT: two hosts behind one NAT take the private path, and have it
// two round trips of their network after they know each other's addresses: one
// for TCP, one for TLS.
func TestRoomSameNAT(t *testing.T) {
	const rtt = 80 * time.Millisecond // so long that what a busy machine adds is little
	for _, hairpin := range []bool{false, true} {
		lan := natlab.Link{Delay: rtt / 4}
		lab := natlab.New(t, natlab.Topology{
			NATs:  []natlab.NAT{{Name: "home", Hairpin: hairpin, Link: natlab.Link{Delay: 25 * time.Millisecond}}},
			Hosts: []natlab.Host{{Name: "a", Behind: "home", Link: lan}, {Name: "b", Behind: "home", Link: lan}, {Name: "stun"}},
		})
		a, b := meet(t, lab, serveSTUN(t, lab), 20*time.Second)
		wantOneConnection(t, a, b)
		if a.Path.Kind != KindPrivate {
			t.Errorf("hairpin %v: took the %s path", hairpin, a.Path.Kind)
		}
		got := float64(a.Path.Punch) / float64(rtt)
		t.Logf("hairpin %v: %v, %.2f round trips of the LAN", hairpin, a.Path, got)
		if got > 4 { // the rest is for a busy machine
			t.Errorf("hairpin %v: authenticated after %.2f round trips, want 2", hairpin, got)
		}
	}
}

// TestRoomHairpin: two homes behind one carrier NAT, which share a public
// address but no private network, meet through the carrier's hairpin.
func TestRoomHairpin(t *testing.T) {
	lab := natlab.New(t, natlab.Topology{
		NATs: []natlab.NAT{
			{Name: "carrier", Hairpin: true, Link: natlab.Link{Delay: 10 * time.Millisecond}},
			{Name: "home", Behind: "carrier", Unsolicited: natlab.Reset, Link: natlab.Link{Delay: 10 * time.Millisecond}},
			{Name: "office", Behind: "carrier", Unsolicited: natlab.Drop, Link: natlab.Link{Delay: 10 * time.Millisecond}},
		},
		Hosts: []natlab.Host{{Name: "a", Behind: "home"}, {Name: "b", Behind: "office"}, {Name: "stun"}},
	})
	a, b := meet(t, lab, serveSTUN(t, lab), 20*time.Second)
	wantOneConnection(t, a, b)
	if a.Path.Kind != KindPublic {
		t.Errorf("took the %s path", a.Path.Kind)
	}
}

// TestRoomIPv6: through two stateful IPv6 firewalls, with no IPv4 mapping known.
func TestRoomIPv6(t *testing.T) {
	for _, linux := range []bool{false, true} {
		for _, u := range []natlab.Unsolicited{natlab.Drop, natlab.Reset} {
			t.Run(fmt.Sprintf("linux %v, %v", linux, u), func(t *testing.T) {
				top := homes(natlab.NAT{Linux: linux, Unsolicited: u}, natlab.NAT{Linux: linux, Unsolicited: u})
				top.IPv6 = true
				a, b := meet(t, natlab.New(t, top), nil, 20*time.Second)
				wantOneConnection(t, a, b)
				if a.Path.Kind != KindIPv6 {
					t.Errorf("took the %s path", a.Path.Kind)
				}
				t.Log(a.Path)
			})
		}
	}
}

// TestRoomBothFamilies: IPv4 and IPv6 are raced, so it is enough that one of
// them can work; where both can, IPv6 needs no luck with ports.
func TestRoomBothFamilies(t *testing.T) {
	refuses := natlab.NAT{RefuseInboundSYN: true}
	random := natlab.NAT{Mapping: natlab.AddressAndPortDependent, Ports: natlab.Random}
	tests := []struct {
		name string
		a, b natlab.NAT
		want Kind // "": either
	}{
		{"both can", natlab.NAT{}, natlab.NAT{}, ""},
		{"IPv4 cannot", random, random, KindIPv6},
		{"one side lets nobody in", refuses, natlab.NAT{}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			top := homes(tt.a, tt.b)
			top.IPv6 = true
			lab := natlab.New(t, top)
			a, b := meet(t, lab, serveSTUN(t, lab), 20*time.Second)
			wantOneConnection(t, a, b)
			if tt.want != "" && a.Path.Kind != tt.want {
				t.Errorf("took the %s path", a.Path.Kind)
			}
			t.Log(a.Path)
		})
	}
}

// TestRoomFarNAT: the carrier's NAT is too far for the first TTL, and
// answers with a RST; a later lane, or round, passes it.
func TestRoomFarNAT(t *testing.T) {
	carrier := natlab.NAT{Unsolicited: natlab.Reset, RSTEndsSession: true, Link: natlab.Link{Delay: 25 * time.Millisecond, Hops: 6}}
	c1, c2 := carrier, carrier
	c1.Name, c2.Name = "carrier1", "carrier2"
	far := natlab.Link{Hops: 4}
	lab := natlab.New(t, natlab.Topology{
		NATs:  []natlab.NAT{c1, c2, {Name: "home", Behind: "carrier1", Link: far}, {Name: "office", Behind: "carrier2", Link: far}},
		Hosts: []natlab.Host{{Name: "a", Behind: "home"}, {Name: "b", Behind: "office"}, {Name: "stun"}},
	})
	a, b := meet(t, lab, serveSTUN(t, lab), 30*time.Second)
	wantOneConnection(t, a, b)
	t.Log(a.Path)
}

// TestRoomImpossible: two NATs that refuse every inbound SYN. Both sides give
// up after the last round, and say what happened.
func TestRoomImpossible(t *testing.T) {
	refuses := natlab.NAT{RefuseInboundSYN: true}
	lab := natlab.New(t, homes(refuses, refuses))
	a, b := meet(t, lab, serveSTUN(t, lab), time.Minute)
	for _, r := range []peerReport{a, b} {
		if !strings.Contains(r.Err, "nothing came back") {
			t.Errorf("got %q", r.Err)
		}
	}
}
