package kcpconn

import "time"

// fate is what has become of a segment.
type fate byte

const (
	ready  fate = iota // KCP has cut it, it has not been sent
	flying             // it is on its way, as far as is known
	lost               // it will be sent again
	acked
)

// record is a segment that the peer has not acknowledged up to.
type record struct {
	seg   []byte // header and data; nil once acked
	at    time.Duration
	tick  uint64 // counts transmissions, for their order
	fate  fate
	times int // it was sent

	// The state of delivery when it was sent, as in the IETF's delivery rate estimation draft.
	delivered   int64
	deliveredAt time.Duration
	firstAt     time.Duration
	limited     bool // the application, not the window, decided how much was in flight
}

// flight is one transmission, in the order of sending.
type flight struct {
	sn   uint32
	tick uint64
}

// board is the sender's memory: every segment from una on, and what became of
// it. It has no clock and does no I/O. Segments from una to fresh have been
// sent, those from fresh to next are ready.
type board struct {
	ring             []record // of a power of two, indexed by sequence number
	una, fresh, next uint32
	order            fifo[flight]
	again            fifo[uint32] // lost ones, in the order of their loss

	inflight  int // bytes
	tick      uint64
	delivered int64 // bytes
	deliverAt time.Duration
	firstAt   time.Duration
	limitedTo int64 // deliveries up to here say little about the path; 0: none

	newest    uint64 // the tick of the latest transmission that has arrived
	newestRTT time.Duration
	wide      int // how much wider the reordering window is, in quarters of the RTT

	sent, resent, losses, spurious uint64 // segments
}

func (b *board) at(sn uint32) *record { return &b.ring[sn&uint32(len(b.ring)-1)] }

// add appends a segment that KCP has numbered next.
func (b *board) add(seg []byte) {
	if n := int(b.next - b.una); n >= len(b.ring) {
		old, size := b.ring, max(64, 2*len(b.ring))
		b.ring = make([]record, size)
		for sn := b.una; sn != b.next; sn++ {
			*b.at(sn) = old[sn&uint32(len(old)-1)]
		}
	}
	*b.at(b.next) = record{seg: seg}
	b.next++
}

// pick returns the segment to send next, a lost one first.
func (b *board) pick() (sn uint32, ok bool) {
	for b.again.len() > 0 {
		sn := b.again.front()
		if !before(sn, b.una) && b.at(sn).fate == lost {
			return sn, true
		}
		b.again.pop()
	}
	return b.fresh, b.fresh != b.next
}

// send notes that the segment is sent now, and returns it.
func (b *board) send(sn uint32, now time.Duration) *record {
	r := b.at(sn)
	switch r.fate {
	case ready:
		b.fresh++
		b.sent++
	case lost:
		b.again.pop()
		b.resent++
	default: // a probe for a tail that was lost, perhaps
		b.inflight -= len(r.seg)
		b.resent++
	}
	if b.inflight == 0 {
		b.firstAt, b.deliverAt = now, now
	}
	b.tick++
	r.at, r.tick, r.fate = now, b.tick, flying
	r.times++
	r.delivered, r.deliveredAt, r.firstAt, r.limited = b.delivered, b.deliverAt, b.firstAt, b.limitedTo > 0
	b.inflight += len(r.seg)
	b.order.push(flight{sn, b.tick})
	return r
}

// sample is what one datagram's acknowledgements tell.
type sample struct {
	now      time.Duration
	rtt      time.Duration // of the latest transmission that arrived; 0: not known
	bytes    int           // that arrived
	lost     int           // bytes found lost
	inflight int           // bytes, before
	prior    int64         // what had been delivered when the latest one was sent; -1: nothing arrived
	total    int64         // what has been delivered now
	interval time.Duration // for total-prior
	limited  bool

	newest uint64
}

func (b *board) begin(now time.Duration) sample {
	return sample{now: now, prior: -1, inflight: b.inflight}
}

// valid says whether the peer may acknowledge all before una.
func (b *board) valid(una uint32) bool { return !before(b.fresh, una) }

// ackUntil takes the acknowledgement of everything before una.
func (b *board) ackUntil(una uint32, s *sample, free func([]byte)) {
	for before(b.una, una) {
		b.take(b.una, s, free, nil)
		b.una++
	}
}

