package main

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch"
	"github.com/tcppunch/tcppunch/tcppunch/transfer"
)

// streams returns what opens further connections beside conn, for a transfer that one of
// them does not serve well enough, and what tells that. By UDP one is enough: its
// congestion control does not take every loss for a full queue.
func (s *session) streams(conn *tcppunch.Conn) (extra func(context.Context, *transfer.Signals) (net.Conn, error), held func() bool) {
	if conn.Path().Network != "tcp" {
		return nil, nil
	}
	x := &striping{out: s.out, hosts: lanHosts(conn)}
	switch w := s.way.(type) {
	case *roomWay:
		x.sockets = w.flags.Sockets
		if x.hosts == nil {
			x.stun = w.flags.stunUsed(w.common.STUN)
		}
	case *peerWay:
		if len(w.common.STUN) > 0 {
			x.stun = stunServers(w.common.STUN)
		}
	}
	h := &holding{info: conn.TCPInfo}
	return x.dial, h.held
}

// lanHosts are this machine's addresses that further connections are made from, or nil for
// all. Who has met on the local network stays there, whatever other networks there are.
func lanHosts(conn *tcppunch.Conn) []netip.Addr {
	p := conn.Path()
	if p.Kind != tcppunch.KindLAN {
		return nil
	}
	return []netip.Addr{p.Local.Addr().Unmap().WithZone("")}
}

// A striping opens connections beside the first one of a transfer.
type striping struct {
	hosts   []netip.Addr // of this machine, if not all
	stun    []string
	sockets int // to try at once where a router hides its ports; 0 for the default
	out     *output
}

// dial makes one connection to the other side, whose dial runs at the same time. What
// the two have to tell each other, their certificates among it, goes through the first
// connection, which vouches for both. Where no STUN server was named, the other side
// tells how it sees this one.
func (x *striping) dial(ctx context.Context, s *transfer.Signals) (net.Conn, error) {
	cfg := &tcppunch.Config{
		Side: tcppunch.SideB, Via: tcppunch.ViaTCP, Signaler: s, Hosts: x.hosts, STUN: x.stun, Public: s.Seen(), Sockets: x.sockets, Trace: verbose(x.out),
	}
	if s.First() {
		cfg.Side = tcppunch.SideA
	}
	conn, err := tcppunch.Dial(ctx, cfg)
	if err != nil {
		x.out.detail("no further connection: %s", shown(err))
		return nil, err
	}
	x.out.detail("one connection more: %v", conn.Path())
	return conn, nil
}

// A holding tells what holds a connection down, from one look at it to the next.
type holding struct {
	info func() (tcppunch.TCPInfo, bool)

	mu   sync.Mutex
	last tcppunch.TCPInfo
	at   time.Time
}

// held reports whether the congestion window has held the connection down since the last
// call, although there is room on the path: another connection gets some of it then.
func (h *holding) held() bool {
	now, ok := h.info()
	if !ok {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	last, since := h.last, time.Since(h.at)
	first := h.at.IsZero()
	h.last, h.at = now, time.Now()
	return !first && heldDown(last, now, since)
}

const (
	// shortTrip is a round trip within which CUBIC recovers soon from a loss.
	shortTrip = 2 * time.Millisecond
	// queueShare more than the least round trip is a queue that is filled: the path
	// gives no more.
	queueShare = 0.5
	// busyShare of the time there must have been something to send, and at most
	// receiverShare of it the other side may have had no room.
	busyShare, receiverShare = 0.8, 0.2
)

// heldDown decides that from two looks. Of the congestion controls, CUBIC and Reno get
// slow by losses that say nothing of the path; BBR, which the engine asks for on such
// paths where it may, does not.
func heldDown(last, now tcppunch.TCPInfo, since time.Duration) bool {
	switch busy, full := now.Busy-last.Busy, now.ReceiverLimited-last.ReceiverLimited; {
	case now.CongestionControl != "cubic" && now.CongestionControl != "reno":
		return false
	case now.MinRTT < shortTrip || float64(now.RTT) > (1+queueShare)*float64(now.MinRTT):
		return false
	case float64(busy) < busyShare*float64(since) || float64(full) > receiverShare*float64(since):
		return false
	}
	return now.Unsent > 0
}
