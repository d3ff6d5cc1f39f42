package kcpconn

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/xtaci/kcp-go/v5"
)

// Input takes a datagram from the socket.
func (c *Conn) Input(b []byte, from netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(b) < 4 {
		return
	}
	switch tag := binary.LittleEndian.Uint32(b); {
	case c.err != nil:
		c.answerLate(tag, from)
	case tag == c.secrets.tag:
		c.control(b, from)
	case tag != c.secrets.conv:
	case from != c.remote:
		c.validate(from)
	default:
		c.segments(b)
	}
}

// segments takes a datagram of KCP's. Acknowledgements are for the board, the
// rest is for KCP. The caller holds mu.
func (c *Conn) segments(b []byte) {
	now := c.now()
	una, ok := c.check(b)
	if !ok {
		return
	}
	c.hear(now)
	smp := c.board.begin(now)
	forKCP := false
	for rest := b; len(rest) > 0; {
		h, n, _ := parseSegment(rest, c.secrets.conv)
		switch h.cmd {
		case cmdAck:
			c.board.ack(h.sn, h.ts, &smp, c.recycle)
		case cmdPush:
			c.peer.segments++
			forKCP = true
		case cmdAsk:
			c.send.tell = true
			token(c.work)
			forKCP = true
		}
		if !before(h.una, c.board.una) { // else it is old
			if c.send.window == 0 && h.wnd > 0 {
				token(c.work)
			}
			c.send.window = h.wnd
		}
		// KCP hears of acknowledgements from fill: each would make it flush.
		binary.LittleEndian.PutUint16(rest[6:], c.send.window)
		binary.LittleEndian.PutUint32(rest[16:], c.send.told)
		rest = rest[n:]
	}
	c.board.ackUntil(una, &smp, c.recycle)
	c.acknowledged(&smp)
	if forKCP {
		c.feed(false)
		c.held = b
	}
}

// check looks at all of a datagram before any of it counts, and returns what has
// been acknowledged up to.
func (c *Conn) check(b []byte) (una uint32, ok bool) {
	una = c.board.una
	for len(b) > 0 {
		h, n, ok := parseSegment(b, c.secrets.conv)
		if !ok || !c.board.valid(h.una) {
			return 0, false
		}
		if before(una, h.una) {
			una = h.una
		}
		b = b[n:]
	}
	return una, true
}

// acknowledged does what follows from acknowledgements. The caller holds mu.
func (c *Conn) acknowledged(smp *sample) {
	s, b := &c.send, &c.board
	if smp.bytes == 0 {
		return
	}
	s.progress, s.tries = smp.now, 0
	b.end(smp)
	if smp.rtt > 0 && (c.rate.minRTT == 0 || smp.rtt < c.rate.minRTT) {
		c.rate.measured(smp.now, smp.rtt)
	}
	smp.lost, s.check = b.detect(smp.now, c.rate.minRTT)
	c.rate.update(smp, b.inflight)
	token(c.work)
	if c.local {
		token(c.settled)
	}
}

// feed gives KCP the datagram that was held back. The last one of a batch makes
// it acknowledge them all. The caller holds mu.
func (c *Conn) feed(last bool) {
	if c.held == nil {
		return
	}
	c.kcp.Input(c.held, kcp.IKCP_PACKET_REGULAR, last)
	c.held = nil
}

// Flush is called when no more datagrams are waiting.
func (c *Conn) Flush() {
	c.mu.Lock()
	c.feed(true)
	if c.kcp.PeekSize() > 0 {
		token(c.readable)
	}
	n := c.acks.Len()
	if n > 0 { // under the lock: the pump empties acks too
		_ = c.via.SendBatch(&c.acks, c.remote)
		c.acks.Reset()
	}
	c.mu.Unlock()
}

// Gone says that the socket is closed.
func (c *Conn) Gone() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail(fmt.Errorf("the socket is closed: %w", net.ErrClosed))
}
