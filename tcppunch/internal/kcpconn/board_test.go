package kcpconn

import (
	"testing"
	"time"
)

const ms = time.Millisecond

// boardOf has n segments of 1000 bytes, sent a millisecond apart.
func boardOf(n int) *board {
	b := new(board)
	for i := range n {
		b.add(make([]byte, 1000))
		sn, _ := b.pick()
		b.send(sn, time.Duration(i)*ms)
	}
	return b
}

func TestBoard(t *testing.T) {
	free := func([]byte) {}
	echo := func(b *board, sn uint32) uint32 { return stamp(b.at(sn).at) }
	b := boardOf(10)
	if b.inflight != 10000 || b.sent != 10 {
		t.Fatalf("in flight %d, sent %d", b.inflight, b.sent)
	}
	// 2 is missing.
	s := b.begin(30 * ms)
	b.ack(5, echo(b, 5), &s, free)
	b.ackUntil(2, &s, free)
	b.end(&s)
	if s.rtt != 25*ms || s.bytes != 3000 || b.inflight != 7000 {
		t.Errorf("RTT %v, %d bytes, in flight %d", s.rtt, s.bytes, b.inflight)
	}
	// What was sent before 5 has 25 ms and a quarter of the shortest round trip.
	lost, next := b.detect(30*ms, 20*ms)
	if lost != 0 || next != 2*ms+25*ms+5*ms {
		t.Errorf("lost %d, next %v", lost, next)
	}
	lost, next = b.detect(next, 20*ms)
	if lost != 1000 || next != 33*ms || b.at(2).fate != 3-1 {
		t.Errorf("lost %d, next %v, fate %v", lost, next, b.at(2).fate)
	}
	if lost, next = b.detect(time.Second, 20*ms); lost != 2000 || next != 0 {
		t.Errorf("lost %d, next %v", lost, next)
	}
	// Again in the order of loss, and it counts as in flight once.
	sn, _ := b.pick()
	b.send(sn, 1000*ms)
	if sn != 2 || b.inflight != 5000 || b.resent != 1 {
		t.Errorf("sent %d again, in flight %d, %d again", sn, b.inflight, b.resent)
	}
	// The first transmission arrives after all: the window for reordering widens.
	s = b.begin(1001 * ms)
	b.ack(2, stamp(2*ms), &s, free)
	b.end(&s)
	if b.spurious != 1 || s.rtt != 0 || b.reordering(20*ms) != 10*ms {
		t.Errorf("spurious %d, RTT %v, reordering %v", b.spurious, s.rtt, b.reordering(20*ms))
	}
	// Nobody may acknowledge what was not sent.
	if b.valid(11) || !b.valid(10) {
		t.Error("valid is wrong")
	}
	if n := b.loseAll(); n != 4000 || b.inflight != 0 || b.again.len() != 6 {
		t.Errorf("gave up %d, in flight %d, %d to send again", n, b.inflight, b.again.len())
	}
	s = b.begin(2000 * ms)
	b.ackUntil(10, &s, free)
	if _, ok := b.pick(); ok || b.inflight != 0 || b.delivered != 10000 {
		t.Errorf("something is left: in flight %d, delivered %d", b.inflight, b.delivered)
	}
}

// The delivery rate is what arrived over the longer of how long it took to send
// and to arrive.
func TestDeliveryRate(t *testing.T) {
	b := boardOf(20)
	free := func([]byte) {}
	for i := range uint32(20) { // a millisecond apart at first, then all at once
		now := 50*ms + time.Duration(min(i, 10))*ms
		s := b.begin(now)
		b.ackUntil(i+1, &s, free)
		b.end(&s)
		if i == 19 {
			if rate := float64(s.total-s.prior) / s.interval.Seconds(); rate > 1.1e6 {
				t.Errorf("lumped acknowledgements look like %.0f bytes/s", rate)
			}
		}
	}
}

func TestProber(t *testing.T) {
	for _, tt := range []struct{ path, want int }{{9000, 1472}, {1472, 1472}, {1471, 1456}, {1300, 1285}, {1200, 1200}} {
		var m prober
		m.init(true)
		now, probes := time.Duration(0), 0
		for !m.over && probes < 100 {
			size, next := m.due(now, time.Second)
			if size > 0 {
				probes++
				if size <= tt.path {
					m.arrived(size, now)
					continue
				}
			}
			now = next
		}
		if m.size < tt.want || m.size > tt.path || probes > 25 {
			t.Errorf("path of %d: found %d with %d probes", tt.path, m.size, probes)
		}
		m.arrived(9000, now)
		if m.size > maxMTU {
			t.Errorf("took an answer of %d", m.size)
		}
		m.fallBack(now)
		if size, next := m.due(now+time.Second, time.Second); size != 0 || m.size != baseMTU || next != now+searchSoon {
			t.Errorf("after falling back: probe %d, MTU %d, next %v", size, m.size, next-now)
		}
	}
}

func TestRateLosses(t *testing.T) {
	settled := rate{phase: cruise, filled: true, window: 500000, minRTT: 100 * ms, step: 3}
	settled.bw[0] = 2.5e6
	tests := []struct {
		name       string
		lost       int
		rtt        time.Duration
		high, want int
	}{
		{"none", 0, 100 * ms, 0, 0},
		{"without a queue", 5000, 101 * ms, 0, 0},
		{"with a queue", 5000, 120 * ms, 0, 175000},
		{"a queue, no losses", 0, 120 * ms, 250000, 251500},
		{"a queue and room below the limit", 0, 120 * ms, 400000, 400000},
		{"no queue any more", 0, 100 * ms, 100000, 125000},
		{"no queue and no need", 0, 100 * ms, 700000, 0},
	}
	for _, tt := range tests {
		k := settled
		k.high, k.round, k.cutRound = tt.high, 9, 1
		k.roundLost, k.roundBytes, k.roundRTT, k.roundInflight = tt.lost, 250000, tt.rtt, 250000
		k.judge(10 * time.Second)
		if k.high != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, k.high, tt.want)
		}
	}
}
