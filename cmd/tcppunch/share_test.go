package main

import (
	"flag"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// Two programs on one narrow link; scripts/bench share runs them.
var shareRun = flag.Bool("share", false, "measure UDP alone, and beside TCP, on a narrow link with a short queue")

const (
	shareRate  = 20e6
	shareQueue = 64 << 10
	shareTime  = "8s"
)

// TestShare measures UDP on a link of 20 Mbit/s with a queue of 64 KiB, alone and
// beside a TCP flow with CUBIC, which must both get their part.
func TestShare(t *testing.T) {
	if !*shareRun {
		t.Skip("figures, not a test: run scripts/bench share")
	}
	for _, rtt := range []time.Duration{10 * time.Millisecond, 40 * time.Millisecond, 100 * time.Millisecond} {
		top := twoNATs(natlab.NAT{}, natlab.NAT{})
		top.NATs[0].Link = natlab.Link{Rate: shareRate, Queue: shareQueue, Delay: rtt / 4}
		top.NATs[1].Link.Delay = rtt / 4
		p := newMeetingPlaceIn(t, top)
		pair := func(code string, how ...string) [2]*peer {
			how = append([]string{"bench", "--code", code, "--time", shareTime, "--timeout=60s"}, how...)
			return [2]*peer{p.a.start(how...), p.b.start(how...)}
		}
		speed := func(ps [2]*peer) map[string]float64 {
			for _, x := range ps {
				if x.status() != 0 {
					t.Fatalf("%s: %s", x.name, x.Stderr)
				}
			}
			mbit := map[string]float64{}
			for _, r := range ps[0].results() {
				mbit[r.Direction] = r.Mbit
			}
			return mbit
		}
		alone := speed(pair("alone-otter-lamp", "--via=kcp"))
		kcp := pair("kcp-otter-lamp", "--via=kcp")
		tcp := pair("tcp-otter-lamp", "--via=tcp", "--no-plain", "--congestion=cubic")
		k, c := speed(kcp), speed(tcp)
		for _, way := range []string{"send", "receive"} {
			share := 100 * k[way] / (k[way] + c[way])
			t.Logf("%v, %s: UDP alone %.1f of %d Mbit/s; beside CUBIC UDP %.1f, CUBIC %.1f: UDP's share %.0f %%",
				rtt, way, alone[way], int(shareRate/1e6), k[way], c[way], share)
			if alone[way] < 0.5*shareRate/1e6 || share < 25 || share > 75 {
				t.Errorf("%v, %s: want no collapse, and a share of 25 to 75 %%", rtt, way)
			}
		}
	}
}
