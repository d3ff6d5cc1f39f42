package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// Transfers are cut at random moments. `go test` takes one of each kind; scripts/cuts takes
// many, of larger files, and writes the table.
var (
	cutRuns  = flag.Int("cuts", 0, "cut so many transfers of 64 MiB each, of all kinds in turn")
	cutTable = flag.String("cuts.table", "", "with -cuts: write the table to this file, as Markdown")
	cutSeed  = flag.Uint64("cuts.seed", 0, "seed of the moments and of the networks; 0 takes one by chance")
)

const (
	cutBlock  = 1 << 20 // what transfers verify, and send again, as a whole
	cutEnough = 4 * time.Minute
)

// A cutKind is a way to break a transfer.
type cutKind struct {
	name    string
	reboots bool            // a NAT
	cut     func(c *cutRun) // breaks it, and starts again what a person would start again
}

var cutKinds = []*cutKind{
	{"sender killed", false, (*cutRun).killSender},
	{"receiver killed", false, (*cutRun).killReceiver},
	{"both links down for 5 s", false, func(c *cutRun) { c.linksDown(5 * time.Second) }},
	{"NAT rebooted", true, (*cutRun).rebootNAT},
	{"server gone", false, (*cutRun).killServer},
	{"server gone, NAT rebooted", true, func(c *cutRun) { c.rebootNAT(); c.killServer() }},
}

// noCut is what the others are compared with: what a link carries besides the file.
var noCut = &cutKind{"none", false, func(*cutRun) {}}

// A cutRun is a transfer that is cut.
type cutRun struct {
	*meetingPlace
	t      *testing.T
	kind   *cutKind
	random *rand.Rand
	size   int
	file   string
	code   string
	send   *watched
	recv   *watched

	before   int64 // what the receiver had told to have when it was cut
	had      int64 // of a receiver that was killed: whole and right blocks on its disk
	cutAt    time.Time
	rebooted int // which of the NATs would be
	result   cutResult
}

// cutResult is what came of it.
type cutResult struct {
	right bool
	// again is how many bytes of the file came twice. What a receiver has got over the wire
	// it tells when it is done; one that was killed cannot, so it is what it had on its disk,
	// block by block, as compared with the file by the test: blocks that are there and come
	// once more count.
	again int64
	// wire is how many bytes came in at the receiver's host, with all headers, for programs
	// that were killed and those that were started again together.
	wire  int64
	broke bool          // it took another connection
	pause time.Duration // from the cut until data came again
}

