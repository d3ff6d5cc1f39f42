package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/stunt/natcheck"
	"github.com/tcppunch/tcppunch/stunt/stun"
	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// `go test` has `check` name the real Linux NATs, and as many emulated ones as
// it takes to see each pair of their properties together.
var (
	checkAll  = flag.Bool("check.all", false, "check all emulated NATs, with and without a second address of the server")
	checkSeed = flag.Uint64("check.seed", 0, "seed of the choice of NATs to check; 0 takes one by chance")
)

// A checkCase is a NAT, and whether the server has a second address.
type checkCase struct {
	nat natlab.NAT
	alt bool
}

func (c checkCase) String() string {
	alt := map[bool]string{true: "two addresses", false: "one address"}[c.alt]
	if c.nat.Linux {
		return fmt.Sprintf("linux, %v, %s", c.nat.Unsolicited, alt)
	}
	s := fmt.Sprintf("%v mapping, %v filtering, %v %d, %v", c.nat.Mapping, c.nat.Filtering, c.nat.Ports, c.nat.Step, c.nat.Unsolicited)
	if c.nat.RefuseInboundSYN {
		s += ", no SYN"
	}
	if c.nat.RSTEndsSession {
		s += ", RST kills"
	}
	return s + ", " + alt
}

// A choice is one value for each property, by its number.
type choice [7]int

var checkValues = choice{3, 3, 3, 4, 2, 2, 2}

func (c choice) checkCase(random *rand.Rand) checkCase {
	behaviors := []natlab.Behavior{natlab.EndpointIndependent, natlab.AddressDependent, natlab.AddressAndPortDependent}
	n := natlab.NAT{
		Mapping: behaviors[c[0]], Filtering: behaviors[c[1]],
		Ports:            []natlab.Ports{natlab.Preserving, natlab.Sequential, natlab.Random}[c[2]],
		Unsolicited:      []natlab.Unsolicited{natlab.Drop, natlab.Reset, natlab.ICMP, natlab.Prohibited}[c[3]],
		RefuseInboundSYN: c[4] == 1, RSTEndsSession: c[5] == 1,
	}
	if n.Ports == natlab.Sequential {
		n.Step, n.Churn = 1+random.IntN(8), random.IntN(4)
	}
	return checkCase{n, c[6] == 1}
}

// allChoices are all combinations, in random order.
func allChoices(random *rand.Rand) []choice {
	all := []choice{{}}
	for i, n := range checkValues {
		var more []choice
		for _, c := range all {
			for v := range n {
				c[i] = v
				more = append(more, c)
			}
		}
		all = more
	}
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// pairwise leaves enough choices for each two values to be seen together once.
func pairwise(all []choice) []choice {
	type two struct{ i, vi, j, vj int }
	seen := make(map[two]bool)
	pairs := func(c choice) (new []two) {
		for i := range c {
			for j := range i {
				if p := (two{i, c[i], j, c[j]}); !seen[p] {
					new = append(new, p)
				}
			}
		}
		return new
	}
	var some []choice
	for {
		best := slices.MaxFunc(all, func(a, b choice) int { return len(pairs(a)) - len(pairs(b)) })
		new := pairs(best)
		if len(new) == 0 {
			return some
		}
		for _, p := range new {
			seen[p] = true
		}
		some = append(some, best)
	}
}

func TestCheck(t *testing.T) {
	seed := *checkSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-check.seed=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	choices := allChoices(random)
	if !*checkAll {
		choices = pairwise(choices)
	}
	var cases []checkCase
	for _, u := range []natlab.Unsolicited{natlab.Drop, natlab.Accept, natlab.Reset} {
		for _, alt := range []bool{true, false} {
			cases = append(cases, checkCase{natlab.NAT{Linux: true, Unsolicited: u}, alt})
		}
	}
	for _, c := range choices {
		cases = append(cases, c.checkCase(random))
	}
	if testing.Short() {
		cases = cases[:8]
	}
	for _, c := range cases {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			c.run(t)
		})
	}
}

