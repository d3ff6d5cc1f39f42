package tcppunch

import (
	"testing"
	"time"
)

// Every pairing in which one side opens and the other connects must come up
// within a cycle, both ways round, whatever the two clocks say.
func TestSlotsPairUp(t *testing.T) {
	for offset := range int64(cycle) {
		var aOpens, bOpens bool
		for n := range int64(cycle) {
			a, b := opensIn(SideA, n), opensIn(SideB, (n+offset)%cycle)
			aOpens = aOpens || a && !b
			bOpens = bOpens || b && !a
		}
		if !aOpens || !bOpens {
			t.Errorf("offset %d: A opens %v, B opens %v, want both", offset, aOpens, bOpens)
		}
	}
}

func TestSlots(t *testing.T) {
	start := time.Unix(1000, 500e6) // slot 500, the first of a cycle
	const offset = -3 * time.Second // the clock that decides says 1003.5 s
	start = start.Add(-offset)
	sideA := func(slot int64) bool { return opensIn(SideA, slot%cycle) }
	at := slots(sideA, false, 4, start, offset)
	tests := []struct {
		after time.Duration
		want  Technique
		round int
	}{
		{0, Opener, 0},
		{1499 * time.Millisecond, Opener, 0},
		{1500 * time.Millisecond, Connector, 1},
		{3500 * time.Millisecond, Opener, 2},
		{5500 * time.Millisecond, Connector, 3},
		{7500 * time.Millisecond, Opener, 4},
	}
	for _, tt := range tests {
		now := start.Add(tt.after)
		r := at(now)
		if r.technique != tt.want || r.round != tt.round {
			t.Errorf("after %v: got %s in round %d, want %s in %d", tt.after, r.technique, r.round, tt.want, tt.round)
		}
		if now.Before(r.began) || !now.Before(r.until) {
			t.Errorf("after %v: slot is %v to %v", tt.after, r.began, r.until)
		}
		if spare := slots(sideA, true, 4, start, offset)(now); (spare.technique == Opener) == (r.technique == Opener) {
			t.Errorf("after %v: %s on the spare port too", tt.after, r.technique)
		}
		if (r.ttl > 0) != (r.technique == Opener) {
			t.Errorf("after %v: %s has TTL %d", tt.after, r.technique, r.ttl)
		}
	}
}

// Most openers must have the TTL that was asked for, and some must not.
func TestSlotTTL(t *testing.T) {
	usual, seen := 0, map[int]bool{}
	const n = 12 * cycle
	for i := range int64(n) {
		ttl := slotTTL(4, i)
		seen[ttl] = true
		if ttl == 4 {
			usual++
		}
	}
	if usual < n*9/10 || len(seen) < 4 {
		t.Errorf("usual TTL in %d of %d slots, %d different ones", usual, n, len(seen))
	}
}

func TestOpenerEnd(t *testing.T) {
	now := time.Unix(1000, 0)
	const ms = time.Millisecond
	tests := []struct{ left, want time.Duration }{
		{2000 * ms, 2000 * ms / 3},
		{1800 * ms, 900 * ms},
		{900 * ms, 900 * ms},
		{100 * ms, 100 * ms},
		{0, 0},
	}
	for _, tt := range tests {
		if got := openerEnd(now, now.Add(tt.left)).Sub(now); got != tt.want {
			t.Errorf("%v before the role's end: kept for %v, want %v", tt.left, got, tt.want)
		}
	}
	if got := openerEnd(now, time.Time{}).Sub(now); got != openerTime {
		t.Errorf("without an end: kept for %v, want %v", got, openerTime)
	}
}

func TestLastSYN(t *testing.T) {
	tests := []struct {
		elapsed time.Duration
		again   int
		want    time.Duration
	}{
		{0, -1, 0}, {999 * time.Millisecond, -1, 0}, {time.Second, -1, time.Second},
		{6 * time.Second, -1, 5 * time.Second}, {time.Hour, -1, 31 * time.Second},
		{time.Second, 0, 0}, {2001 * time.Millisecond, 1, time.Second}, {time.Hour, 100, 31 * time.Second},
	}
	for _, tt := range tests {
		if got := lastSYN(tt.elapsed, tt.again); got != tt.want {
			t.Errorf("lastSYN(%v, %d) = %v, want %v", tt.elapsed, tt.again, got, tt.want)
		}
	}
}
