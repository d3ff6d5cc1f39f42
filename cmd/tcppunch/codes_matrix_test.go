package main

import (
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// The matrix of codes runs serve on a public host, send and recv behind every
// pair of NATs, and the topologies beside. `go test` takes a seeded choice of
// it; scripts/matrix takes all of it, writes the tables and draws the picture.
var (
	codesTable = flag.String("matrix.codes", "", "write the tables of codes to this file, as Markdown")
	codesSVG   = flag.String("matrix.svg", "", "draw the pairs of codes into this file, as SVG")
	codesVia   = flag.String("matrix.via", "tcp", "connect by tcp, kcp or auto")
)

// A scenario is a network with the hosts a, which sends, and b, and what must
// come of it.
type scenario struct {
	family, name string
	class        string // of which a choice has at least one
	top          natlab.Topology
	via          string   // tcp, kcp or auto
	row, column  int      // in the picture, for pairs of emulated NATs
	impossible   []string // why no connection can come about, of which the error must say one; none if one can
	kind         string   // of the path; "" means any
	always       bool     // connects in every run, as all endpoint-independent NATs do

	mu   sync.Mutex
	runs []codesRun
}

// codesRun is what came of a run.
type codesRun struct {
	connected    bool
	sender, recv event // connected, of either side
	// The largest of each count at a NAT, until both were connected.
	cost natlab.Stats
}

func (s *scenario) String() string { return s.family + "/" + s.name }

func TestCodesMatrix(t *testing.T) {
	seed := *matrixSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("-matrix.seed=%d", seed)
	all := allScenarios(*codesVia)
	some, runs := all, *matrixRuns
	if !*matrixFull {
		most := 40
		if testing.Short() {
			most = 4
		}
		some, runs = chooseScenarios(all, most, random), 1
	}
	t.Run("scenarios", func(t *testing.T) {
		for range runs {
			for _, s := range some {
				bFirst := random.IntN(2) == 1
				t.Run(s.String(), func(t *testing.T) {
					t.Parallel()
					s.test(t, bFirst)
				})
			}
		}
	})
	if *matrixFull && !t.Failed() {
		wantShares(t, all)
	}
	writeFile(t, *codesTable, func(w io.Writer) { writeCodes(w, all, *codesVia) })
	writeFile(t, *codesSVG, func(w io.Writer) { drawPairs(w, all) })
}

// TestCodesUDP: a few of the same, by UDP.
func TestCodesUDP(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	most := 10
	if testing.Short() {
		most = 2
	}
	for _, s := range chooseScenarios(allScenarios("kcp"), most, random) {
		bFirst := random.IntN(2) == 1
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			s.test(t, bFirst)
		})
	}
}

// allScenarios are all that connect, or shall fail to, in one way.
func allScenarios(via string) []*scenario {
	all := slices.Concat(emulatedPairs(), realPairs(), steppedNATs(), topologies())
	for _, s := range all {
		s.via = via
		if via != "tcp" { // to UDP, SYNs are all the same
			s.impossible = slices.DeleteFunc(s.impossible, func(why string) bool { return why == bothRefuse })
		}
	}
	return all
}

func writeFile(t *testing.T, name string, write func(io.Writer)) {
	t.Helper()
	if name == "" {
		return
	}
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	write(f)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// chooseScenarios takes one of each class, and others up to the number.
func chooseScenarios(all []*scenario, most int, random *rand.Rand) []*scenario {
	shuffled := slices.Clone(all)
	random.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	have := make(map[string]bool)
	var some, rest []*scenario
	for _, s := range shuffled {
		if have[s.class] {
			rest = append(rest, s)
			continue
		}
		have[s.class] = true
		some = append(some, s)
	}
	some = append(some, rest[:max(0, min(len(rest), most-len(some)))]...)
	return some[:min(len(some), most)]
}

// TestChooseScenarios: at most 40, of every class, without doubles.
func TestChooseScenarios(t *testing.T) {
	all := slices.Concat(emulatedPairs(), realPairs(), steppedNATs(), topologies())
	classes, names := make(map[string]bool), make(map[string]bool)
	for _, s := range all {
		classes[s.class] = true
		if names[s.String()] {
			t.Errorf("two scenarios are %s", s)
		}
		names[s.String()] = true
	}
	for seed := range uint64(20) {
		some := chooseScenarios(all, 40, rand.New(rand.NewPCG(seed, 0)))
		missing := make(map[string]bool)
		for c := range classes {
			missing[c] = true
		}
		seen := make(map[string]bool)
		for _, s := range some {
			delete(missing, s.class)
			seen[s.String()] = true
		}
		if len(missing) > 0 || len(some) != 40 || len(seen) != 40 {
			t.Errorf("seed %d: %d scenarios, %d different, without %v", seed, len(some), len(seen), missing)
		}
	}
}

// test runs a scenario and checks it. Where chance has its part, a run of a
// choice may fail, if the next one does not.
func (s *scenario) test(t *testing.T, bFirst bool) {
	if len(s.impossible) > 0 {
		s.testImpossible(t, bFirst)
		return
	}
	r, why := s.run(t, bFirst)
	if !r.connected && !s.always && !*matrixFull {
		t.Logf("again, after: %s", why)
		r, why = s.run(t, bFirst)
	}
	s.record(r)
	switch {
	case r.connected:
		t.Logf("%s and %s, %s, round %d, punch %.0f ms, setup of recv %.0f ms", r.sender.Technique, r.recv.Technique,
			r.sender.Kind, r.sender.Round, r.recv.PunchMS, r.recv.SetupMS)
	case s.always || !*matrixFull:
		t.Error(why)
	default:
		t.Logf("FAILED: %s", why) // wantShares tells how many may
	}
}

func (s *scenario) record(r codesRun) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs = append(s.runs, r)
}

