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
	at := slots(SideA, 4, start)
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

func TestLowAt(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		elapsed time.Duration
		v4      bool
		low     bool
		next    time.Duration
	}{
		{0, true, true, 3 * ms},
		{3 * ms, true, false, 960 * ms},
		{0, false, true, 40 * ms},
		{40 * ms, false, false, 960 * ms},
		{959 * ms, true, false, 960 * ms},
		{960 * ms, true, true, 1160 * ms},
		{1160 * ms, true, false, 1960 * ms},
		{6 * time.Second, true, false, 6960 * ms},
		{time.Minute, true, false, 0},
	}
	for _, tt := range tests {
		low, next := lowAt(tt.elapsed, tt.v4)
		if low != tt.low || next != tt.next {
			t.Errorf("lowAt(%v, v4 %v) = %v, %v, want %v, %v", tt.elapsed, tt.v4, low, next, tt.low, tt.next)
		}
	}
}

func TestLastSYN(t *testing.T) {
	tests := []struct{ elapsed, want time.Duration }{
		{0, 0}, {999 * time.Millisecond, 0}, {time.Second, time.Second},
		{6 * time.Second, 5 * time.Second}, {time.Hour, 31 * time.Second},
	}
	for _, tt := range tests {
		if got := lastSYN(tt.elapsed); got != tt.want {
			t.Errorf("lastSYN(%v) = %v, want %v", tt.elapsed, got, tt.want)
		}
	}
}