// checkAlt is the server's second address.
var checkAlt = netip.MustParseAddr("198.51.100.99")

func (c checkCase) run(t *testing.T) {
	lab := newCheckLab(t, c.nat)
	lab.serve(c.alt)
	lab.befriend()
	r := lab.check("check", "--server", lab.Host("server").Addr().String())
	got, want := namesOf(r), c.want()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] != want[name] {
			t.Errorf("%s: got %q, want %q", name, got[name], want[name])
		}
	}
	if r.TCP.Churn > c.nat.Churn || r.UDP.Churn > c.nat.Churn {
		t.Errorf("churn is %d and %d, want %d at most", r.TCP.Churn, r.UDP.Churn, c.nat.Churn)
	}
}

// want is what a check must say of this NAT.
func (c checkCase) want() map[string]string {
	n := c.nat
	mapping, filtering := n.Mapping.String(), n.Filtering.String()
	if n.Linux {
		mapping, filtering = "endpoint-independent", "address-and-port-dependent"
	}
	if !c.alt { // one address cannot tell these apart
		const either = "endpoint-independent or address-dependent"
		if mapping != "address-and-port-dependent" {
			mapping = either
		}
		if filtering != "address-and-port-dependent" {
			filtering = either
		}
	}
	answer := map[natlab.Unsolicited]string{
		natlab.Drop: "silent", natlab.Reset: "RST", natlab.Accept: "RST", natlab.ICMP: "ICMP", natlab.Prohibited: "ICMP",
	}[n.Unsolicited]
	w := map[string]string{
		"tcp mapping": mapping, "udp mapping": mapping, "tcp filtering": filtering, "udp filtering": filtering,
		"tcp ports": n.Ports.String(), "udp ports": n.Ports.String(),
		"tcp step": fmt.Sprint(n.Step), "udp step": fmt.Sprint(n.Step),
		"unsolicited": answer, "inbound": "accepted", "rst": "", "hairpin": "no no", "routers": "1",
	}
	if mapping != "endpoint-independent" && n.Ports != natlab.Preserving {
		w["hairpin"] = " " // the mapping that was dialled may be another one
	}
	switch {
	case n.RefuseInboundSYN: // whoever sends it
		w["tcp filtering"], w["inbound"] = "address-and-port-dependent", answer
	case filtering == "endpoint-independent" || filtering == "endpoint-independent or address-dependent":
		w["unsolicited"] = "accepted"
	case filtering == "address-and-port-dependent":
		// The kernel's connection tracking takes a SYN for invalid that follows a RST.
		w["rst"] = map[bool]string{true: "yes", false: "no"}[n.RSTEndsSession || n.Linux]
	}
	return w
}

// namesOf puts a report in the words of want.
func namesOf(r *natcheck.Report) map[string]string {
	return map[string]string{
		"tcp mapping": string(r.TCP.Mapping), "udp mapping": string(r.UDP.Mapping),
		"tcp filtering": string(r.TCP.Filtering), "udp filtering": string(r.UDP.Filtering),
		"tcp ports": string(r.TCP.Ports), "udp ports": string(r.UDP.Ports),
		"tcp step": fmt.Sprint(r.TCP.Step), "udp step": fmt.Sprint(r.UDP.Step),
		"unsolicited": string(r.TCP.Unsolicited), "inbound": string(r.TCP.InboundSYN), "rst": string(r.TCP.RSTEnds),
		"hairpin": string(r.TCP.Hairpin) + " " + string(r.UDP.Hairpin), "routers": fmt.Sprint(r.Routers),
	}
}

// A checkLab is a host behind a NAT, and a public one with two addresses.
type checkLab struct {
	*natlab.Lab
	t *testing.T
}

func newCheckLab(t *testing.T, n natlab.NAT) *checkLab {
	t.Helper()
	n.Name, n.Link = "home", natlab.Link{Delay: oneWay}
	return &checkLab{natlab.New(t, natlab.Topology{
		NATs: []natlab.NAT{n},
		Hosts: []natlab.Host{
			{Name: "a", Behind: "home"}, {Name: "server", Also: checkAlt, Link: natlab.Link{Delay: oneWay}}, {Name: "friend"},
		},
	}), t}
}

