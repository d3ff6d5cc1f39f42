package main

import (
	"cmp"
	"context"
	"hash/maphash"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/tcppunch/tcppunch/lanfind"
	"github.com/tcppunch/tcppunch/tcppunch"
	"github.com/tcppunch/tcppunch/tcppunch/pair"
)

// lanFlags are the flags of commands that look for a peer on the local network.
type lanFlags struct {
	Name  *string `placeholder:"NAME" help:"Name of this machine, as neighbours on the local network see it. The host's unless said; '' for none."`
	LAN   bool    `name:"lan" default:"true" negatable:"" env:"TCPPUNCH_LAN" help:"Look for the other side on the local network too."`
	Sweep string  `default:"auto" enum:"auto,on,off" help:"Whether to ask every address of the local network where multicast shows nobody: auto, on, or off."`
}

// nickname is the name that neighbours are told, or "".
func (f *lanFlags) nickname() string {
	if f.Name != nil {
		return *f.Name
	}
	host, err := os.Hostname()
	if err != nil {
		return ""
	}
	return host
}

func (f *lanFlags) sweep() (s lanfind.Sweep) {
	_ = s.UnmarshalText([]byte(f.Sweep)) // the flag has no other values
	return s
}

// A lanLook announces this side on the local network and looks for peers there.
type lanLook struct {
	flags   *lanFlags
	service lanfind.Service         // but for the port
	room    string                  // only who waits in it counts, unless it is empty
	match   func(lanfind.Peer) bool // only who matches counts; nil for all
	heard   func(lanfind.Event)     // called before match with all that happens, or nil
	failed  func(error)             // called when there is no way to look, or no longer
	out     *output

	wrong chan netip.AddrPort // addresses of programs that are not the peer
	stir  chan struct{}       // others may match now
}

// again has all that were heard of matched once more.
func (l *lanLook) again() {
	select {
	case l.stir <- struct{}{}:
	default: // that is about to happen
	}
}

// isWrong takes a program that has an address from those that are tried.
func (l *lanLook) isWrong(a netip.AddrPort) {
	select {
	case l.wrong <- a:
	default: // the engine does not try that address again either
	}
}

// open takes a port, and announces it and looks until stop is called. What it finds is
// what the Near is told.
func (l *lanLook) open(ctx context.Context) (near *tcppunch.Near, stop func(), err error) {
	near, err = tcppunch.ListenNear(ctx, 0)
	if err != nil {
		return nil, nil, err
	}
	l.service.Port, l.wrong, l.stir = near.Port(), make(chan netip.AddrPort, 16), make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(ctx)
	peers := make(chan []netip.AddrPort)
	near.Peers = peers
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.look(ctx, peers)
	}()
	return near, func() {
		cancel()
		<-done
		near.Close() //nolint:errcheck // most likely it is closed already
	}, nil
}

// secondTime is how long a neighbour is tried at the address where it was heard, until it is
// at all others too: each connection with somebody else is a guess at the words for them.
const secondTime = 2 * time.Second

// look tells of all peers, each time that there is a change.
func (l *lanLook) look(ctx context.Context, tell chan<- []netip.AddrPort) {
	events := make(chan lanfind.Event)
	go func() {
		defer close(events)
		l.browse(ctx, events)
	}()
	known := map[string]*neighbour{}
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return
			}
			l.take(known, e)
		case a := <-l.wrong:
			for _, n := range known {
				n.wrong = n.wrong || slices.Contains(n.Addrs, a)
			}
		case <-l.stir:
			l.fit(known)
		case <-t.C:
		}
		addrs, due := candidates(known, time.Now())
		select {
		case tell <- addrs:
		case <-ctx.Done():
			continue // until there are no more events
		}
		if !due.IsZero() {
			t.Reset(time.Until(due))
		}
	}
}

// browse passes on what happens.
func (l *lanLook) browse(ctx context.Context, events chan<- lanfind.Event) {
	opt := &lanfind.Options{Announce: &l.service, Room: l.room, Sweep: l.flags.sweep(), Trace: &lanfind.Trace{
		Problem: func(err error) { l.out.detail("local network: %s", shown(err)) },
	}}
	if l.match != nil {
		opt.Sought = l.meant
	}
	for event, err := range lanfind.Browse(ctx, opt) {
		if err != nil {
			l.failed(err)
			return
		}
		select {
		case events <- event:
		case <-ctx.Done():
			return
		}
	}
}

