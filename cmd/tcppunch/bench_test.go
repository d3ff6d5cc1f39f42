package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// benchRate is the capacity of the link between the two homes, in bits a second.
const benchRate = 50e6

// slowHomes are two homes with a link between them whose capacity is known.
func slowHomes(t *testing.T, env ...string) *meetingPlace {
	t.Helper()
	top := twoNATs(natlab.NAT{}, natlab.NAT{})
	top.NATs[0].Link.Rate = benchRate
	top.NATs[0].Link.Delay, top.NATs[1].Link.Delay = 10*time.Millisecond, 10*time.Millisecond
	return newMeetingPlaceIn(t, top, env...)
}

// A benchResult is a result event.
type benchResult struct {
	Event       string  `json:"event"`
	Transport   string  `json:"transport"`
	Error       string  `json:"error"`
	Direction   string  `json:"direction"`
	Mbit        float64 `json:"mbit_s"`
	SetupMS     float64 `json:"setup_ms"`
	RTTMS       float64 `json:"rtt_ms"`
	LoadedRTTMS float64 `json:"loaded_rtt_ms"`
	Retransmits int64   `json:"retransmits"`
	CPU         float64 `json:"cpu_s"`
	PeerCPU     float64 `json:"peer_cpu_s"`
	Congestion  string  `json:"congestion_control"`
	Streams     int     `json:"streams"`
}

// results returns what a benchmark has told, by transport and direction.
func (p *peer) results() map[string]benchResult {
	p.t.Helper()
	all := map[string]benchResult{}
	for line := range strings.Lines(p.Stdout.String()) {
		var r benchResult
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			p.t.Errorf("%s: stdout holds %q", p.name, line)
		}
		if r.Event == "result" {
			all[strings.TrimSpace(r.Transport+" "+r.Direction)] = r
		}
	}
	return all
}

// wantBench checks that both sides have measured, and have the same figures.
func wantBench(t *testing.T, a, b *peer, streams int) {
	t.Helper()
	for _, p := range []*peer{a, b} {
		if status := p.status(); status != 0 {
			t.Fatalf("%s: exit status %d\n%s", p.name, status, p.Stderr)
		}
		if !strings.Contains(p.Stderr.String(), "Mbit/s") {
			t.Errorf("%s: no table:\n%s", p.name, p.Stderr)
		}
	}
	ra, rb := a.results(), b.results()
	mirror := map[string]string{"send": "receive", "receive": "send"}
	for _, transport := range []string{"tcp", "tcp plain", "kcp"} {
		streams := streams
		if transport == "kcp" {
			streams = 1
		}
		for way, back := range mirror {
			x, y := ra[transport+" "+way], rb[transport+" "+back]
			if x.Mbit != y.Mbit || x.RTTMS != y.RTTMS || x.LoadedRTTMS != y.LoadedRTTMS || x.SetupMS != y.SetupMS || x.CPU != y.PeerCPU {
				t.Errorf("%s, %s: the two sides differ:\n%+v\n%+v", transport, way, x, y)
			}
			if x.Mbit < benchRate/1e6*0.05 || x.Mbit > benchRate/1e6*1.5 { // the machine may be busy, and the time is short
				t.Errorf("%s, %s: %v Mbit/s over a link of %v", transport, way, x.Mbit, benchRate/1e6)
			}
			if x.RTTMS < 39 || x.RTTMS > 200 || x.LoadedRTTMS < 39 || x.SetupMS < 100 || x.CPU <= 0 || x.Retransmits < 0 || x.Congestion == "" || x.Streams != streams {
				t.Errorf("%s, %s: %+v", transport, way, x)
			}
		}
	}
	a.wantNoSockets()
	b.wantNoSockets()
}

// TestBenchCode: one side makes a code, the other is told it; both show the same.
func TestBenchCode(t *testing.T) {
	t.Parallel()
	p := slowHomes(t)
	a := p.a.start("bench", "--time=600ms", "--timeout=60s", "--plot=out/picture.svg")
	code := a.code()
	a.says("on the other machine: tcppunch bench " + code + "\n")
	b := p.b.start("bench", code, "--time=30s", "--streams=2", "--timeout=60s")
	wantBench(t, a, b, 2)
	if !strings.Contains(b.Stderr.String(), "The other side wants 600ms") {
		t.Errorf("the side that wanted more is not told:\n%s", b.Stderr)
	}
	svg, err := os.ReadFile(filepath.Join(p.a.dir, "out", "picture.svg"))
	if err != nil || !strings.Contains(string(svg), "<svg") || !strings.Contains(string(svg), "To the other side") {
		t.Errorf("the picture: %v, %d bytes", err, len(svg))
	}
	wantOnly(t, p.a.dir, "picture.svg")
	t.Log(a.Stderr.String() + a.Stdout.String())
}

// TestBenchPeer: both sides type the same, but for the other's address.
func TestBenchPeer(t *testing.T) {
	t.Parallel()
	p := slowHomes(t, "TCPPUNCH_SERVER=")
	a := p.a.start("bench", "--time=400ms", "--timeout=60s", "--peer", p.lab.NAT("office").Addr().String()+":7070"+words)
	b := p.b.start("bench", "--time=400ms", "--timeout=60s", "--peer", p.lab.NAT("home").Addr().String()+":7070"+words)
	wantBench(t, a, b, 1)
}

