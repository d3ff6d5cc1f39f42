package tcppunch

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/internal/sock"
)

const (
	// maxNear bounds the addresses on the local network that are dialled at once:
	// neighbours say what they like.
	maxNear = 64
	// nearLane stands for Near's port where others have their lane's number.
	nearLane = -1
	// maxNearPause is the most time between two tries of an address where somebody
	// answers who is not the peer.
	maxNearPause = 5 * time.Second
	// linksFresh is how long a look at this machine's networks counts.
	linksFresh = time.Second
)

// A Near is this side's port on the local network, and what a Dial does there. The
// peer has one too, and both are told of the other's by what finds neighbours, such as
// package lanfind. Each dials the other from the one port to the other, so that both
// hosts' own firewalls see an answer to what they have let out:
//
//	anna                firewall     firewall                 ben
//	10.0.1.1:4711 --SYN--->|            | x                     |
//	              |        |<-----------|<-----SYN-- 10.0.1.9:4811
//	              |--SYN-ACK----------->|--------------------->|
//
// Make it with ListenNear, set the other fields, and give it to one Dial.
type Near struct {
	// Peers tells the addresses at which the peer may be. Each value is all that are
	// known then, the likeliest first, and stands for the one before. What is beyond
	// 64 addresses is not dialled. Required.
	Peers <-chan []netip.AddrPort
	// Auth is for connections on the local network what Config.Auth is for others: of
	// an error that wraps ErrRejected each address has two, and all together sixteen,
	// which end the Dial. No Signaler vouches for these connections. Default:
	// everybody passes.
	Auth func(ctx context.Context, conn net.Conn, exporter []byte) error

	port *sock.Port
}

// ListenNear takes a local port, one that the system chooses if it is 0. Close it, or
// give it to Dial, which will.
func ListenNear(ctx context.Context, port uint16) (*Near, error) {
	p, err := sock.Open(ctx, port)
	if err != nil {
		return nil, err
	}
	return &Near{port: p}, nil
}

// Port is the local port, of which neighbours must be told.
func (n *Near) Port() uint16 { return n.port.Number() }

// Close gives the port back.
func (n *Near) Close() error { return n.port.Close() }

// nearby takes part on the local network until ctx ends.
func (r *race) nearby(ctx context.Context, n *Near) {
	links := new(localLinks)
	r.listen(ctx, n.port, nearLane, forGood(Accepted, 0, 0, time.Now()), door{links.reach, func(netip.Addr) Kind { return KindLAN }})
	r.wg.Go(func() {
		held := map[netip.AddrPort]context.CancelFunc{}
		defer func() {
			for _, cancel := range held {
				cancel()
			}
		}()
		for {
			select {
			case known := <-n.Peers:
				r.holdNear(ctx, n, held, known)
			case <-ctx.Done():
				return
			}
		}
	})
}

// holdNear dials what is new, and lets go of what is no longer known.
func (r *race) holdNear(ctx context.Context, n *Near, held map[netip.AddrPort]context.CancelFunc, known []netip.AddrPort) {
	want := map[netip.AddrPort]bool{}
	for _, a := range known {
		if a = unmap(a); dialable(a) && len(want) < maxNear {
			want[a] = true
		}
	}
	for a, cancel := range held {
		if !want[a] {
			cancel()
			delete(held, a)
		}
	}
	for a := range want {
		if held[a] != nil {
			continue
		}
		holding, cancel := context.WithCancel(ctx)
		held[a] = cancel
		r.hold(holding, tuple{port: n.port, remote: a, kind: KindLAN, lane: nearLane}, forGood(Plain, 0, 0, time.Now()))
	}
}

// out tells whether an address has had its guesses.
func (r *race) out(a netip.Addr) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.strikes[a] >= maxStrikes
}

// nearPause is how long to stay away from an address where so many connections in
// succession were not the peer's.
func nearPause(vain int) time.Duration {
	return min(300*time.Millisecond<<min(vain, 8), maxNearPause)
}

// localLinks are the networks that this machine has an address of.
type localLinks struct {
	mu     sync.Mutex
	seen   time.Time
	routes []netip.Prefix
}

// reach tells whether an address is on one of them: from elsewhere nobody belongs here.
func (l *localLinks) reach(a netip.Addr) bool {
	if a.IsLinkLocalUnicast() || a.IsLoopback() {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.seen) > linksFresh {
		l.seen, l.routes = time.Now(), nil
		addrs, _ := net.InterfaceAddrs() // without, nobody is
		for _, i := range addrs {
			if p, err := netip.ParsePrefix(i.String()); err == nil {
				l.routes = append(l.routes, netip.PrefixFrom(p.Addr().Unmap(), p.Bits()))
			}
		}
	}
	for _, p := range l.routes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