// serve runs the built server until the test ends.
func (l *checkLab) serve(alt bool) {
	l.t.Helper()
	args := []string{"serve"}
	if alt {
		args = append(args, "--alt", checkAlt.String())
	}
	p := newSide(l.t, l.Host("server")).start(args...)
	if _, err := p.waitEvent("listening", 20*time.Second); err != nil {
		l.t.Fatal(err)
	}
}

// befriend has the server know that its SYNs get out: a host that can be dialled has it do so.
func (l *checkLab) befriend() {
	l.t.Helper()
	p := newSide(l.t, l.Host("friend")).start("check", "--server", l.Host("server").Addr().String())
	if status := p.status(); status != 0 {
		l.t.Fatalf("exit status %d, want 0\n%s", status, p.Stderr)
	}
}

// check runs the command to its end, and returns the report that it prints.
func (l *checkLab) check(args ...string) *natcheck.Report {
	l.t.Helper()
	p := newSide(l.t, l.Host("a")).start(args...)
	if status := p.status(); status != 0 {
		l.t.Fatalf("exit status %d, want 0\n%s", status, p.Stderr)
	}
	l.t.Logf("after %.1f s\n%s", time.Since(p.started).Seconds(), p.Stderr)
	return l.report(p.Stdout.String())
}

func (l *checkLab) report(stdout string) *natcheck.Report {
	l.t.Helper()
	var e struct {
		Event string `json:"event"`
		natcheck.Report
		Meaning []string `json:"meaning"`
	}
	if err := json.Unmarshal([]byte(stdout), &e); err != nil || e.Event != "report" || len(e.Meaning) == 0 {
		l.t.Fatalf("stdout is not one report: %v\n%s", err, stdout)
	}
	return &e.Report
}

func TestCheckWithoutAnswer(t *testing.T) {
	t.Parallel()
	lab := newCheckLab(t, natlab.NAT{})
	p := newSide(t, lab.Host("a")).start("check", "--server", lab.Host("server").Addr().String())
	p.wantFailure(statusNoPath, "no-network", "no answer")
}

// A server that speaks plain STUN lets less be known, and the command says what.
func TestCheckPlainServers(t *testing.T) {
	t.Parallel()
	lab := newCheckLab(t, natlab.NAT{Mapping: natlab.AddressAndPortDependent, Ports: natlab.Sequential, Step: 3})
	for _, at := range []string{":3478", ":3479"} {
		serveSTUN(t, lab.Host("server"), at)
	}
	addr := lab.Host("server").Addr()
	r := lab.check("check", "-v", "--stun", fmt.Sprintf("%v,%v:3479", addr, addr))
	got := namesOf(r)
	for name, want := range map[string]string{
		"tcp mapping": "address-and-port-dependent", "udp mapping": "address-and-port-dependent", "tcp filtering": "", "udp filtering": "",
		"tcp ports": "sequential", "tcp step": "3", "udp step": "3", "unsolicited": "", "inbound": "", "routers": "1",
	} {
		if got[name] != want {
			t.Errorf("%s: got %q, want %q", name, got[name], want)
		}
	}
	if all := strings.Join(r.Skipped, "; "); !strings.Contains(all, "TCP filtering") || !strings.Contains(all, "UDP filtering") {
		t.Errorf("the report does not say what was not tried: %q", r.Skipped)
	}
}

// serveSTUN answers plain Binding requests, over TCP and UDP, until the test ends.
func serveSTUN(t *testing.T, host *natlab.Machine, at string) {
	t.Helper()
	ln, err := host.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	pc, err := host.ListenPacket("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { new(stun.Server).Serve(ctx, ln) })       //nolint:errcheck // the test sees whether it serves
	wg.Go(func() { new(stun.Server).ServePacket(ctx, pc) }) //nolint:errcheck // likewise
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
}
