package kcpconn

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/xtaci/kcp-go/v5"

	"github.com/tcppunch/tcppunch/tcppunch/internal/datagram"
)

const (
	burstTime  = time.Millisecond     // what one wake-up of the pump sends, and a timer's coarseness
	catchUp    = 3 * time.Millisecond // what a late pump may make up for
	mostBurst  = 256 << 10
	longest    = time.Hour
	mostSilent = 500 * time.Millisecond // between two tries while nothing comes back
	hopeless   = 5                      // transmissions after which a large segment is thought to be too large
)

// sender is the state of the pump.
type sender struct {
	stage    []byte // bytes that make no full segment yet
	finished bool   // the end of stream is queued

	told   uint32 // the una that KCP knows of
	window uint16 // of the peer, as KCP shall know it
	mute   bool   // KCP has been told to leave retransmission alone
	clock  uint32 // KCP's, when it last emitted
	wnd    uint16 // that we last told the peer
	una    uint32 // that we last told the peer
	tell   bool   // the peer should hear of our window

	release  time.Duration // when the pace lets the next datagram go
	progress time.Duration // when something was acknowledged, or sent after silence
	tries    int           // timeouts since then
	check    time.Duration // when more may be found lost
	batch    datagram.Batch
	controls datagram.Batch
}

// pump is the goroutine that sends.
func (c *Conn) pump() {
	defer close(c.pumped)
	timer := time.NewTimer(longest)
	defer timer.Stop()
	for {
		c.mu.Lock()
		now := c.now()
		wait := c.step(now)
		to, over := c.remote, c.err != nil
		c.mu.Unlock()
		c.transmit(&c.send.controls, to)
		c.transmit(&c.send.batch, to)
		if over {
			return
		}
		timer.Reset(max(wait, 0))
		select {
		case <-c.work:
		case <-timer.C:
		case <-c.over:
		}
	}
}

// transmit sends a batch of the pump's.
func (c *Conn) transmit(b *datagram.Batch, to netip.AddrPort) {
	if b.Len() == 0 {
		return
	}
	if err := c.via.SendBatch(b, to); errors.Is(err, net.ErrClosed) {
		c.Gone()
	}
	b.Reset()
}

// step does what is due now, and returns how long to wait for the next. The
// caller holds mu.
func (c *Conn) step(now time.Duration) time.Duration {
	if c.err != nil {
		return longest
	}
	next := now + longest
	sooner := func(t time.Duration) {
		if t > 0 {
			next = min(next, t)
		}
	}
	sooner(c.keep(now))
	if c.err != nil {
		return longest
	}
	sooner(c.probeMTU(now))
	c.overdue(now)
	if c.fill(now) {
		sooner(now + flushEvery/2)
	}
	sooner(c.sendSome(now))
	sooner(c.send.check)
	if c.board.inflight > 0 || c.board.again.len() > 0 {
		sooner(c.timeoutAt())
	}
	return next - now
}

// timeoutAt returns when to give up what is on its way.
func (c *Conn) timeoutAt() time.Duration {
	wait := c.rate.rto()
	if c.send.tries > 1 {
		wait = min(wait<<min(c.send.tries-1, 8), max(mostSilent, c.rate.srtt*2))
	}
	return c.send.progress + wait
}

// overdue looks for losses and silence.
func (c *Conn) overdue(now time.Duration) {
	s := &c.send
	if s.check > 0 && now >= s.check {
		smp := c.board.begin(now)
		smp.lost, s.check = c.board.detect(now, c.rate.minRTT)
		c.rate.update(&smp, c.board.inflight)
	}
	if c.board.inflight == 0 && c.board.again.len() == 0 || now < c.timeoutAt() {
		return
	}
	s.tries++
	s.progress = now
	if s.tries == 1 { // the tail was lost, perhaps: one more makes the peer tell
		if sn, ok := c.board.tail(); ok {
			c.put(sn, now)
			return
		}
	}
	if s.tries >= 3 && c.mtu.size > baseMTU { // large datagrams may have stopped to arrive
		c.mtu.fallBack(now)
		c.resize()
	}
	c.rate.silence()
	c.board.loseAll()
	s.check = 0
	s.release = 0
}

// fill lets KCP number segments, so many ahead of the pace that they last until
// it flushes next even if the peer's una does not move, and tells it what has been
// acknowledged. It returns whether KCP wants to be asked again soon. The caller
// holds mu.
func (c *Conn) fill(now time.Duration) bool {
	s, b := &c.send, &c.board
	behind := int(b.next - b.fresh)
	ahead := c.segmentsIn(2 * flushEvery)
	room := max(4*c.rate.limit()/c.mtu.size, 1024) - int(b.next-b.una) // losses of losses take that long
	allow := 0
	if behind < ahead/2+1 {
		allow = min(ahead, room)
	}
	idle := b.inflight == 0 && c.queued() < allow // KCP would take its interval for what comes in a second go
	if (c.queued() == 0 || idle) && len(s.stage) > 0 && behind == 0 && allow > 0 {
		c.seal(moreFollows) // nothing else to send: do not wait for more
	}
	if c.queued() == 0 {
		allow = 0
	}
	late := b.una - s.told
	if allow <= 0 && late < 64 && !s.tell {
		return false
	}
	c.kcp.WndSize(max(int(b.next-s.told)+max(allow, 0), 1), 0)
	before := b.next
	c.flush(late)
	if b.next != before {
		token(c.writable)
		c.mute()
	}
	return s.tell || allow > 0 && b.next == before
}