// TestCuts: whatever happens to a transfer, it ends with the same file, on both sides, and
// what has arrived is not sent again.
func TestCuts(t *testing.T) {
	seed := *cutSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-cuts.seed=%d", seed)
	runs, size, rate := len(cutKinds), 16<<20, int64(60e6)
	kinds := cutKinds
	if *cutRuns > 0 {
		runs, size, rate = *cutRuns, 64<<20, 200e6
		kinds = append([]*cutKind{noCut}, kinds...)
		runs += 5 // of the first
	} else if testing.Short() {
		kinds, runs = kinds[:2], 2
	}
	table := newCutTable(kinds, int64(size))
	t.Run("kinds", func(t *testing.T) {
		for i := range runs {
			kind := cutKinds[i%len(cutKinds)]
			if i >= *cutRuns && *cutRuns > 0 {
				kind = noCut
			}
			t.Run(fmt.Sprintf("%d %s", i, kind.name), func(t *testing.T) {
				t.Parallel()
				c := &cutRun{t: t, kind: kind, size: size, random: rand.New(rand.NewPCG(seed, uint64(i)))}
				defer func() { table.add(kind, c.result) }()
				c.run(rate)
			})
		}
	})
	text := table.String()
	t.Log("\n" + text)
	if *cutTable != "" {
		if err := os.WriteFile(*cutTable, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// run is one transfer.
func (c *cutRun) run(rate int64) {
	top := twoNATs(c.nat(), c.nat())
	top.Seed = c.random.Uint64()
	c.rebooted = c.random.IntN(2)
	if c.kind.reboots { // one that gives the same ports again would not be felt
		name := top.NATs[c.rebooted].Name
		top.NATs[c.rebooted] = natlab.NAT{Name: name, Ports: natlab.Random}
	}
	for i := range top.NATs {
		top.NATs[i].Link.Rate, top.NATs[i].Link.Delay = rate, 5*time.Millisecond
	}
	c.meetingPlace = newMeetingPlaceIn(c.t, top)
	c.file = c.a.file("big.bin", c.size)
	c.send = watch(c.a.start("send", "-v", "--timeout=60s", c.file))
	c.code = c.send.code()
	c.recv = watch(c.b.start("recv", c.code, "-v", "--timeout=60s", "--out=out"))
	if c.kind != noCut {
		c.waitForMoment()
		c.cut()
	}
	c.wantEnd()
	c.measure()
	c.result.right = !c.t.Failed()
}

// nat is one of several that can be connected to.
func (c *cutRun) nat() natlab.NAT {
	return []natlab.NAT{
		{}, {Ports: natlab.Random}, {Linux: true, Unsolicited: natlab.Drop}, {Linux: true, Unsolicited: natlab.Reset},
	}[c.random.IntN(4)]
}

// waitForMoment waits until it is time to cut. It must not be over by then: events are
// late by up to a tenth of it, and so is the cut. For its very end see TestCutAtTheEnd.
func (c *cutRun) waitForMoment() {
	at := int64((0.05 + 0.7*c.random.Float64()) * float64(c.size))
	later := time.Duration(c.random.Int64N(int64(eventEvery)))
	ctx, cancel := context.WithTimeout(c.t.Context(), cutEnough)
	defer cancel()
	_, err := c.recv.Stdout.WaitFor(ctx, func(string) bool {
		e, ok := c.recv.last("progress")
		return ok && e.Bytes >= at
	})
	if err != nil {
		c.t.Fatalf("there was no progress to %d: %v", at, err)
	}
	time.Sleep(later)
}

// cut cuts.
func (c *cutRun) cut() {
	if e, ok := c.recv.last("progress"); ok {
		c.before = e.Bytes
	}
	c.cutAt = time.Now()
	if _, ok := c.recv.last("done"); ok {
		c.t.Error("all was done before it was cut: nothing was tested")
	}
	c.t.Logf("cut at %d of %d", c.before, c.size)
	c.kind.cut(c)
}

// away is how long a person takes to start a program again.
func (c *cutRun) away() { time.Sleep(time.Duration(c.random.Int64N(int64(3 * time.Second)))) }

func (c *cutRun) killSender() {
	c.send.kill(c.t)
	c.away()
	c.send = watch(c.a.start("send", "-v", "--timeout=60s", "--code", c.code, c.file))
}

func (c *cutRun) killReceiver() {
	c.recv.kill(c.t)
	if e, ok := c.recv.last("progress"); ok {
		c.before = e.Bytes
	}
	c.had = c.onDisk()
	c.away()
	c.recv = watch(c.b.start("recv", c.code, "-v", "--timeout=60s", "--out=out"))
}

func (c *cutRun) linksDown(d time.Duration) { c.homes.cut(c.t, d) }

func (c *cutRun) rebootNAT() {
	if err := c.lab.NAT([]string{"home", "office"}[c.rebooted]).Reboot(); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cutRun) killServer() {
	c.serve.Kill()
	c.serve.Wait()
	most := 2 * time.Second
	if *cutRuns > 0 {
		most = 15 * time.Second
	}
	time.Sleep(2*time.Second + time.Duration(c.random.Int64N(int64(most))))
	c.serves()
}

// onDisk is how many bytes of the partial file, or of the complete one, are whole blocks
// that are right.
func (c *cutRun) onDisk() (n int64) {
	want, err := os.ReadFile(c.file)
	if err != nil {
		c.t.Fatal(err)
	}
	partials, err := filepath.Glob(filepath.Join(c.b.dir, "out", ".*"))
	if err != nil {
		c.t.Fatal(err)
	}
	for _, p := range append(partials, filepath.Join(c.b.dir, "out", "big.bin")) {
		got, err := os.ReadFile(p)
		if err != nil || strings.HasSuffix(p, journalSuffix) {
			continue
		}
		for at := 0; at+cutBlock <= min(len(got), len(want)); at += cutBlock {
			if string(got[at:at+cutBlock]) == string(want[at:at+cutBlock]) {
				n += cutBlock
			}
		}
	}
	return n
}

// wantEnd checks that both programs have done their work.
func (c *cutRun) wantEnd() {
	for _, p := range []*watched{c.send, c.recv} {
		if _, err := p.waitEvent("done", cutEnough); err != nil {
			c.t.Error(err)
			p.Kill()
		}
		if status := p.status(); status != 0 {
			c.t.Errorf("%s: exit status %d", p.name, status)
		}
		<-p.ended
	}
	wantSame(c.t, c.file, c.b.dir)
	wantNoJournal(c.t, c.a.dir)
}

// measure finds out what was sent twice, and how long nothing came.
func (c *cutRun) measure() {
	done, ok := c.recv.last("done")
	if !ok {
		return
	}
	c.result.again = done.Moved + c.had - int64(c.size)
	c.result.wire = c.b.bytesIn()
	if c.result.again < 0 || c.result.again > cutBlock {
		c.t.Errorf("%d bytes were sent twice: %d came now, %d were there", c.result.again, done.Moved, c.had)
	}
	for _, e := range c.recv.all() {
		if e.Event == "resumed" && e.at.After(c.cutAt) && e.Bytes < c.before/cutBlock*cutBlock {
			c.t.Errorf("went on with %d bytes where there were %d", e.Bytes, c.before)
		}
	}
	c.result.broke = c.recv.count("connected")+c.send.count("connected") > 2 || c.had > 0 || c.send.count("resumed") > 0
	if c.kind == noCut {
		return
	}
	if e, ok := c.recv.flows(c.cutAt, c.before); ok {
		c.result.pause = e.at.Sub(c.cutAt)
	} else {
		c.t.Error("cannot tell when it went on")
	}
}

// flows finds when data came again: over the last connection if there is a new one, else as
// soon as there is more than can have been on its way.
func (w *watched) flows(cut time.Time, before int64) (cutEvent, bool) {
	const onItsWay = 2 << 20
	var last time.Time
	from := before + onItsWay
	for _, e := range w.all() {
		if e.at.After(cut) && e.Event == "connected" {
			last, from = e.at, 0
		}
		if e.at.After(cut) && e.Event == "resumed" {
			from = e.Bytes
		}
	}
	for _, e := range w.all() {
		switch e.Event {
		case "progress":
			if e.at.After(cut) && e.at.After(last) && (e.Bytes > from || e.Bytes == e.Total) {
				return e, true
			}
		case "done":
			return e, true
		}
	}
	return cutEvent{}, false
}

// bytesIn is what has come in at the host of a side.
func (s *side) bytesIn() (n int64) {
	for line := range strings.Lines(s.host.Run("cat", "/proc/self/net/dev").Stdout) {
		name, figures, ok := strings.Cut(strings.TrimSpace(line), ":")
		var in int64
		if ok && name != "lo" {
			if _, err := fmt.Sscan(figures, &in); err == nil {
				n += in
			}
		}
	}
	return n
}

// cutEvent is an event with the time when it was seen.
type cutEvent struct {
	event
	Moved int64 `json:"moved"`
	at    time.Time
}

// watched is a program whose events are noted as they come.
type watched struct {
	*peer
	ended chan struct{} // closed when all are

	mu     sync.Mutex
	events []cutEvent
}

func watch(p *peer) *watched {
	w := &watched{peer: p, ended: make(chan struct{})}
	go func() {
		defer close(w.ended)
		seen := 0
		w.Stdout.WaitFor(context.Background(), func(all string) bool { //nolint:errcheck // until the program ends
			now := time.Now()
			for {
				line, _, whole := strings.Cut(all[seen:], "\n")
				if !whole {
					return false
				}
				seen += len(line) + 1
				e := cutEvent{at: now}
				if err := json.Unmarshal([]byte(line), &e); err != nil {
					continue // parseEvents complains
				}
				w.mu.Lock()
				w.events = append(w.events, e)
				w.mu.Unlock()
			}
		})
	}()
	return w
}

func (w *watched) all() []cutEvent {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]cutEvent(nil), w.events...)
}

// last is the last event of a name.
func (w *watched) last(name string) (e cutEvent, ok bool) {
	for _, x := range w.all() {
		if x.Event == name {
			e, ok = x, true
		}
	}
	return e, ok
}

// kill ends a program as kill -9 does. It must not have been done.
func (w *watched) kill(t *testing.T) {
	w.Kill()
	w.Wait()
	<-w.ended
	if _, ok := w.last("done"); ok {
		t.Errorf("%s: was done before it was killed: nothing was tested", w.name)
	}
}