// TestBenchListen: two machines on one network, and nobody else.
func TestBenchListen(t *testing.T) {
	t.Parallel()
	link := natlab.Link{Rate: benchRate, Delay: 10 * time.Millisecond}
	lab := natlab.New(t, natlab.Topology{
		LANs:  []natlab.LAN{{Name: "lan"}},
		Hosts: []natlab.Host{{Name: "a", Behind: "lan", Link: link}, {Name: "b", Behind: "lan", Link: natlab.Link{Delay: 10 * time.Millisecond}}},
	})
	sa, sb := newSide(t, lab.Host("a")), newSide(t, lab.Host("b"))
	a := sa.start("bench", "--listen", "--time=400ms", "--timeout=60s")
	a.says("Waiting for the other side")
	command := "tcppunch bench " + lab.Host("a").Addr().String() + ":7070"
	a.says("On the other machine: " + command + "\n")

	stranger, err := lab.Host("b").Dial(t.Context(), "tcp", lab.Host("a").Addr().String()+":7070")
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if _, err := stranger.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	b := sb.start(append(strings.Fields(command)[1:], "--timeout=60s")...)
	stranger.Close()
	wantBench(t, a, b, 1)
	if e, _ := b.find("connected"); e.Kind != "lan" {
		t.Errorf("connected by %+v", e)
	}
}

// TestBenchNoTCP: a transport that is impossible is a row that says so, and the other
// one is measured.
func TestBenchNoTCP(t *testing.T) {
	t.Parallel()
	refuses := natlab.NAT{RefuseInboundSYN: true}
	p := newMeetingPlace(t, refuses, refuses)
	a := p.a.start("bench", "--time=1s", "--timeout=60s")
	b := p.b.start("bench", a.code(), "--timeout=60s")
	for _, x := range []*peer{a, b} {
		if status := x.status(); status != 0 {
			t.Errorf("%s: exit status %d", x.name, status)
		}
		rs := x.results()
		if rs["tcp"].Error == "" || rs["tcp plain"].Error == "" || rs["kcp send"].Mbit < 1 || rs["kcp receive"].Mbit < 1 {
			t.Errorf("%s: %+v", x.name, rs)
		}
		if !strings.Contains(x.Stderr.String(), "not measured: ") {
			t.Errorf("%s: the table does not say why:\n%s", x.name, x.Stderr)
		}
	}
}

// TestBenchVia: what the two sides want has nothing in common.
func TestBenchVia(t *testing.T) {
	t.Parallel()
	p := newMeetingPlace(t, natlab.NAT{}, natlab.NAT{})
	a := p.a.start("bench", "--via=tcp", "--timeout=60s")
	b := p.b.start("bench", a.code(), "--via=kcp", "--timeout=60s")
	a.wantFailure(statusFailed, "no-transport", "kcp")
	b.wantFailure(statusFailed, "no-transport", "tcp")
}

// TestBenchTrouble: what goes wrong ends soon, on both sides, with a sentence that
// helps.
func TestBenchTrouble(t *testing.T) {
	t.Parallel()
	p := slowHomes(t)
	const code = "--code=home-otter-lamp-sofa"
	measuring := func(args ...string) (a, b *peer) {
		a = p.a.start(append([]string{"bench", code, "--time=20s", "--timeout=30s"}, args...)...)
		a.waits()
		b = p.b.start("bench", code, "--time=20s", "--timeout=30s", "-v")
		under := func(s string) bool { return strings.Contains(s, "tcp: send") || strings.Contains(s, "tcp: receive") }
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if text, err := b.Stderr.WaitFor(ctx, under); err != nil {
			t.Fatalf("no data flows: %v\n%s", err, text)
		}
		return a, b
	}
	t.Run("the other command", func(t *testing.T) {
		a := p.a.start("bench", code, "--timeout=30s")
		a.waits()
		b := p.b.start("recv", code, "--timeout=30s", "--out=out")
		b.wantFailure(statusFailed, "code-in-use", "commands that belong together")
		a.Signal(os.Interrupt)
		a.wantFailure(statusInterrupted, "interrupted")
	})
	t.Run("wrong words", func(t *testing.T) {
		a := p.a.start("bench", code, "--timeout=30s")
		a.waits()
		b := p.b.start("bench", "home-other-words-these", "--timeout=30s")
		b.wantFailure(statusWrongCode, "wrong-code", "the code is wrong")
		a.says("somebody tried a wrong code")
		a.Signal(os.Interrupt)
		a.wantFailure(statusInterrupted, "interrupted")
	})
	t.Run("killed", func(t *testing.T) {
		a, b := measuring()
		b.Kill()
		a.wantFailure(statusFailed, "peer-gone", "Start both sides again")
		a.wantNoSockets()
		b.status()
	})
	t.Run("interrupted", func(t *testing.T) {
		a, b := measuring()
		began := time.Now()
		a.Signal(os.Interrupt)
		a.wantFailure(statusInterrupted, "interrupted")
		b.wantFailure(statusFailed, "interrupted", "the other side was interrupted")
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("both ended after %v", took)
		}
	})
}

// TestBenchNoNetwork: there is nobody, and nothing.
func TestBenchNoNetwork(t *testing.T) {
	t.Parallel()
	top := twoNATs(natlab.NAT{}, natlab.NAT{})
	top.NATs[0].Link.Down = true
	lab := natlab.New(t, top)
	a := newSide(t, lab.Host("a"))
	a.start("bench", "--server", serverAddr, "--timeout=2s").wantFailure(statusNoPath, "no-server", "server")
	a.start("bench", "192.0.2.1:7070", "--timeout=2s").wantFailure(statusNoPath, "timeout", "nobody listened")
	a.start("bench", "--listen", "--timeout=1s").wantFailure(statusNoPath, "timeout", "nobody connected")
	a.start("bench", "--peer=192.0.2.1:7070/otter-lamp-sofa", "--timeout=2s").wantFailure(statusNoPath, "timeout", "192.0.2.1")
}