// segmentsIn returns how many segments the pace lets go in d, within bounds.
func (c *Conn) segmentsIn(d time.Duration) int {
	return min(max(int(c.rate.pace()*d.Seconds())/c.mtu.size, 32), mostQueued)
}

// flush makes KCP emit. It flushes at once only when it hears of a new
// acknowledgement, so one is kept back for the next time; without one it may
// take until its interval is over.
func (c *Conn) flush(late uint32) {
	s := &c.send
	if late == 0 {
		c.tellKCP(header{cmd: cmdTell, wnd: s.window, una: s.told})
		c.kcp.Update()
		return
	}
	if late > 1 {
		late--
	}
	s.told += late
	c.tellKCP(header{cmd: cmdTell, wnd: s.window, una: s.told})
}

// askWindow makes KCP tell the peer its window soon. The caller holds mu.
func (c *Conn) askWindow() {
	s := &c.send
	if !s.tell {
		s.tell = true
		c.tellKCP(header{cmd: cmdAsk, wnd: s.window, una: s.told})
		token(c.work)
	}
}

// tellKCP gives KCP a segment as if it came from the peer.
func (c *Conn) tellKCP(h header) {
	var b [headerSize]byte
	h.put(b[:], c.secrets.conv)
	c.kcp.Input(b[:], kcp.IKCP_PACKET_REGULAR, false)
}

// mute makes KCP believe that a round trip takes days, so that it does not
// retransmit by itself: it would, from far ahead of the pace, and for nothing.
func (c *Conn) mute() {
	if s := &c.send; !s.mute {
		s.mute = true
		c.tellKCP(header{cmd: cmdAck, wnd: s.window, ts: s.clock - 1<<30, sn: s.told - 1, una: s.told})
	}
}

// output is what KCP calls to send. New segments go to the board, the others
// are acknowledgements and windows. KCP's own retransmissions are not wanted.
func (c *Conn) output(buf []byte, size int) {
	b := buf[:size]
	plain := 0 // bytes without data since the last segment with some
	for len(b) > plain {
		h, n, ok := parseSegment(b[plain:], c.secrets.conv)
		if !ok {
			break // cannot be
		}
		c.send.wnd, c.send.una = h.wnd, h.una
		if h.cmd != cmdPush {
			c.send.tell = c.send.tell && h.cmd != cmdTell
			plain += n
			continue
		}
		if plain > 0 {
			c.acks.Add(b[:plain])
		}
		c.send.clock = h.ts
		if h.sn == c.board.next {
			c.board.add(append(c.buffer(), b[plain:plain+n]...))
		}
		b, plain = b[plain+n:], 0
	}
	if plain > 0 {
		c.acks.Add(b[:plain])
	}
}

// sendSome puts what window and pace allow into the batch. It returns when there
// is more to send, or 0 if something else must happen first.
func (c *Conn) sendSome(now time.Duration) time.Duration {
	s, b := &c.send, &c.board
	for i := range c.acks.Len() {
		s.controls.Add(c.acks.Datagram(i))
	}
	c.acks.Reset()
	pace := c.rate.pace()
	limit := c.rate.limit()
	s.release = max(s.release, now-catchUp)
	for s.batch.Size() < mostBurst {
		sn, ok := b.pick()
		if !ok {
			if b.inflight < limit && c.queued() == 0 {
				b.applicationLimited()
			}
			return 0
		}
		size := len(b.at(sn).seg)
		if b.inflight > 0 && b.inflight+size > limit {
			return 0
		}
		if s.release > now+burstTime/2 {
			return s.release
		}
		c.put(sn, now)
		s.release += time.Duration(float64(size) / pace * 1e9)
		if sn == b.fresh-1 && int(b.next-b.fresh) == 0 {
			c.fill(now)
		}
	}
	return now
}

// put sends a segment.
func (c *Conn) put(sn uint32, now time.Duration) {
	if c.board.inflight == 0 && c.send.tries == 0 {
		c.send.progress = now
	}
	r := c.board.send(sn, now)
	binary.LittleEndian.PutUint16(r.seg[6:], c.send.wnd)
	binary.LittleEndian.PutUint32(r.seg[8:], stamp(now))
	binary.LittleEndian.PutUint32(r.seg[16:], c.send.una)
	if len(r.seg) > c.mtu.size || len(r.seg) > baseMTU && r.times > hopeless {
		c.split(r.seg, uint32(r.tick))
		return
	}
	c.send.batch.Add(r.seg)
}

// buffer returns an empty buffer for a segment.
func (c *Conn) buffer() []byte {
	if n := len(c.free); n > 0 {
		b := c.free[n-1]
		c.free = c.free[:n-1]
		return b[:0]
	}
	return make([]byte, 0, maxMTU)
}

func (c *Conn) recycle(b []byte) {
	if len(c.free) < 4096 {
		c.free = append(c.free, b)
	}
}
