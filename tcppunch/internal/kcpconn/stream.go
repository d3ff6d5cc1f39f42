package kcpconn

import (
	"fmt"
	"io"
	"net"
	"time"
)

// receiver is the state of the receiving half.
type receiver struct {
	rest         []byte       // of a segment, that Read has not returned yet
	spare        [maxMTU]byte // what rest is made of
	ended        bool         // the peer's end of stream has been read
	window, most int          // segments that may wait now, and ever
	taken        int          // segments read since
	since        time.Duration
}

// take copies what has arrived into p. The caller holds mu.
func (c *Conn) take(p []byte) (n int, err error) {
	if c.local {
		return 0, net.ErrClosed
	}
	n = copy(p, c.recv.rest)
	c.recv.rest = c.recv.rest[n:]
	for !c.recv.ended && n < len(p) && len(c.recv.rest) == 0 {
		size := c.kcp.PeekSize()
		if size <= 0 {
			break
		}
		into := p[n:]
		if size > len(into) {
			into = c.recv.spare[:]
		}
		if c.kcp.Recv(into) != size {
			break // cannot be
		}
		c.recv.taken++
		switch into[size-1] {
		case moreFollows:
		case endOfStream:
			c.recv.ended = true
		default:
			c.fail(fmt.Errorf("segment of an unknown kind %#x: %w", into[size-1], ErrReset))
			return n, c.err
		}
		if size > len(p)-n {
			k := copy(p[n:], into[:size-1])
			c.recv.rest = into[k : size-1]
			n += k
			break
		}
		n += size - 1
	}
	if n > 0 || len(p) == 0 {
		c.drained()
		return n, nil
	}
	switch {
	case c.recv.ended || c.peer.closed: // it closes when everything has arrived
		return 0, io.EOF
	case c.err != nil:
		return 0, c.err
	}
	return 0, nil
}

// drained widens the window of a reader that keeps up, and has KCP say so when
// the window was closed. The caller holds mu.
func (c *Conn) drained() {
	r, now := &c.recv, c.now()
	if since := now - r.since; since > max(c.rate.srtt, flushEvery) {
		if r.taken > r.window/4 && r.window < r.most { // a quarter in a round trip
			r.window = min(2*r.window, r.most)
			c.kcp.WndSize(0, r.window)
		}
		r.taken, r.since = 0, now
	}
	if int(c.send.wnd) < r.window/2 {
		c.askWindow()
	}
}

// give hands bytes to KCP, as many as there is room for. The caller holds mu.
func (c *Conn) give(p []byte) (n int, err error) {
	s := &c.send
	if err := c.writeError(); err != nil {
		return 0, err
	}
	most := max(c.segmentsIn(4*flushEvery), leastQueued)
	for n < len(p) && c.queued() < most {
		room := c.mtu.size - headerSize - 1 - len(s.stage)
		if room <= 0 { // the MTU has shrunk
			c.seal(moreFollows)
			continue
		}
		k := min(room, len(p)-n)
		s.stage = append(s.stage, p[n:n+k]...)
		if n += k; k == room {
			c.seal(moreFollows)
		}
	}
	c.begun()
	return n, nil
}

func (c *Conn) writeError() error {
	switch {
	case c.local || c.send.finished:
		return net.ErrClosed
	case c.err != nil:
		return c.err
	case c.peer.closed:
		return ErrReset
	}
	return nil
}

// seal makes a segment of the staged bytes. The caller holds mu.
func (c *Conn) seal(last byte) {
	s := &c.send
	s.stage = append(s.stage, last)
	c.kcp.Send(s.stage)
	s.stage = s.stage[:0]
}

// begun notes that the stream is in use, from when on the peer is expected to answer.
func (c *Conn) begun() {
	if !c.peer.running {
		c.peer.running = true
		c.peer.heard = c.now()
		token(c.work)
	}
}

// queued returns how many segments KCP has not numbered yet.
func (c *Conn) queued() int {
	return c.kcp.WaitSnd() - int(c.board.next-c.send.told)
}
