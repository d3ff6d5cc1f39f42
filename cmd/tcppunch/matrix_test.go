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

	"github.com/tcppunch/tcppunch/tcppunch"
	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// The matrix runs send and recv behind every pair of NATs. `go test` takes a
// seeded choice of it; scripts/matrix takes all of it and writes the table.
var (
	matrixFull  = flag.Bool("matrix", false, "run all pairs of NATs, several times each")
	matrixRuns  = flag.Int("matrix.runs", 5, "with -matrix: runs of each pair")
	matrixTable = flag.String("matrix.table", "", "write the table to this file, as Markdown")
	matrixSeed  = flag.Uint64("matrix.seed", 0, "seed of the choice and of the starts; 0 takes one by chance")
)

// A natKind is a row, or a column, of the matrix.
type natKind struct {
	name string
	nat  natlab.NAT
}

var realNATs = []natKind{
	{"drop", natlab.NAT{Linux: true, Unsolicited: natlab.Drop}},
	{"open", natlab.NAT{Linux: true, Unsolicited: natlab.Accept}},
	{"reject", natlab.NAT{Linux: true, Unsolicited: natlab.Reset}},
}

// All with endpoint-independent mapping and address and port-dependent filtering.
var emulatedNATs = []natKind{
	{"drop", natlab.NAT{Unsolicited: natlab.Drop}},
	{"RST", natlab.NAT{Unsolicited: natlab.Reset}},
	{"RST kills", natlab.NAT{Unsolicited: natlab.Reset, RSTEndsSession: true}},
	{"ICMP", natlab.NAT{Unsolicited: natlab.ICMP}},
	{"no SYN", natlab.NAT{RefuseInboundSYN: true}},
	{"no SYN, RST", natlab.NAT{RefuseInboundSYN: true, Unsolicited: natlab.Reset}},
}

// A cell is a pair of NATs, and what came of its runs.
type cell struct {
	family string
	a, b   natKind

	mu      sync.Mutex
	results []result
}

func (c *cell) String() string { return c.family + "/" + c.a.name + "-" + c.b.name }

// possible: a NAT that refuses every inbound SYN needs one on the other side
// that does not.
func (c *cell) possible() bool { return !c.a.nat.RefuseInboundSYN || !c.b.nat.RefuseInboundSYN }

func pairs(family string, kinds []natKind) []*cell {
	var cs []*cell
	for _, a := range kinds {
		for _, b := range kinds {
			cs = append(cs, &cell{family: family, a: a, b: b})
		}
	}
	return cs
}

func TestMatrix(t *testing.T) {
	seed := *matrixSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("-matrix.seed=%d", seed)
	linux, emulated := pairs("linux", realNATs), pairs("emulated", emulatedNATs)
	runs := *matrixRuns
	if !*matrixFull {
		runs = 1
		emulated = choose(emulated, random)
		if testing.Short() {
			linux, emulated = linux[:1], emulated[:1]
		}
	}
	t.Run("pairs", func(t *testing.T) {
		for range runs {
			for _, c := range slices.Concat(linux, emulated) {
				tr := trial{
					late:    time.Duration(random.Int64N(int64(20 * time.Second))),
					offset:  time.Duration(random.Int64N(int64(8 * time.Second))),
					bFirst:  random.IntN(2) == 1,
					timeout: 60 * time.Second,
				}
				if c.family == "emulated" {
					tr.late /= 10
				}
				t.Run(c.String(), func(t *testing.T) {
					t.Parallel()
					c.run(t, tr)
				})
			}
		}
	})
	if *matrixTable != "" {
		f, err := os.Create(*matrixTable)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		writeTable(f, "Real Linux NATs", linux)
		writeTable(f, "Emulated NATs", emulated)
	}
}

// choose takes a third of the pairs that can connect, and one that cannot.
func choose(cs []*cell, random *rand.Rand) []*cell {
	random.Shuffle(len(cs), func(i, j int) { cs[i], cs[j] = cs[j], cs[i] })
	var some []*cell
	possible, impossible := 11, 1
	for _, c := range cs {
		left := &possible
		if !c.possible() {
			left = &impossible
		}
		if *left > 0 {
			*left--
			some = append(some, c)
		}
	}
	return some
}

