package tcppunch

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/internal/sock"
)

const (
	// maxNear bounds the addresses on the local network that are dialled at once, and
	// maxNearHost those of one IP address: neighbours say what they like.
	maxNear     = 64
	maxNearHost = 8
	// maxNearBad is after how many connections in vain an address is let in less often.
	maxNearBad = 4
	// maxNearNoted bounds the addresses of which something is noted.
	maxNearNoted = 1024
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
	// Auth is for connections on the local network what Config.Auth is for others,
	// but for its errors, none of which ends the Dial: anybody may be there. One that
	// wraps ErrRejected says that the program at that address and port is a wrong one,
	// which is not tried again. How many guesses at a secret there may be is for Auth
	// to count. Once a Signaler has told the peer's certificate, it must be shown here
	// too. Default: everybody passes.
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
	r.listen(ctx, n.port, nearLane, forGood(Accepted, 0, 0, time.Now()), door{
		open: func(a netip.AddrPort) bool { return links.reach(a.Addr()) && r.nears.welcome(a, time.Now()) },
		kind: func(netip.Addr) Kind { return KindLAN }, inside: &r.nears.accepted,
	})
	r.wg.Go(func() {
		held, peers := map[netip.AddrPort]context.CancelFunc{}, n.Peers
		for {
			select {
			case known, ok := <-peers:
				if !ok {
					peers = nil // there is no more to come
					continue
				}
				r.holdNear(ctx, n, held, known)
			case <-ctx.Done():
				return
			}
		}
	})
}

// holdNear dials what is new, and lets go of what is no longer known.
func (r *race) holdNear(ctx context.Context, n *Near, held map[netip.AddrPort]context.CancelFunc, known []netip.AddrPort) {
	want, of := map[netip.AddrPort]bool{}, map[netip.Addr]int{}
	for _, a := range known {
		if a = unmap(a); dialable(a) && !want[a] && len(want) < maxNear && of[a.Addr()] < maxNearHost {
			want[a] = true
			of[a.Addr()]++
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

// nears is what is noted of neighbours in one Dial.
type nears struct {
	accepted atomic.Int32 // connections that the listener gave us

	mu        sync.Mutex
	wrong     map[netip.AddrPort]bool // programs that are not the peer
	bad       map[netip.Addr]*badHost
	knocks    map[netip.Addr]int // quick dials of an address
	knocksAll int                // of all
}

// A badHost is an address that came in vain so often, and is let in again then.
type badHost struct {
	times int
	until time.Time
}

// reject notes that a program is not the peer.
func (n *nears) reject(a netip.AddrPort) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.wrong == nil || len(n.wrong) >= maxNearNoted {
		n.wrong = map[netip.AddrPort]bool{}
	}
	n.wrong[a] = true
}

// isWrong tells whether a program is known not to be the peer.
func (n *nears) isWrong(a netip.AddrPort) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.wrong[a]
}

// vain notes that a connection that came from an address was of no use: what each costs
// must not add up.
func (n *nears) vain(a netip.Addr, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.bad == nil || len(n.bad) >= maxNearNoted {
		n.bad = map[netip.Addr]*badHost{}
	}
	b := n.bad[a]
	if b == nil {
		b = new(badHost)
		n.bad[a] = b
	}
	if b.times++; b.times >= maxNearBad {
		b.until = now.Add(nearPause(b.times - maxNearBad))
	}
}

// welcome tells whether a connection from an address may come in.
func (n *nears) welcome(a netip.AddrPort, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	b := n.bad[a.Addr()]
	return !n.wrong[a] && (b == nil || !now.Before(b.until))
}

// mayKnock counts a quick dial of an address, or refuses it: anybody may have led us there.
func (n *nears) mayKnock(a netip.Addr) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.knocks == nil {
		n.knocks = map[netip.Addr]int{}
	}
	if n.knocks[a] >= maxNearKnocks || n.knocksAll >= maxNearKnocksAll {
		return false
	}
	n.knocks[a]++
	n.knocksAll++
	return true
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
		ifs, _ := net.Interfaces() // without, nobody is near
		for _, i := range ifs {
			if i.Flags&net.FlagPointToPoint == 0 { // else it is a tunnel to somewhere
				l.routes = append(l.routes, prefixesOf(i)...)
			}
		}
	}
	return slices.ContainsFunc(l.routes, func(p netip.Prefix) bool { return p.Contains(a) })
}
