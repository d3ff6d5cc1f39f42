package plot

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/bench"
)

var keep = flag.String("keep", "", "write the pictures of the tests into this folder, to look at them")

// wantPicture checks that a picture is whole XML, and says what it should.
func wantPicture(t *testing.T, name string, svg []byte, wants ...string) {
	t.Helper()
	if *keep != "" {
		if err := os.WriteFile(filepath.Join(*keep, name), svg, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range wants {
		if !strings.Contains(string(svg), want) {
			t.Errorf("the picture does not say %q", want)
		}
	}
}

// pretend is a report of a link of 100 Mbit/s with losses.
func pretend() *bench.Report {
	random := rand.New(rand.NewPCG(1, 2))
	way := func(mbit, ramp, queue float64) bench.Direction {
		d := bench.Direction{Elapsed: 5 * time.Second}
		for i := 1; i <= 52; i++ {
			d.Series = append(d.Series, bench.Sample{At: time.Duration(i) * 100 * time.Millisecond, Bytes: d.Carried})
			level := mbit * (1 - math.Exp(-float64(i)/ramp)) * (0.8 + 0.4*random.Float64())
			d.Carried += int64(level * 1e5 / 8)
		}
		d.Bytes = d.Carried
		for i := range 100 {
			rtt := 50 + queue*random.Float64()*min(1, float64(i)/20)
			d.Pings = append(d.Pings, bench.Ping{At: time.Duration(i) * 50 * time.Millisecond, RTT: time.Duration(rtt * 1e6)})
		}
		d.Loaded.P95 = time.Duration((50 + queue) * 1e6)
		return d
	}
	idle := bench.Latency{Median: 50 * time.Millisecond}
	return &bench.Report{Time: 5 * time.Second, Results: []bench.Result{
		{Transport: "tcp", RTT: idle, Sent: way(34, 8, 90), Received: way(28, 8, 90)},
		{Transport: "tcp plain", RTT: idle, Sent: way(35, 8, 95), Received: way(30, 8, 80)},
		{Transport: "kcp", RTT: idle, Sent: way(92, 4, 20), Received: way(90, 4, 25)},
		{Transport: "other", Err: errors.New("impossible")},
	}}
}

// TestReport: the picture is whole XML that names all that it shows.
func TestReport(t *testing.T) {
	var b bytes.Buffer
	if err := Report(&b, pretend()); err != nil {
		t.Fatal(err)
	}
	wantPicture(t, "report.svg", b.Bytes(), "TCP against UDP", "UDP (KCP)", "TCP without encryption", "throughput, Mbit/s",
		"round trip under load, ms", "seconds", "To the other side", "Mbit/s on average", "Arial")
}

// TestGrid: a panel for each rate and round trip.
func TestGrid(t *testing.T) {
	var ps []Point
	for _, rate := range []float64{20, 100, 500} {
		for _, rtt := range []float64{10, 50, 100, 200} {
			for i, loss := range []float64{0, 0.1, 1, 3} {
				f := float64(i)
				ps = append(ps, Point{rate, rtt, loss, "TCP CUBIC", rate * 0.95 / (1 + f*f*rtt*rate/8000)}, Point{rate, rtt, loss, "TCP BBR", rate * (0.93 - f*0.05)},
					Point{rate, rtt, loss, "UDP (KCP)", rate * (0.9 - f*0.02*rate/100)})
			}
		}
	}
	var b bytes.Buffer
	if err := Grid(&b, ps); err != nil {
		t.Fatal(err)
	}
	wantPicture(t, "grid.svg", b.Bytes(), "TCP CUBIC", "UDP (KCP)", "round trip 200 ms", "500 Mbit/s: % filled", "packets lost, %")
	if err := Grid(io.Discard, nil); !errors.Is(err, ErrNothing) {
		t.Errorf("error %v, want %v", err, ErrNothing)
	}
	if err := Grid(io.Discard, ps[:1]); err != nil {
		t.Error(err)
	}
}

// TestReportOdd: whatever was measured, there is a picture or an error.
func TestReportOdd(t *testing.T) {
	if err := Report(io.Discard, &bench.Report{Results: []bench.Result{{Err: errors.New("impossible")}}}); !errors.Is(err, ErrNothing) {
		t.Errorf("error %v, want %v", err, ErrNothing)
	}
	empty := &bench.Report{Time: 100 * time.Millisecond, Results: []bench.Result{{Transport: "tcp"}}}
	if err := Report(io.Discard, empty); err != nil {
		t.Error(err)
	}
	long := pretend()
	long.Time = time.Minute
	if err := Report(io.Discard, long); err != nil {
		t.Error(err)
	}
}

func TestTicks(t *testing.T) {
	for most, want := range map[float64]string{5: "0 1 2 3 4 5", 0.1: "0 0.02 0.04 0.06 0.08 0.1", 108: "0 20 40 60 80 100", 60: "0 10 20 30 40 50 60", 2300: "0 500 1000 1500 2000"} {
		var got []string
		for _, tick := range ticks(most, "") {
			got = append(got, tick.Label)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("up to %v: %v, want %v", most, got, want)
		}
	}
}
