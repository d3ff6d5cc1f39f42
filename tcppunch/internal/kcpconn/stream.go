package kcpconn

import (
	"fmt"
	"io"
	"net"
)

// take copies what has arrived into p. The caller holds mu.
func (c *Conn) take(p []byte) (n int, err error) {
	if c.local {
		return 0, net.ErrClosed
	}
	n = copy(p, c.rest)
	c.rest = c.rest[n:]
	for !c.ended && n < len(p) && len(c.rest) == 0 {
		size := c.kcp.PeekSize()
		if size <= 0 {
			break
		}
		into := p[n:]
		if size > len(into) {
			into = c.spare[:cap(c.spare)]
		}
		if c.kcp.Recv(into) != size {
			break // cannot be
		}
		switch into[size-1] {
		case moreFollows:
		case endOfStream:
			c.ended = true
		default:
			c.fail(fmt.Errorf("segment of an unknown kind %#x: %w", into[size-1], ErrReset))
			return n, c.err
		}
		if size > len(p)-n {
			k := copy(p[n:], into[:size-1])
			c.rest = into[k : size-1]
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
	case c.ended || c.peer.closed: // it closes when everything has arrived
		return 0, io.EOF
	case c.err != nil:
		return 0, c.err
	}
	return 0, nil
}

// drained has KCP say so if its window was closed. The caller holds mu.
func (c *Conn) drained() {
	if int(c.send.wnd) < c.receive/2 {
		c.send.tell = true
		token(c.work)
	}
}

// give hands bytes to KCP, as many as there is room for. The caller holds mu.
func (c *Conn) give(p []byte) (n int, err error) {
	s := &c.send
	if err := c.writeError(); err != nil {
		return 0, err
	}
	for n < len(p) && c.queued() < queueSegments {
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
