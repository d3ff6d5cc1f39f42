package sock

import (
	"testing"
	"time"
)

const ms = time.Millisecond

func TestChoice(t *testing.T) {
	tests := []struct {
		name  string
		rtt   time.Duration // as the program has measured it
		looks []figures
		want  []step
	}{
		{"a short path", 5 * ms, []figures{{rtt: 5 * ms, least: 4 * ms, lost: true}}, []step{done}},
		{"a short path to a slow machine", 30 * ms, []figures{{rtt: 5 * ms, least: 2 * ms, lost: true}}, []step{done}},
		{"a short path where SYNs have crossed", 5 * ms, []figures{{rtt: 900 * ms, least: 900 * ms, lost: true}}, []step{done}},
		{"a long path that loses packets", 100 * ms, []figures{
			{rtt: 100 * ms, least: 99 * ms}, {rtt: 110 * ms, least: 99 * ms, lost: true}, {rtt: 190 * ms, least: 99 * ms, busy: time.Hour},
		}, []step{stay, leave, stay}},
		{"nothing known but the program's own", 100 * ms, []figures{{lost: true}}, []step{leave}},
		{"the default has filled the queue, and lets it run empty", 100 * ms, []figures{
			{rtt: 250 * ms, least: 100 * ms, lost: true}, {rtt: 140 * ms, least: 100 * ms, lost: true}, {rtt: 124 * ms, least: 100 * ms, lost: true},
		}, []step{stay, stay, leave}},
		{"the default recovers from a full queue", 100 * ms, []figures{
			{rtt: 110 * ms, least: 100 * ms, busy: time.Second, lost: true, recovering: true},
			{rtt: 120 * ms, least: 100 * ms, busy: 1200 * ms, lost: true, recovering: true},
			{rtt: 130 * ms, least: 100 * ms, busy: 1300 * ms, lost: true},
		}, []step{stay, stay, stay}},
		{"the default does nothing but recover", 100 * ms, []figures{
			{rtt: 110 * ms, least: 100 * ms, busy: time.Second, lost: true, recovering: true},
			{rtt: 110 * ms, least: 100 * ms, busy: 1300 * ms, lost: true, recovering: true},
		}, []step{stay, leave}},
		{"others fill the queue", 40 * ms, []figures{
			{rtt: 40 * ms, least: 40 * ms, lost: true},
			{rtt: 120 * ms, least: 40 * ms, busy: 1 * time.Second},
			{rtt: 150 * ms, least: 40 * ms, busy: 1900 * ms},
			{rtt: 150 * ms, least: 40 * ms, busy: 2000 * ms},
		}, []step{leave, stay, stay, back}},
		{"others fill the queue for a moment", 40 * ms, []figures{
			{rtt: 40 * ms, least: 40 * ms, lost: true},
			{rtt: 120 * ms, least: 40 * ms, busy: 1 * time.Second},
			{rtt: 80 * ms, least: 40 * ms, busy: 1500 * ms},
			{rtt: 120 * ms, least: 40 * ms, busy: 2500 * ms},
		}, []step{leave, stay, stay, stay}},
		{"a start on a very long path", 500 * ms, []figures{
			{rtt: 500 * ms, least: 500 * ms, lost: true},
			{rtt: 1500 * ms, least: 500 * ms, busy: 1 * time.Second},
			{rtt: 1500 * ms, least: 500 * ms, busy: 3 * time.Second},
		}, []step{leave, stay, stay}},
	}
	for _, tt := range tests {
		c := choice{rtt: tt.rtt}
		for i, f := range tt.looks {
			if got := c.next(f); got != tt.want[i] {
				t.Errorf("%s: look %d: got %d, want %d", tt.name, i, got, tt.want[i])
			}
		}
	}
}

func TestGrown(t *testing.T) {
	const mib = 1 << 20
	tests := []struct {
		name string
		s    sending
		size int
		more bool
	}{
		{"what most systems allow is less than what they give", sending{buffer: 4 * mib, auto: 4 * mib, settable: 425984, rate: 1e9, least: 100 * ms, flight: 4 * mib / 2, window: 64 * mib}, 0, false},
		{"no limit is known", sending{buffer: 4 * mib, rate: 1e9, least: 100 * ms, flight: 4 * mib / 2, window: 64 * mib}, 0, false},
		{"the kernel may still raise it", sending{buffer: mib, auto: 4 * mib, settable: 8 * mib, rate: 1e9, least: 100 * ms, flight: 1 * mib / 2, window: 64 * mib}, 0, true},
		{"it is the window that holds back", sending{buffer: 4 * mib, auto: 4 * mib, settable: 8 * mib, rate: 1e9, least: 100 * ms, flight: 2 * mib, window: 2 * mib}, 0, true},
		{"it is the path", sending{buffer: 4 * mib, auto: 4 * mib, settable: 8 * mib, rate: 1e9, least: 100 * ms, flight: 2 * mib, window: 64 * mib, unsent: mib}, 0, true},
		{"it is the program", sending{buffer: 4 * mib, auto: 4 * mib, settable: 8 * mib, rate: 1e9, least: 100 * ms, flight: mib, window: 64 * mib}, 0, true},
		{"the path is full already", sending{buffer: 4 * mib, auto: 4 * mib, settable: 8 * mib, rate: 10e6, least: 100 * ms, flight: 4 * mib / 2, window: 64 * mib}, 0, true},
		{"no round trip is known", sending{buffer: 4 * mib, auto: 4 * mib, settable: 8 * mib, rate: 10e6, flight: 4 * mib / 2, window: 64 * mib}, 0, true},
		{"500 Mbit/s, 100 ms", sending{buffer: 4 * mib, auto: 4 * mib, settable: 32 * mib, rate: 23e6, least: 100 * ms, flight: 4 * mib / 2, window: 64 * mib}, 8 * mib, true},
		{"again", sending{buffer: 8 * mib, auto: 4 * mib, settable: 32 * mib, rate: 45e6, least: 100 * ms, flight: 8 * mib / 2, window: 64 * mib}, 16 * mib, true},
		{"up to what is allowed", sending{buffer: 4 * mib, auto: 4 * mib, settable: 6 * mib, rate: 23e6, least: 100 * ms, flight: 4 * mib / 2, window: 64 * mib}, 6 * mib, true},
		{"no more is allowed", sending{buffer: 8 * mib, auto: 4 * mib, settable: 8 * mib, rate: 45e6, least: 100 * ms, flight: 8 * mib / 2, window: 64 * mib}, 0, false},
	}
	for _, tt := range tests {
		if size, more := tt.s.grown(); size != tt.size || more != tt.more {
			t.Errorf("%s: got %d, %v, want %d, %v", tt.name, size, more, tt.size, tt.more)
		}
	}
}