const matrixCode = "matrix-otter-lamp"

// A codesLab is a lab with a server that runs and a side on either host.
type codesLab struct {
	lab    *natlab.Lab
	a, b   *side
	server *peer
	before map[string]natlab.Stats
}

func newCodesLab(t *testing.T, top natlab.Topology) *codesLab {
	t.Helper()
	top.Hosts = append(slices.Clone(top.Hosts), natlab.Host{Name: "server"})
	lab := natlab.New(t, top)
	l := &codesLab{
		lab: lab, a: newSide(t, lab.Host("a")), b: newSide(t, lab.Host("b")),
		server: newSide(t, lab.Host("server")).start("serve"), before: make(map[string]natlab.Stats),
	}
	if _, err := l.server.waitEvent("listening", 30*time.Second); err != nil {
		t.Fatal(err)
	}
	for _, g := range lab.NATs() {
		l.before[g.Name()] = g.Stats()
	}
	return l
}

// start starts one program and, when it waits in its room, the other.
func (l *codesLab) start(name, via string, bFirst bool) (send, recv *peer) {
	server := "--server=" + l.lab.Host("server").Addr().String()
	begin := [2]func(){
		func() {
			send = l.a.start("send", "--code", matrixCode, server, "--timeout=60s", "--via", via, name)
		},
		func() {
			recv = l.b.start("recv", matrixCode, server, "--timeout=60s", "--via", via, "--yes", "--out", "out")
		},
	}
	if bFirst {
		begin[0], begin[1] = begin[1], begin[0]
	}
	begin[0]()
	first := send
	if bFirst {
		first = recv
	}
	if _, err := first.waitEvent("waiting", 30*time.Second); err != nil {
		first.t.Error(err)
	}
	begin[1]()
	return send, recv
}

// cost returns the largest of each count at a NAT so far.
func (l *codesLab) cost() natlab.Stats {
	var most natlab.Stats
	for _, g := range l.lab.NATs() {
		s := g.Stats().Since(l.before[g.Name()])
		most.Out, most.In, most.SYNs = max(most.Out, s.Out), max(most.In, s.In), max(most.SYNs, s.SYNs)
		most.Mappings, most.Sessions = max(most.Mappings, s.Mappings), max(most.Sessions, s.Sessions)
	}
	return most
}

// run transfers a file. It returns why that failed, if it did.
func (s *scenario) run(t *testing.T, bFirst bool) (r codesRun, why string) {
	l := newCodesLab(t, s.top)
	name := l.a.file("file.bin", 1000)
	send, recv := l.start(name, s.via, bFirst)
	var errs [2]error
	r.sender, errs[0] = send.waitEvent("connected", 65*time.Second)
	r.recv, errs[1] = recv.waitEvent("connected", 5*time.Second)
	r.cost = l.cost()
	sent, received := send.status(), recv.status()
	if errs[0] != nil || errs[1] != nil || sent != 0 || received != 0 {
		e, _ := send.find("error")
		f, _ := recv.find("error")
		return r, fmt.Sprintf("%v, %v: send ended with %d, %s; recv with %d, %s", errs[0], errs[1], sent, e.Message, received, f.Message)
	}
	wantSame(t, name, l.b.dir)
	if s.via != "auto" && r.sender.Network != s.via || s.kind != "" && r.sender.Kind != s.kind && !(s.kind == "private" && r.sender.Kind == "lan") {
		t.Errorf("connected by %s to a %s address, want %s, %s", r.sender.Network, r.sender.Kind, s.via, s.kind)
	}
	r.connected = true
	return r, ""
}

// testImpossible: both sides must end with status 3, and say why.
func (s *scenario) testImpossible(t *testing.T, bFirst bool) {
	l := newCodesLab(t, s.top)
	begin := time.Now()
	send, recv := l.start(l.a.file("file.bin", 1000), s.via, bFirst)
	for _, p := range []*peer{send, recv} {
		if got := p.status(); got != statusNoPath {
			t.Errorf("%s: exit status %d, want %d", p.name, got, statusNoPath)
		}
		e, _ := p.find("error")
		if !slices.ContainsFunc(s.impossible, func(why string) bool { return strings.Contains(e.Message, why) }) {
			t.Errorf("%s: error %q, %q, want it to say one of %q", p.name, e.Code, e.Message, s.impossible)
		}
	}
	wantOnly(t, l.b.dir)
	t.Logf("said so after %v", time.Since(begin).Round(10*time.Millisecond))
	s.record(codesRun{cost: l.cost()})
}

// wantShares checks what must be true of all runs together: 99 in 100 of those
// that can connect do, all of the endpoint-independent pairs, and most at once.
func wantShares(t *testing.T, all []*scenario) {
	t.Helper()
	n, connected, atOnce := 0, 0, 0
	for _, s := range all {
		if len(s.impossible) > 0 {
			continue
		}
		for _, r := range s.runs {
			n++
			if r.connected {
				connected++
				if r.sender.Round == 0 {
					atOnce++
				}
			}
		}
	}
	t.Logf("%d of %d runs connected, %d of them in round 0", connected, n, atOnce)
	if connected*100 < n*99 || atOnce*2 < connected {
		t.Errorf("%d of %d runs connected, %d in round 0, want 99 %%, most of them at once", connected, n, atOnce)
	}
}
