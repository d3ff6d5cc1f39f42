package main

import (
	"testing"
	"time"
)

func TestMeter(t *testing.T) {
	const mib = 1 << 20
	type step struct {
		at   time.Duration
		done int64
	}
	steady := func(from, until time.Duration, rate int64) (s []step) {
		for at := from; at <= until; at += 50 * time.Millisecond {
			s = append(s, step{at, rate * int64(at) / int64(time.Second)})
		}
		return s
	}
	cases := []struct {
		name  string
		steps []step
		now   time.Duration
		total int64
		rate  float64
		left  time.Duration // -1: unknown
	}{
		{"nothing yet", nil, 0, mib, 0, -1},
		{"one sample", []step{{0, 0}}, time.Second, mib, 0, -1},
		{"two samples at one time", []step{{0, 0}, {0, mib}}, 0, mib, 0, -1},
		{"half a second", []step{{0, 0}, {500 * time.Millisecond, mib}}, 500 * time.Millisecond, 3 * mib, 2 * mib, time.Second},
		{"steady", steady(0, time.Minute, mib), time.Minute, 120 * mib, mib, time.Minute},
		{"a stall pulls the rate down", steady(0, 10*time.Second, mib), 15 * time.Second, 20 * mib, mib / 2, 20 * time.Second},
		{"nothing moves", []step{{0, mib}, {time.Second, mib}, {2 * time.Second, mib}}, 2 * time.Second, 2 * mib, 0, -1},
		{"done", []step{{0, 0}, {time.Second, mib}}, time.Second, mib, mib, 0},
		{"for ever is unknown", []step{{0, 0}, {time.Second, 1}}, time.Second, 1 << 50, 1, -1},
	}
	began := time.Unix(1e9, 0)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var m meter
			for _, s := range c.steps {
				m.add(began.Add(s.at), s.done)
			}
			now := began.Add(c.now)
			if got := m.rate(now); got < c.rate*0.99 || got > c.rate*1.01 {
				t.Errorf("rate %v, want %v", got, c.rate)
			}
			left, ok := m.left(now, c.total)
			if !ok {
				left = -1
			}
			if d := left - c.left; d < -c.left/100 || d > c.left/100 {
				t.Errorf("left %v, want %v", left, c.left)
			}
		})
	}
}

// TestMeterForgets: the start does not count for ever, and samples do not pile up.
func TestMeterForgets(t *testing.T) {
	var m meter
	now := time.Unix(1e9, 0)
	done := int64(0)
	for range 60 * 20 { // slow for a minute, then ten times as fast
		now, done = now.Add(50*time.Millisecond), done+100
		m.add(now, done)
	}
	for range 6 * 20 {
		now, done = now.Add(50*time.Millisecond), done+1000
		m.add(now, done)
	}
	if got := m.rate(now); got < 19000 || got > 21000 {
		t.Errorf("rate %v, want 20000", got)
	}
	if most := int(meterWindow/(50*time.Millisecond)) + 2; len(m.samples) > most {
		t.Errorf("%d samples kept, want at most %d", len(m.samples), most)
	}
}
