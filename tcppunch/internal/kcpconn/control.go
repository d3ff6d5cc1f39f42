package kcpconn

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"net/netip"
	"time"
)

const (
	pingEvery   = time.Second
	pingHurried = 250 * time.Millisecond // when the peer should have been heard
	uneasyAfter = 1500 * time.Millisecond
	challengeIn = 100 * time.Millisecond // between two challenges to new addresses
	mostHalves  = 64                     // datagrams of which one half has come
)

// peer is what is known of the peer.
type peer struct {
	running  bool          // the stream is in use: it must be heard from
	closed   bool          // it will neither send nor take any more
	heard    time.Duration // last
	pinged   time.Duration // last
	segments uint64        // received

	nonce      [8]byte // of the challenge that is out
	asked      netip.AddrPort
	askedAt    time.Duration
	challenged bool

	halves [mostHalves]halved
}

// halved is one half of a datagram.
type halved struct {
	id    uint32
	which byte
	data  []byte
}

// hear notes a sign of life. The caller holds mu.
func (c *Conn) hear(now time.Duration) {
	c.begun()
	c.peer.heard = now
}

// keep sends pings, and ends the stream when the peer is dead. It returns when
// to be called again. The caller holds mu.
func (c *Conn) keep(now time.Duration) time.Duration {
	p := &c.peer
	if !p.running || p.closed {
		return 0
	}
	silent := now - p.heard
	if silent >= silentAfter {
		c.fail(ErrSilent)
		return 0
	}
	every := pingEvery
	if silent > uneasyAfter {
		every = pingHurried
	}
	if p.pinged == 0 || now-p.pinged >= every {
		p.pinged = now
		c.send.controls.Add(c.secrets.seal(nil, ping, binary.BigEndian.AppendUint64(nil, uint64(now))))
	}
	return min(p.pinged+every, p.heard+silentAfter)
}

// control takes a control datagram. The caller holds mu.
func (c *Conn) control(b []byte, from netip.AddrPort) {
	k, body, newest, ok := c.secrets.open(b)
	if !ok {
		return
	}
	now := c.now()
	if from != c.remote {
		if k == response && c.moved(body, from) {
			c.hear(now)
		} else if k == challenge {
			c.answer(k, body, from) // the peer wants to know whether we are where it hears us
		} else if newest {
			c.validate(from)
		}
		return
	}
	c.hear(now)
	switch k {
	case ping, probe, challenge:
		c.answer(k, body, from)
	case pong:
		if len(body) == 8 {
			if rtt := now - time.Duration(binary.BigEndian.Uint64(body)); rtt > 0 && rtt < silentAfter {
				c.rate.pinged(now, rtt)
			}
		}
	case arrived:
		if len(body) == 2 {
			c.mtu.arrived(int(binary.BigEndian.Uint16(body)), now)
			c.resize()
		}
	case reset:
		c.fail(ErrReset)
	case closed:
		c.farewelled(body, now)
	case half:
		c.join(body)
	}
}

// farewelled takes the peer's last words. The caller holds mu.
func (c *Conn) farewelled(body []byte, now time.Duration) {
	if len(body) == 4 {
		if una := binary.BigEndian.Uint32(body); c.board.valid(una) {
			smp := c.board.begin(now)
			c.board.ackUntil(una, &smp, c.recycle)
			c.acknowledged(&smp)
		}
	}
	c.peer.closed = true
	token(c.readable)
	token(c.writable)
	token(c.settled)
}

// answer answers what wants an answer. The caller holds mu.
func (c *Conn) answer(k kind, body []byte, to netip.AddrPort) {
	switch k {
	case ping:
		if len(body) == 8 {
			c.acks.Add(c.secrets.seal(nil, pong, body))
		}
		if c.send.wnd == 0 { // the window that we told may have been lost
			c.askWindow()
		}
	case probe:
		size := uint16(len(body) + controlSize)
		c.acks.Add(c.secrets.seal(nil, arrived, binary.BigEndian.AppendUint16(nil, size)))
	case challenge:
		if len(body) == 8 {
			_ = c.via.Send(c.secrets.seal(nil, response, body), to)
		}
	}
}

// validate asks a new address whether the peer is there. The caller holds mu.
func (c *Conn) validate(at netip.AddrPort) {
	p, now := &c.peer, c.now()
	if p.challenged && now-p.askedAt < challengeIn {
		return
	}
	p.challenged, p.asked, p.askedAt = true, at, now
	rand.Read(p.nonce[:]) //nolint:errcheck // never fails
	_ = c.via.Send(c.secrets.seal(nil, challenge, p.nonce[:]), at)
}

// moved takes the answer to a challenge, which moves the stream. The caller holds mu.
func (c *Conn) moved(body []byte, from netip.AddrPort) bool {
	p := &c.peer
	if !p.challenged || from != p.asked || subtle.ConstantTimeCompare(body, p.nonce[:]) != 1 {
		return false
	}
	p.challenged = false
	c.via.Move(c, c.remote, from)
	c.remote = from
	c.send.progress, c.send.tries = 0, 1 // what is on its way to the old address is lost
	token(c.work)
	return true
}

// join puts the halves of a datagram together. The caller holds mu.
func (c *Conn) join(body []byte) {
	if len(body) < 6 || body[4] > 1 {
		return
	}
	id, which, data := binary.BigEndian.Uint32(body), body[4], body[5:]
	h := &c.peer.halves[id%mostHalves]
	if h.data == nil || h.id != id || h.which == which {
		*h = halved{id: id, which: which, data: append([]byte(nil), data...)}
		return
	}
	whole := make([]byte, 0, len(h.data)+len(data))
	if which == 0 {
		whole = append(append(whole, data...), h.data...)
	} else {
		whole = append(append(whole, h.data...), data...)
	}
	h.data = nil
	c.segments(whole)
}

// split puts a segment that is too large for the path into the batch, as two
// datagrams. The caller holds mu.
func (c *Conn) split(seg []byte, id uint32) {
	middle := len(seg) / 2
	for which, part := range [][]byte{seg[:middle], seg[middle:]} {
		body := append(binary.BigEndian.AppendUint32(nil, id), byte(which))
		c.send.batch.Add(c.secrets.seal(nil, half, append(body, part...)))
	}
}

// answerLate answers what comes after the end. The caller holds mu.
func (c *Conn) answerLate(tag uint32, from netip.AddrPort) {
	if from != c.remote || c.answers <= 0 || tag != c.secrets.conv && tag != c.secrets.tag || c.epitaph == 0 {
		return
	}
	c.answers--
	_ = c.via.Send(c.lastWords(), from)
}
