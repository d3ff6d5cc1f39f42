package kcpconn

import "time"

const (
	probeTries  = 3
	fineEnough  = 16 // bytes between the largest size that passes and the smallest that does not
	searchAgain = 10 * time.Minute
	searchSoon  = 15 * time.Second // after large datagrams have stopped to arrive
)

// prober finds the largest datagram that passes (RFC 8899, simplified). It has no
// clock and does no I/O.
type prober struct {
	size  int // that passes
	fails int // smallest that is thought not to pass
	top   int // largest worth a try

	trying int // size of the probe that is out
	tries  int
	next   time.Duration // when to do something; the search is over for that long
	over   bool
}

func (m *prober) init(v4 bool) {
	m.size, m.top = baseMTU, maxMTU
	if !v4 {
		m.top -= 20
	}
	m.fails = m.top + 1
}

// due returns the size of the probe to send now, or 0, and when to ask again.
func (m *prober) due(now, timeout time.Duration) (size int, next time.Duration) {
	if now < m.next {
		return 0, m.next
	}
	if m.over { // look again whether more passes by now
		m.over, m.fails, m.trying, m.tries = false, m.top+1, 0, 0
	}
	if m.trying > 0 && m.tries >= probeTries {
		m.fails, m.trying, m.tries = m.trying, 0, 0
	}
	if m.trying == 0 {
		m.choose()
		if m.trying == 0 {
			m.over, m.next = true, now+searchAgain
			return 0, m.next
		}
	}
	m.tries++
	m.next = now + timeout
	return m.trying, m.next
}

// choose takes the top first, since most paths carry it, then halves the interval.
func (m *prober) choose() {
	switch {
	case m.size >= m.top || m.fails-m.size <= fineEnough:
	case m.fails > m.top:
		m.trying = m.top
	default:
		m.trying = (m.size + m.fails) / 2
	}
}

// arrived takes the answer to a probe.
func (m *prober) arrived(size int, now time.Duration) {
	if size != m.trying || size <= m.size {
		return
	}
	m.size, m.trying, m.tries, m.next = size, 0, 0, now
}

// fallBack returns to the size that every path carries.
func (m *prober) fallBack(now time.Duration) {
	m.size, m.trying, m.tries = baseMTU, 0, 0
	m.over, m.next = true, now+searchSoon
}

// probeMTU sends the probe that is due, and returns when to be called again. The
// caller holds mu.
func (c *Conn) probeMTU(now time.Duration) time.Duration {
	if c.rate.srtt == 0 || c.peer.closed {
		return 0
	}
	size, next := c.mtu.due(now, max(2*c.rate.rto(), 200*time.Millisecond))
	if size > 0 {
		c.send.controls.Add(c.secrets.seal(nil, probe, make([]byte, size-controlSize)))
	}
	return next
}

// resize tells KCP the size of datagrams. What it has cut already stays as it is;
// put splits it if need be. The caller holds mu.
func (c *Conn) resize() { c.kcp.SetMtu(c.mtu.size) }
