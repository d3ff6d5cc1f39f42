package limit

import (
	"net/netip"
	"testing"
	"time"
)

var t0 = time.Unix(1_700_000_100, 0)

func TestLimits(t *testing.T) {
	l := New(2, 4)
	a := netip.MustParseAddr("10.0.1.1")
	taken := 0
	for d := time.Duration(0); d < 10*time.Second; d += 10 * time.Millisecond {
		if l.Take(a, t0.Add(d)) {
			taken++
		}
	}
	if taken < 23 || taken > 24 {
		t.Errorf("%d in 10 s", taken)
	}
	for i := range 20_000 {
		l.Take(source(i), t0)
	}
	if len(l.by) > maxLimited {
		t.Errorf("%d sources remembered", len(l.by))
	}
}

func source(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)})
}

func TestGate(t *testing.T) {
	g := NewGate(t0)
	passed, paused := 0, 0
	for i := range 50_000 {
		ok, pause := g.Pass(source(i), t0)
		if ok {
			passed++
		}
		if pause {
			paused++
		}
	}
	if passed != allBurst+restBurst || paused != 50_000-floodBurst {
		t.Errorf("%d passed, %d pauses", passed, paused)
	}
}

// Whoever says little is heard, although two hundred say as much as they can.
func TestQuiet(t *testing.T) {
	g := NewGate(t0)
	heard, others := 0, 0
	for ms := range 20_000 {
		now := t0.Add(time.Duration(ms) * time.Millisecond)
		for i := range 5 {
			if ok, _ := g.Pass(source(1+(5*ms+i)%200), now); ok {
				others++
			}
		}
		if ms%2000 == 0 {
			if ok, _ := g.Pass(source(0), now); ok {
				heard++
			}
		}
	}
	if heard != 10 || others > allBurst+restBurst+20*(allRate+restRate) {
		t.Errorf("%d of 10 heard, %d of others", heard, others)
	}
}
