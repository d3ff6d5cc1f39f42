package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// What transfers by the built command cost; scripts/bench transfer runs these.
var (
	measureWhat = flag.String("measure", "", "what to measure of transfers: speed, small, link, streams or memory")
	measureRuns = flag.Int("measure.runs", 5, "how often")
	measureDisk = flag.String("measure.disk", "", "a folder on the disk to measure with; default: a temporary one")
	measureRAM  = flag.String("measure.ram", "/dev/shm", "a folder in memory")
)

// measures skips a test of figures unless it was asked for.
func measures(t *testing.T, what string) {
	t.Helper()
	if *measureWhat != what {
		t.Skip("figures, not a test: see scripts/bench for " + what)
	}
}

// stamps notes when each kind of event came first, and all that tell of progress.
type stamps struct {
	mu       sync.Mutex
	part     []byte
	first    map[string]stamp
	progress []stamp
}

type stamp struct {
	at   time.Time
	line string
}

func (s *stamps) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first == nil {
		s.first = map[string]stamp{}
	}
	now := time.Now()
	s.part = append(s.part, b...)
	for {
		line, rest, ok := bytes.Cut(s.part, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		s.part = rest
		name, _, _ := strings.Cut(strings.TrimPrefix(string(line), `{"event":"`), `"`)
		if _, seen := s.first[name]; !seen {
			s.first[name] = stamp{now, string(line)}
		}
		if name == "progress" {
			s.progress = append(s.progress, stamp{now, string(line)})
		}
	}
}

func (s *stamps) event(name string) stamp {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first[name]
}

// A program is the command as it runs on one side of a measurement.
type program struct {
	t   *testing.T
	cmd *natlab.Cmd
	out stamps
	err bytes.Buffer
}

// measured starts the command, perhaps below another one, such as perf.
func (s *side) measured(stdin io.Reader, below []string, args ...string) *program {
	s.t.Helper()
	cmd := s.command(args...)
	if len(below) > 0 {
		path, err := exec.LookPath(below[0])
		if err != nil {
			s.t.Fatal(err)
		}
		cmd.Path, cmd.Args = path, slices.Concat(below, []string{command}, cmd.Args[1:])
	}
	p := &program{t: s.t, cmd: cmd}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &p.out, &p.err
	cmd.SysProcAttr = noTerminal()
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	return p
}

// ends waits for the program to end well.
func (p *program) ends() {
	p.t.Helper()
	if err := p.cmd.Wait(); err != nil {
		p.t.Fatalf("%s: %v\n%s", strings.Join(p.cmd.Args, " "), err, p.err.String())
	}
}

// peak is the most memory that it had, in MiB.
func (p *program) peak() float64 {
	return float64(p.cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) / 1024
}

// code waits for the code that the sender shows.
func (p *program) code() string {
	p.t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		var e event
		if line := p.out.event("code").line; line != "" && json.Unmarshal([]byte(line), &e) == nil {
			return e.Code
		}
	}
	p.t.Fatalf("no code:\n%s", p.err.String())
	return ""
}

// steady is how many bytes a second came while the middle of a file was under way: after
// the first fifth of it, and before the last one.
func (p *program) steady() float64 {
	p.t.Helper()
	p.out.mu.Lock()
	defer p.out.mu.Unlock()
	var times []time.Time
	var bytes []int64
	for _, s := range p.out.progress {
		var e event
		if err := json.Unmarshal([]byte(s.line), &e); err != nil {
			p.t.Fatalf("%q: %v", s.line, err)
		}
		if e.Bytes > e.Total/5 && e.Bytes < e.Total*4/5 {
			times, bytes = append(times, s.at), append(bytes, e.Bytes)
		}
	}
	last := len(times) - 1
	if last < 1 {
		return 0
	}
	return float64(bytes[last]-bytes[0]) / times[last].Sub(times[0]).Seconds()
}

// A cost is what one transfer took.
type cost struct {
	seconds          float64 // from connected to done, on the side where that took longer
	send, recv       float64 // the most memory, in MiB
	sendCPU, recvCPU float64 // seconds
	steady           float64 // bytes a second, in the middle of the file
}

func (p *program) cpu() float64 {
	return (p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()).Seconds()
}

// costOf waits for both sides.
func costOf(send, recv *program) cost {
	send.t.Helper()
	send.ends()
	recv.ends()
	c := cost{send: send.peak(), recv: recv.peak(), sendCPU: send.cpu(), recvCPU: recv.cpu(), steady: recv.steady()}
	for _, p := range []*program{send, recv} {
		c.seconds = max(c.seconds, p.out.event("done").at.Sub(p.out.event("connected").at).Seconds())
	}
	return c
}

// A bareLink is two hosts with nothing but a pair of veth between them.
type bareLink struct {
	lab  *natlab.Lab
	a, b *side
	runs int
}

const wireA, wireB = "10.99.0.1", "10.99.0.2"

func newBareLink(t *testing.T) *bareLink {
	t.Helper()
	lab := natlab.New(t, natlab.Topology{Hosts: []natlab.Host{{Name: "a"}, {Name: "b"}}})
	for _, c := range []struct{ host, args string }{
		{"a", "link set eth0 down"}, // the emulator's
		{"b", "link set eth0 down"},
		{"a", "link add v0 type veth peer name v0 netns " + lab.Host("b").Namespace()},
		{"a", "addr add " + wireA + "/24 dev v0"},
		{"b", "addr add " + wireB + "/24 dev v0"},
		{"a", "link set v0 up"},
		{"b", "link set v0 up"},
	} {
		if r := lab.Host(c.host).Run(strings.Fields("ip " + c.args)...); r.Err != nil {
			t.Fatalf("ip %s: %v %s", c.args, r.Err, r.Stderr)
		}
	}
	return &bareLink{lab: lab, a: newSide(t, lab.Host("a")), b: newSide(t, lab.Host("b"))}
}

// start begins to send from a to b. Each run has ports of its own, as those of the last one
// are not free at once.
func (w *bareLink) start(stdin io.Reader, below [2][]string, out string, args ...string) (send, recv *program) {
	port := 7070 + 10*w.runs
	w.runs++
	line := func(host string) string { return fmt.Sprintf("--peer=%s:%d%s", host, port, words) }
	own := fmt.Sprintf("--port=%d", port)
	recv = w.b.measured(nil, below[1], "recv", line(wireA), own, "--yes", "--retry=0", "--out", out)
	send = w.a.measured(stdin, below[0], append([]string{"send", line(wireB), own, "--yes", "--retry=0"}, args...)...)
	return send, recv
}

// transfer sends from a to b.
func (w *bareLink) transfer(out string, args ...string) cost {
	return costOf(w.start(nil, [2][]string{}, out, args...))
}

func middle(xs []float64) float64 {
	xs = slices.Sorted(slices.Values(xs))
	return (xs[(len(xs)-1)/2] + xs[len(xs)/2]) / 2
}

// A table is Markdown.
type table struct{ strings.Builder }

func newTable(heads ...string) *table {
	t := new(table)
	t.row(heads...)
	t.row(slices.Repeat([]string{"---"}, len(heads))...)
	return t
}

func (t *table) row(cells ...string) { fmt.Fprintf(t, "| %s |\n", strings.Join(cells, " | ")) }
