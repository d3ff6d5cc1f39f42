package lanfind

import (
	"flag"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

var costFor = flag.Duration("cost", 0, "for how long TestCostInLab measures; 0: not at all")

// What leaves a host, and what it costs there, by the system's clock: go test ./lanfind -run CostInLab -cost 1m -v
func TestCostInLab(t *testing.T) {
	if *costFor == 0 {
		t.Skip("TestCost counts packets in virtual time; -cost 1m measures them in the lab, CPU time and memory too")
	}
	lab := natlab.New(t, lan(natlab.DropUnsolicited, "alone", "off"))
	pair := natlab.New(t, lan(natlab.NoFirewall, "a", "b"))
	all := map[string]*actor{
		"searching a /24 in vain":   start(t, lab.Host("alone"), role{Options: Options{Announce: service("anna", "4821")}, For: *costFor}),
		"the same without sweeps":   start(t, lab.Host("off"), role{Options: Options{Announce: service("ben", "4821"), Sweep: SweepOff}, For: *costFor}),
		"one of a pair":             start(t, pair.Host("a"), role{Options: Options{Announce: service("anna", "4821")}, For: *costFor}),
		"the other, who only looks": start(t, pair.Host("b"), role{For: *costFor}),
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		all[name].proc.Wait()
		l := all[name].end()
		t.Logf("%s: packets in %v: %v, CPU %v, heap %d KiB", name, l.After.Round(time.Second), l.Sent, l.CPU, l.Heap>>10)
		if minutes := l.After.Minutes() + 1; float64(l.Sent["datagram"]) > 1600*minutes || float64(l.Sent["multicast"]) > 60*minutes {
			t.Errorf("%s: %v packets", name, l.Sent)
		}
	}
}