// ack takes the acknowledgement of one segment. Echo is the stamp of the
// transmission that arrived.
func (b *board) ack(sn, echo uint32, s *sample, free func([]byte)) {
	if before(sn, b.una) || !before(sn, b.fresh) {
		return
	}
	b.take(sn, s, free, &echo)
}

func (b *board) take(sn uint32, s *sample, free func([]byte), echo *uint32) {
	r := b.at(sn)
	if r.fate == acked || r.fate == ready {
		return
	}
	size := len(r.seg)
	if r.fate == flying {
		b.inflight -= size
	}
	b.delivered += int64(size)
	b.deliverAt = s.now
	s.bytes += size
	free(r.seg)
	r.seg, r.fate = nil, acked
	if r.times > 1 {
		if echo == nil {
			return // of which transmission is not known
		}
		if *echo != stamp(r.at) { // of an earlier one: the loss was none
			b.spurious++
			b.wide = min(b.wide+1, 8)
			return
		}
	}
	if r.tick > s.newest {
		s.newest, s.rtt = r.tick, s.now-r.at
		s.prior, s.limited = r.delivered, r.limited
		s.interval = max(r.at-r.firstAt, s.now-r.deliveredAt)
		b.firstAt = r.at
	}
	if r.tick > b.newest {
		b.newest, b.newestRTT = r.tick, s.now-r.at
	}
}

// end completes a sample.
func (b *board) end(s *sample) {
	s.total = b.delivered
	if b.limitedTo > 0 && b.delivered > b.limitedTo {
		b.limitedTo = 0
	}
}

// detect finds what has been lost: what was sent before something that arrived,
// and has had a round trip and a bit more to arrive itself. It returns the time
// at which there may be more, or 0.
func (b *board) detect(now, minRTT time.Duration) (lostBytes int, next time.Duration) {
	patience := b.newestRTT + b.reordering(minRTT)
	for b.order.len() > 0 {
		f := b.order.front()
		r := b.at(f.sn)
		if before(f.sn, b.una) || r.fate != flying || r.tick != f.tick {
			b.order.pop()
			continue
		}
		if f.tick >= b.newest {
			return lostBytes, 0
		}
		if due := r.at + patience; now < due {
			return lostBytes, due
		}
		b.order.pop()
		lostBytes += b.lose(f.sn, r)
	}
	return lostBytes, 0
}

// reordering is how much later than its successors a segment may arrive.
func (b *board) reordering(minRTT time.Duration) time.Duration {
	return max(minRTT/4*time.Duration(1+b.wide), time.Millisecond)
}

func (b *board) lose(sn uint32, r *record) int {
	b.inflight -= len(r.seg)
	b.losses++
	r.fate = lost
	b.again.push(sn)
	return len(r.seg)
}

// loseAll gives up all that is on its way.
func (b *board) loseAll() (lostBytes int) {
	b.again.clear()
	b.order.clear()
	for sn := b.una; sn != b.fresh; sn++ {
		switch r := b.at(sn); r.fate {
		case flying:
			lostBytes += b.lose(sn, r)
		case lost:
			b.again.push(sn)
		}
	}
	return lostBytes
}

// tail returns the latest transmission that has not arrived.
func (b *board) tail() (sn uint32, ok bool) {
	for sn := b.fresh; sn != b.una; sn-- {
		if b.at(sn-1).fate == flying {
			return sn - 1, true
		}
	}
	return 0, false
}

// applicationLimited notes that nothing more is there to be sent.
func (b *board) applicationLimited() { b.limitedTo = max(b.delivered+int64(b.inflight), 1) }

// stamp is a time as it goes into a segment's ts field, which the peer echoes.
func stamp(t time.Duration) uint32 { return uint32(t.Microseconds()) }

// fifo is a queue that keeps its memory.
type fifo[T any] struct {
	items []T
	head  int
}

func (q *fifo[T]) len() int { return len(q.items) - q.head }
func (q *fifo[T]) front() T { return q.items[q.head] }
func (q *fifo[T]) clear()   { q.items, q.head = q.items[:0], 0 }

func (q *fifo[T]) push(v T) {
	if q.head > 64 && q.head > len(q.items)/2 {
		q.items = q.items[:copy(q.items, q.items[q.head:])]
		q.head = 0
	}
	q.items = append(q.items, v)
}

func (q *fifo[T]) pop() {
	q.head++
	if q.head == len(q.items) {
		q.clear()
	}
}
