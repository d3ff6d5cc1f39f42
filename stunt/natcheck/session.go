package natcheck

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/tcppunch/tcppunch/stunt/natcheck/internal/syn"
	"github.com/tcppunch/tcppunch/stunt/stun"
)

const (
	// A dial-back takes baseTime and two round trips at most. A second SYN goes out after one second, in case the first
	// is lost.
	baseTime = 1300 * time.Millisecond
	// maxRTT is the longest round trip that is waited for.
	maxRTT = time.Second
	// lateness is how much longer a dial-back may have taken: else this machine was too busy to tell.
	lateness = 500 * time.Millisecond
)

// dialTime is how long a dial-back to a client waits.
func dialTime(rtt time.Duration) time.Duration { return baseTime + 2*min(max(rtt, 0), maxRTT) }

// reserveTime is how long a client may keep a reserved port, which its tests need for a few round trips.
const reserveTime = 15 * time.Second

// A session is a client's TCP connection. It holds at most one reserved port.
type session struct {
	server      *Server
	from, local netip.AddrPort

	mu     sync.Mutex
	port   *reserved   // nil until it was asked for, and when its time is over; guarded by mu
	expiry *time.Timer // of port; guarded by mu
}

func (s *Server) newSession(conn net.Conn) stun.Session {
	c := &session{server: s}
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		c.from = unmap(a.AddrPort())
	}
	if a, ok := conn.LocalAddr().(*net.TCPAddr); ok {
		c.local = unmap(a.AddrPort())
	}
	return c
}

// Close gives the reserved port back.
func (c *session) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.port != nil {
		c.expiry.Stop()
		c.port.close()
		c.port = nil
		c.server.slots.free(c.from.Addr())
	}
}

// Respond answers one request, and makes the test that it asks for.
func (c *session) Respond(ctx context.Context, request []byte) ([]byte, error) {
	q, err := stun.ParseRequest(request)
	if err != nil {
		return nil, err
	}
	if q.ChangeIP || q.ChangePort || q.ResponsePort != 0 {
		return q.RefuseExtended() // a stream has two ends, which cannot change
	}
	r := stun.Response{Result: c.server.describe(c.from, c.local)}
	r.Software = c.server.cfg.Software
	if p, ok := findProbe(q.Extra); ok {
		r.Extra = []stun.Attribute{c.probe(ctx, p).attribute()}
	}
	return q.Respond(r)
}

// probe makes a test. An answer whose arg is 0 says that it was not made.
func (c *session) probe(ctx context.Context, p probe) probe {
	s := c.server
	answer := probe{op: p.op}
	switch {
	case p.op == opHello:
		answer.arg, answer.port = s.abilities(c.local)&^canRespond, s.otherPort(c.local.Port())
	case !syn.CanDialBack || !s.tests.take(c.from.Addr(), time.Now()):
	case p.op == opKnockPort:
		answer.arg = c.knock(ctx, c.local.Addr(), p.rtt()).code()
	case p.op == opKnockAddr:
		if other := s.otherAddr(c.local.Addr()); other.IsValid() {
			answer.arg = c.knock(ctx, other, p.rtt()).code()
		}
	case p.op == opOpen:
		if port, err := c.open(ctx, p.arg); err == nil {
			answer.arg, answer.port = done, port
		}
	case p.op == opDial:
		answer.arg = c.dial(ctx, p.rtt()).code()
	}
	return answer
}

// knock dials the client from an unused port of one of the server's addresses.
func (c *session) knock(ctx context.Context, from netip.Addr, rtt time.Duration) Outcome {
	if !c.server.slots.take(c.from.Addr()) {
		return ""
	}
	defer c.server.slots.free(c.from.Addr())
	return c.server.dialBack(ctx, netip.AddrPortFrom(from, 0), c.from, rtt)
}

// errBusy means that the server has as many sockets as it may.
var errBusy = errors.New("too many tests at one time")

// open reserves a port, or changes what a SYN meets there.
func (c *session) open(ctx context.Context, how byte) (uint16, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.port != nil {
		return c.port.port(), c.port.become(ctx, how)
	}
	if !c.server.slots.take(c.from.Addr()) {
		return 0, errBusy
	}
	p, err := reserve(ctx, c.local.Addr(), c.from.Addr(), how)
	if err != nil {
		c.server.slots.free(c.from.Addr())
		return 0, err
	}
	c.port, c.expiry = p, time.AfterFunc(reserveTime, c.Close)
	return p.port(), nil
}

// dial dials from the reserved port.
func (c *session) dial(ctx context.Context, rtt time.Duration) Outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.port == nil {
		return ""
	}
	return c.server.dialBack(ctx, c.port.local, c.port.target(c.from), rtt)
}

// dialBack sends a SYN and tells what it met. A connection that comes of it is closed at once.
func (s *Server) dialBack(ctx context.Context, from, to netip.AddrPort, rtt time.Duration) Outcome {
	if !to.IsValid() || to.Port() == 0 {
		return ""
	}
	began := time.Now()
	ctx, cancel := context.WithDeadline(ctx, began.Add(dialTime(rtt)))
	defer cancel()
	c, err := syn.Dial(from, to, true)
	if err != nil {
		return "" // this machine has no way there
	}
	conn, err := c.Wait(ctx)
	if err == nil {
		syn.Discard(conn)
	}
	return s.believe(from.Addr(), met(err), time.Since(began), rtt)
}

// believe leaves of an outcome what this side cannot have caused itself. A refusal that comes at once has not been far,
// and silence counts only where SYNs from here are known to get out.
func (s *Server) believe(from netip.Addr, o Outcome, took, rtt time.Duration) Outcome {
	now := time.Now()
	switch o {
	case RST, ICMP:
		if took < rtt/8 { // the client's NAT is most of the way off
			return ""
		}
	case Silent:
		if took > dialTime(rtt)+lateness {
			return ""
		}
	}
	if o == Accepted || o == RST {
		s.proofs.add(from, now)
	}
	if o == Silent && !s.proofs.have(from, now) {
		return ""
	}
	return o
}

// met classifies how a dial ended.
func met(err error) Outcome {
	switch {
	case err == nil || errors.Is(err, syn.ErrReset):
		return Accepted
	case errors.Is(err, syn.ErrOwnFirewall):
		return ""
	case errors.Is(err, syn.ErrICMP):
		return ICMP
	case syn.Refused(err):
		return RST
	case errors.Is(err, context.DeadlineExceeded):
		return Silent
	}
	return "" // a failure of this machine
}