func (c *cell) run(t *testing.T, tr trial) {
	if !c.possible() {
		c.runImpossible(t)
		return
	}
	t.Log(tr)
	lab := natlab.New(t, twoNATs(c.a.nat, c.b.nat))
	res := transferOnce(t, lab, tr)
	within := 5 * time.Second
	if !*matrixFull {
		within *= 4 // other tests run beside these few
	}
	if c.a.nat.RefuseInboundSYN || c.b.nat.RefuseInboundSYN {
		within *= 2 // only one of the two can open, and that must be its turn
	}
	res.wantTCP(t, tcppunch.KindPublic, within)
	c.mu.Lock()
	c.results = append(c.results, res)
	c.mu.Unlock()
}

// runImpossible: both sides must end with a reason, and status 3.
func (c *cell) runImpossible(t *testing.T) {
	lab := natlab.New(t, twoNATs(c.a.nat, c.b.nat))
	a, b := newSide(t, lab.Host("a")), newSide(t, lab.Host("b"))
	name := a.file("file.bin", fileSize)
	ps := a.start("send", "--peer", lab.NAT("office").Addr().String()+":7070"+words, "--timeout=20s", "--via=tcp", name)
	pr := b.start("recv", "--peer", lab.NAT("home").Addr().String()+":7070"+words, "--timeout=20s", "--via=tcp", "--out", "out")
	for _, p := range []*peer{ps, pr} {
		if got := p.status(); got != statusNoPath {
			t.Errorf("%s: exit status %d, want %d", p.name, got, statusNoPath)
		}
		e, _ := p.find("error")
		if e.Code != "timeout" && e.Code != "no-path" || !strings.Contains(e.Message, "both") {
			t.Errorf("%s: error %q: %s", p.name, e.Code, e.Message)
		}
	}
	wantOnly(t, b.dir)
	c.mu.Lock()
	c.results = append(c.results, result{})
	c.mu.Unlock()
}

// writeTable prints a row for each pair.
func writeTable(w io.Writer, title string, cs []*cell) {
	fmt.Fprintf(w, "**%s**\n\n| sender's NAT | receiver's NAT | connected by TCP | technique of the sender | slots since its start, median | punch / RTT, median | seconds after both were up, median (most) |\n| --- | --- | --- | --- | --- | --- | --- |\n", title)
	for _, c := range cs {
		if !c.possible() {
			fmt.Fprintf(w, "| %s | %s | impossible, said so %d of %d | | | | |\n", c.a.name, c.b.name, len(c.results), len(c.results))
			continue
		}
		fmt.Fprintln(w, c.row())
	}
	fmt.Fprintln(w)
}

func (c *cell) row() string {
	techniques := map[string]int{}
	var punch, after []float64
	var rounds []int
	for _, r := range c.results {
		if r.connected {
			techniques[r.event.Technique]++
			punch = append(punch, r.event.PunchMS/(4*float64(oneWay.Milliseconds())))
			rounds = append(rounds, r.event.Round)
			after = append(after, r.afterBoth.Seconds())
		}
	}
	if len(after) == 0 {
		return fmt.Sprintf("| %s | %s | 0 of %d | | | | |", c.a.name, c.b.name, len(c.results))
	}
	slices.Sort(punch)
	slices.Sort(after)
	slices.Sort(rounds)
	var names []string
	for name, n := range techniques {
		names = append(names, fmt.Sprintf("%s %d", name, n))
	}
	slices.Sort(names)
	return fmt.Sprintf("| %s | %s | %d of %d | %s | %d | %.1f | %.2f (%.2f) |", c.a.name, c.b.name, len(after), len(c.results),
		strings.Join(names, ", "), rounds[len(rounds)/2], punch[len(punch)/2], after[len(after)/2], after[len(after)-1])
}
