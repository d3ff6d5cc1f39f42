package main

import "time"

// meterWindow is how far back a rate looks: long enough to be steady, short
// enough to follow the link.
const meterWindow = 5 * time.Second

// A meter tells rate and time left from samples of the bytes done.
type meter struct {
	samples []sample // the oldest first, about a window of them
}

type sample struct {
	at   time.Time
	done int64
}

// add takes a sample; done never falls.
func (m *meter) add(at time.Time, done int64) {
	m.samples = append(m.samples, sample{at, done})
	for len(m.samples) > 2 && at.Sub(m.samples[1].at) >= meterWindow {
		m.samples = m.samples[1:]
	}
}

// rate is bytes per second over the window, 0 when there is too little to tell.
func (m *meter) rate(now time.Time) float64 {
	if len(m.samples) < 2 {
		return 0
	}
	first, last := m.samples[0], m.samples[len(m.samples)-1]
	seconds := now.Sub(first.at).Seconds() // a stall pulls the rate down
	if seconds <= 0 {
		return 0
	}
	return float64(last.done-first.done) / seconds
}

// left is the time until total at the present rate; false when unknown.
func (m *meter) left(now time.Time, total int64) (time.Duration, bool) {
	r := m.rate(now)
	if r <= 0 {
		return 0, false
	}
	last := m.samples[len(m.samples)-1]
	seconds := float64(total-last.done) / r
	if seconds > (1000 * time.Hour).Seconds() {
		return 0, false
	}
	return time.Duration(seconds * float64(time.Second)), true
}
