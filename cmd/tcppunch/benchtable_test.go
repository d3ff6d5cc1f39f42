package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/bench"
)

// measured is a report with extreme figures in it.
func measured() *bench.Report {
	way := func(mbit float64, cpu time.Duration, cc string) bench.Direction {
		bytes := int64(mbit * 1e6 / 8 * 5)
		return bench.Direction{
			Bytes: bytes, Elapsed: 5 * time.Second, Carried: bytes, Retransmits: 12, Packets: 10_000, Congestion: cc,
			Loaded: bench.Latency{Median: 148 * time.Millisecond}, CPU: cpu, PeerCPU: 2 * cpu,
		}
	}
	idle := bench.Latency{Median: 50200 * time.Microsecond}
	lost := way(0.05, -1, "")
	lost.Retransmits, lost.Packets, lost.PeerCPU = -1, -1, -1
	return &bench.Report{Results: []bench.Result{
		{Transport: "tcp", Streams: 4, Setup: 312 * time.Millisecond, RTT: idle, Sent: way(94.1, 70*time.Millisecond, "cubic"), Received: way(9410, 7*time.Second, "bbr")},
		{Transport: "tcp plain", Streams: 4, Setup: 12312 * time.Millisecond, RTT: idle, Sent: way(100, 50*time.Millisecond, "cubic"), Received: lost},
		{Transport: "kcp", Streams: 1, Err: errors.New("the other side: both routers refuse every packet that nobody asked for, and one of them changes the port for each destination")},
	}}
}

func TestBenchTable(t *testing.T) {
	got := strings.Join(benchTable(measured()), "\n")
	want := `                           set-up     round trip    sent    CPU s/GB  congestion
                   Mbit/s      ms   idle  loaded   twice  here there  control
tcp        send      94.1     312   50.2     148    0.1%  1.19  2.38  cubic
           receive   9410                    148    0.1%  1.19  2.38  bbr
tcp plain  send       100   12312   50.2     148    0.1%  0.80  1.60  cubic
           receive   0.05                    148       –     –     –
kcp        not measured: the other side: both routers refuse every packet that
           nobody asked for, and one of them changes the port for each
           destination`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestBenchList: nothing is wider than the screen.
func TestBenchList(t *testing.T) {
	for _, l := range benchList(measured(), 39) {
		if n := len([]rune(l)); n > 39 {
			t.Errorf("%d columns: %s", n, l)
		}
	}
	for _, l := range benchTable(measured()) {
		if n := len([]rune(l)); n > tableWidth {
			t.Errorf("%d columns: %s", n, l)
		}
	}
}

func TestCompare(t *testing.T) {
	result := func(name string, send, receive float64) bench.Result {
		r := measured().Results[0]
		r.Transport, r.Streams = name, 1
		r.Received.CPU, r.Received.PeerCPU = r.Sent.CPU, r.Sent.PeerCPU
		r.Sent.Bytes, r.Received.Bytes = int64(send*1e6/8*5), int64(receive*1e6/8*5)
		return r
	}
	busy := func(r bench.Result) bench.Result {
		r.Sent.CPU, r.Received.CPU = 2834*time.Millisecond, time.Second
		return r
	}
	cases := []struct {
		results []bench.Result
		want    []string
	}{
		{[]bench.Result{result("tcp", 10, 100), result("kcp", 31, 99)}, []string{"KCP (UDP) was 3.1 times as fast as TCP to send, and just as fast as TCP to receive."}},
		{[]bench.Result{result("tcp", 10, 0), result("kcp", 120, 99)}, []string{"KCP (UDP) was 12 times as fast as TCP to send, and infinitely faster than TCP to receive."}},
		{[]bench.Result{result("tcp", 100, 100), result("kcp", 8, 50)}, []string{"KCP (UDP) was 0.08 times as fast as TCP to send, and 0.5 times as fast as TCP to receive."}},
		{[]bench.Result{busy(result("tcp", 100, 100)), result("tcp plain", 101, 102)}, []string{"Without encryption TCP was as fast. Encrypting a GB took 47.0 s of CPU time on this side."}},
		{[]bench.Result{busy(result("tcp", 100, 100)), result("tcp plain", 110, 90)}, []string{"Without encryption TCP was 10 % faster to send, and 10 % slower to receive. Encrypting a GB took 47.0 s of CPU time on this side."}},
		{[]bench.Result{result("tcp", 100, 100), result("tcp plain", 110, 90)}, []string{"Encryption did not slow TCP down: it took less than half of a CPU core on both sides. Encrypting a GB took 0.00 s of CPU time on this side."}},
		{[]bench.Result{result("kcp", 1, 1)}, nil},
		{measured().Results[2:], nil},
	}
	for _, c := range cases {
		if got := compare(&bench.Report{Results: c.results}); strings.Join(got, "\n") != strings.Join(c.want, "\n") {
			t.Errorf("got\n%q\nwant\n%q", got, c.want)
		}
	}
}