// meant tells whether a peer is who is meant where two meet by key: the sender waits in the room
// of the receiver's.
func (l *lanLook) meant(p lanfind.Peer) bool {
	in := func(room, key string) bool {
		k, err := pair.ParsePublicKey(key)
		return err == nil && room == roomTo(k)
	}
	return in(p.Room, l.service.Key) || in(l.service.Room, p.Key)
}

// A neighbour is a peer that was found.
type neighbour struct {
	lanfind.Peer
	found time.Time
	wrong bool // it is not the peer
	other bool // it does not match
}

// take notes what has happened.
func (l *lanLook) take(known map[string]*neighbour, e lanfind.Event) {
	p := e.Peer
	l.out.detail("local network: %v %s at %v, by %v", e.Kind, shownPeer(p), p.Addrs, p.Via)
	if l.heard != nil {
		l.heard(e)
	}
	switch n := known[p.ID]; {
	case e.Kind == lanfind.Gone:
		delete(known, p.ID)
	case n != nil:
		n.Peer = p
	default:
		known[p.ID] = &neighbour{Peer: p, found: time.Now()}
	}
	l.fit(known)
}

// fit finds out who matches now: that may depend on who else is there.
func (l *lanLook) fit(known map[string]*neighbour) {
	if l.match == nil {
		return
	}
	for id, n := range known {
		switch other := !l.match(n.Peer); {
		case other:
			n.other = true
		case n.other: // it is as good as new
			known[id] = &neighbour{Peer: n.Peer, found: time.Now()}
		}
	}
}

// shownPeer is how a peer is called on the screen.
func shownPeer(p lanfind.Peer) string { return cmp.Or(p.Name, p.ID) }

const (
	// maxCandidates is how many addresses are tried at once, as by tcppunch.Near.
	maxCandidates = 64
	// rotateTime is how long they are tried when there are more.
	rotateTime = 5 * time.Second
)

// candidates are the addresses of peers to try, in an order in which none of them is shut
// out for long by many that somebody announces: by turns one of each host that was heard, of
// its programs by turns, and of each of these the likeliest first; the others only when a
// peer has been there for a while. The order of hosts is one of chance, and another one
// every few seconds. due is when there will be something else, or zero.
func candidates(known map[string]*neighbour, now time.Time) (all []netip.AddrPort, due time.Time) {
	hosts := map[netip.Addr][]*neighbour{}
	for _, n := range known {
		if len(n.Addrs) > 0 && !n.wrong && !n.other {
			hosts[n.Addrs[0].Addr()] = append(hosts[n.Addrs[0].Addr()], n)
		}
	}
	soonest := func(t time.Time) {
		if due.IsZero() || t.Before(due) {
			due = t
		}
	}
	queues := map[netip.Addr][]netip.AddrPort{}
	for host, ns := range hosts {
		slices.SortFunc(ns, func(a, b *neighbour) int { return cmp.Or(a.found.Compare(b.found), cmp.Compare(a.ID, b.ID)) })
		var of [][]netip.AddrPort
		for _, n := range ns {
			if second := n.found.Add(secondTime); now.Before(second) {
				soonest(second)
				of = append(of, n.Addrs[:1])
			} else {
				of = append(of, n.Addrs)
			}
		}
		queues[host] = byTurns(of)
	}
	turn := now.Truncate(rotateTime)
	seen := map[netip.AddrPort]bool{}
	for _, a := range byTurns(shuffled(queues, turn)) {
		if len(all) == maxCandidates {
			soonest(turn.Add(rotateTime))
			break
		}
		if !seen[a] {
			seen[a] = true
			all = append(all, a)
		}
	}
	return all, due
}

// shuffled is what hosts have, in an order of hosts that goes by the turn and that nobody
// else can foresee.
func shuffled(queues map[netip.Addr][]netip.AddrPort, turn time.Time) (of [][]netip.AddrPort) {
	rank := func(a netip.Addr) uint64 { return maphash.Comparable(hashSeed(), [2]any{a, turn.UnixNano()}) }
	hosts := slices.SortedFunc(maps.Keys(queues), func(a, b netip.Addr) int { return cmp.Compare(rank(a), rank(b)) })
	for _, h := range hosts {
		of = append(of, queues[h])
	}
	return of
}

// hashSeed is another one in each run.
var hashSeed = sync.OnceValue(maphash.MakeSeed)

// byTurns takes the first of each, then the second of each, and so on.
func byTurns[T any](lists [][]T) (all []T) {
	for i, more := 0, true; more; i++ {
		more = false
		for _, l := range lists {
			if i < len(l) {
				all, more = append(all, l[i]), true
			}
		}
	}
	return all
}
