package tcppunch

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/internal/datagram"
	"github.com/tcppunch/tcppunch/tcppunch/internal/kcpconn"
	"github.com/tcppunch/tcppunch/tcppunch/internal/sock"
	"github.com/tcppunch/tcppunch/tcppunch/internal/udppunch"
)

// maxStreams bounds the streams over UDP of one Dial, so that a path that breaks
// can be replaced and a peer that makes trouble cannot make much.
const maxStreams = 8

// A stream is a KCP connection that may end up with the caller, socket and all.
type stream struct {
	*kcpconn.Conn
	socket *datagram.Socket
	owned  atomic.Bool // the socket is nobody else's
}

// Close delivers what was written, as far as the peer lets it.
func (s *stream) Close() error {
	err := s.Conn.Close()
	s.closeSocket()
	return err
}

// Discard closes at once.
func (s *stream) Discard() {
	s.Conn.Discard()
	s.closeSocket()
}

func (s *stream) closeSocket() {
	if s.owned.Swap(false) {
		s.socket.Close() //nolint:errcheck // nothing is left in it
	}
}

// A datagrams is the UDP part of a race. Its fields are guarded by race.mu.
type datagrams struct {
	mesh    *udppunch.Mesh
	streams int             // that live
	ranks   []int           // of those that have not failed
	spare   []udppunch.Path // valid, and not used
	tried   []Attempt       // that had no answer yet
	through bool            // a path was valid
	clock   timetable       // serverless: the roles of the first port
	peer    uint64          // whose paths these are
	live    map[pathKey]*stream
	begun   map[udppunch.StreamID]bool
}

type pathKey struct {
	socket *datagram.Socket
	remote netip.AddrPort
}

// maxBegun bounds how many streams a peer may begin in one Dial: one for each time
// that it is started again, and some more.
const maxBegun = 256

// startUDP lets UDP paths come about. Of each that does, the controlling side makes
// a stream as soon as it is better than those that it has made.
func (r *race) startUDP(mesh *udppunch.Mesh, cfg *udppunch.Config) {
	cfg.Valid, cfg.Data = r.pathValid, r.pathData
	r.mu.Lock()
	r.udp.mesh = mesh
	r.mu.Unlock()
	mesh.Start(cfg)
}

// pathValid is called when datagrams arrive in both directions.
func (r *race) pathValid(p udppunch.Path) {
	a := attemptOf(p)
	r.mu.Lock()
	r.udp.through = true
	r.udp.tried = slices.DeleteFunc(r.udp.tried, func(t Attempt) bool { return t.Remote == a.Remote && t.Local == a.Local })
	r.mu.Unlock()
	r.udpFirst.CompareAndSwap(0, time.Now().UnixNano())
	if f := r.cfg.Trace.AttemptDone; f != nil {
		f(a, nil)
	}
	if r.controlsPath(p) {
		r.mu.Lock()
		if r.udp.peer != p.Peer { // it was started again: what led to the other run is of no use
			r.udp.peer, r.udp.spare, r.udp.ranks = p.Peer, nil, nil
		}
		r.udp.spare = append(r.udp.spare, p)
		r.mu.Unlock()
		r.nextStream()
	}
}

// controlsPath tells whether this side begins a path's stream.
func (r *race) controlsPath(p udppunch.Path) bool {
	if r.cfg.Side == SideEither {
		return r.number() > p.Peer
	}
	return r.controller
}

// nextStream begins a stream on the best path that has none, if that is better
// than all that have one.
func (r *race) nextStream() {
	r.mu.Lock()
	best := -1
	for i, p := range r.udp.spare {
		if rank := attemptOf(p).Kind.rank(); best < 0 || rank < attemptOf(r.udp.spare[best]).Kind.rank() {
			best = i
		}
	}
	if best < 0 || r.udp.streams >= maxStreams {
		r.mu.Unlock()
		return
	}
	p := r.udp.spare[best]
	rank := attemptOf(p).Kind.rank()
	if len(r.udp.ranks) > 0 && slices.Min(r.udp.ranks) <= rank {
		r.mu.Unlock()
		return
	}
	r.udp.spare = slices.Delete(r.udp.spare, best, best+1)
	r.mu.Unlock()
	p.Stream = r.udp.mesh.Choose(p)
	r.beginStream(p)
}

// pathData is called for the first datagram of a stream that the peer has begun.
func (r *race) pathData(p udppunch.Path, _ []byte) {
	if !r.controlsPath(p) {
		r.beginStream(p)
	}
}

// beginStream makes a stream and has it authenticated.
func (r *race) beginStream(p udppunch.Path) {
	a := r.atThisTime(attemptOf(p))
	a.Connected = time.Now()
	a.Local = netip.AddrPortFrom(sourceOf(p.Remote), p.Socket.Local().Port())
	rank := a.Kind.rank()
	r.mu.Lock()
	if r.finished || r.udp.streams >= maxStreams || r.udp.begun[p.Stream] || len(r.udp.begun) >= maxBegun {
		r.mu.Unlock()
		return
	}
	r.udp.begun[p.Stream] = true
	r.udp.streams++
	r.udp.ranks = append(r.udp.ranks, rank)
	r.wg.Add(1)
	r.mu.Unlock()
	s := &stream{socket: p.Socket, Conn: kcpconn.New(p.Socket, p.Remote, &kcpconn.Config{
		ID: binary.BigEndian.Uint32(p.Stream[:]), Key: p.Stream[4:], Client: r.controlsPath(p),
	})}
	r.replace(pathKey{p.Socket, p.Remote}, s)
	go func() {
		defer r.wg.Done()
		r.run(s, a, a.Start)
		r.streamEnded(p, s, rank)
	}()
}

// replace ends the stream that was on a path: who begins another one there has given
// it up.
func (r *race) replace(k pathKey, s *stream) {
	r.mu.Lock()
	old := r.udp.live[k]
	r.udp.live[k] = s
	r.mu.Unlock()
	if old != nil {
		old.Discard()
	}
}

// streamEnded makes room after a stream that has failed. The path is found valid
// anew, as the peer may have been started again; and if there is another one, that
// is taken.
func (r *race) streamEnded(p udppunch.Path, s *stream, rank int) {
	r.mu.Lock()
	k := pathKey{p.Socket, p.Remote}
	replaced := r.udp.live[k] != s
	if !replaced {
		delete(r.udp.live, k)
	}
	r.udp.streams--
	if i := slices.Index(r.udp.ranks, rank); i >= 0 {
		r.udp.ranks = slices.Delete(r.udp.ranks, i, i+1)
	}
	if r.udp.streams == 0 {
		r.udpFirst.Store(0) // whoever comes next: TCP has its head start again
	}
	r.mu.Unlock()
	if replaced || sleep(r.life, streamPause) != nil {
		return
	}
	if r.controlsPath(p) {
		r.nextStream()
	}
	r.udp.mesh.Forget(p)
}

// streamPause is how long a path rests after a stream on it has failed.
const streamPause = 300 * time.Millisecond

// atThisTime gives an attempt without a room, which may be hours old, the slot that
// it has succeeded in.
func (r *race) atThisTime(a Attempt) Attempt {
	r.mu.Lock()
	at := r.udp.clock
	r.mu.Unlock()
	if at == nil {
		return a
	}
	if a.Kind == KindPrivate {
		at = plainly(at)
	}
	now := at(time.Now())
	a.Start, a.Technique, a.TTL, a.Round = now.began, now.technique, now.ttl, now.round
	return a
}

// attemptOf tells what led to a path.
func attemptOf(p udppunch.Path) Attempt {
	if a, ok := p.Tag.(Attempt); ok {
		return a
	}
	return Attempt{
		Network: "kcp", Local: p.Socket.Local(), Remote: p.Remote, Kind: kindOf(p.Remote.Addr()),
		Technique: Accepted, Start: time.Now(),
	}
}

// sourceOf is the address that this machine sends from to another one. Nothing is
// sent to find out.
func sourceOf(remote netip.AddrPort) netip.Addr {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(remote))
	if err != nil {
		return netip.Addr{}
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
}

// takeUDP starts the steps of a room's round that are due.
func (rm *room) takeUDP(ctx context.Context, rd *round, when moment) {
	for _, s := range rd.planUDP.steps {
		if s.when != when {
			continue
		}
		life := ctx
		if s.brief {
			life = rd.ctx
		}
		role := udppunch.Role{TTL: s.ttl, First: connectorPause}
		if s.technique == Opener {
			role.First = openerPause
		}
		rm.race.holdUDP(life, rd.local.udp.lanes[s.lane], Attempt{
			Remote: s.remote, Kind: s.kind, Technique: s.technique, TTL: s.ttl, Lane: s.lane, Round: rd.n,
		}, func(time.Time) udppunch.Role { return role })
	}
	for _, b := range rd.planUDP.bursts {
		if b.when == when {
			rm.race.burstUDP(rd.ctx, rd.local, b, rd.n)
		}
	}
}

const (
	// connectorPause is the time between the first two checks of who dials,
	// openerPause of who only keeps its own NAT open.
	connectorPause = 50 * time.Millisecond
	openerPause    = 300 * time.Millisecond
	// slotPause is the former without a room, where the peer may be hours away.
	slotPause = 200 * time.Millisecond
)

// holdUDP sends checks as a schedule says until they are answered or ctx ends.
func (r *race) holdUDP(ctx context.Context, l *lane, a Attempt, at udppunch.Schedule) {
	a.Network, a.Start = "kcp", time.Now()
	a.Local = netip.AddrPortFrom(netip.Addr{}, l.number())
	r.noteUDP(a)
	r.udp.mesh.Hold(ctx, l.udp, a.Remote, at, a)
}

// noteUDP reports an attempt, and keeps it for the error as long as nothing comes of it.
func (r *race) noteUDP(a Attempt) {
	r.mu.Lock()
	if len(r.udp.tried) < maxLog {
		r.udp.tried = append(r.udp.tried, a)
	}
	r.mu.Unlock()
	if f := r.cfg.Trace.AttemptStart; f != nil {
		f(a)
	}
}

// burstUDP starts the many attempts of a burst. It returns when the openers' checks
// are out, or has left the others to a goroutine.
func (r *race) burstUDP(ctx context.Context, local *Local, b burst, round int) {
	tag := Attempt{
		Network: "kcp", Kind: KindPredicted, Technique: b.technique, TTL: b.ttl, Lane: b.lane, Round: round, Start: time.Now(),
	}
	if b.technique == Opener {
		r.probeMany(ctx, local, b, tag)
		return
	}
	r.wg.Go(func() { r.probeMany(ctx, local, b, tag) })
}

// probeMany sends one check to each of a burst's targets. Ports that were taken
// for it are given back when ctx ends, or when there are too many.
func (r *race) probeMany(ctx context.Context, local *Local, b burst, tag Attempt) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	var fresh []*udppunch.Port
	for remote := range b.targets() {
		port := local.udp.lanes[b.lane].udp
		if b.fresh {
			p, err := r.udp.mesh.ListenV4(ctx)
			if err != nil {
				break
			}
			if len(fresh) == b.sockets {
				fresh[0].Close()
				fresh = fresh[1:]
			}
			port, fresh = p, append(fresh, p)
		}
		a := tag
		a.Remote, a.Local = remote, netip.AddrPortFrom(netip.Addr{}, port.Number())
		r.udp.mesh.Probe(port, remote, b.ttl, a)
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
	}
	if len(fresh) > 0 {
		r.wg.Go(func() {
			<-ctx.Done()
			for _, p := range fresh {
				p.Close()
			}
		})
	}
}

// serverlessUDP sends checks to the peer's addresses by the clock. Nobody could
// tell the peer any credentials, and such as are derived from words would help to
// find out the words by trying: they are no secret. What comes from elsewhere
// than the peer's addresses is passed over, and Config.Auth decides.
func (r *race) serverlessUDP(ctx context.Context, local *Local, allowed map[netip.Addr]bool, byClock timetable) {
	if local.mesh == nil {
		return
	}
	r.mu.Lock()
	r.udp.clock = byClock
	r.mu.Unlock()
	own, peer := serverlessICE(r.cfg.Side)
	r.startUDP(local.mesh, &udppunch.Config{
		Local: own, Peer: peer, Allowed: func(a netip.Addr) bool { return allowed[a] },
	})
	for _, l := range local.udp.lanes {
		for _, remote := range r.cfg.Peer {
			kind, at := kindOf(remote.Addr()), byClock
			if kind == KindPrivate {
				at = plainly(byClock)
			}
			now := at(time.Now())
			r.holdUDP(ctx, l, Attempt{Remote: remote, Kind: kind, Technique: now.technique, TTL: now.ttl},
				func(now time.Time) udppunch.Role {
					role := at(now)
					return udppunch.Role{TTL: role.ttl, First: slotPause, Until: role.until}
				})
		}
	}
}

// serverlessICE are the credentials of the two sides where none can be told.
func serverlessICE(side Side) (own, peer udppunch.Credentials) {
	const pwd = "tcppunch1withoutaroomnosecret"
	switch side {
	case SideA:
		return udppunch.Credentials{Ufrag: "sideA", Pwd: pwd}, udppunch.Credentials{Ufrag: "sideB", Pwd: pwd}
	case SideB:
		peer, own = serverlessICE(SideA)
		return own, peer
	}
	either := udppunch.Credentials{Ufrag: "either", Pwd: pwd}
	return either, either
}

// discard closes a connection that is not wanted, at once.
func discard(c net.Conn) {
	if s, ok := c.(*stream); ok {
		s.Discard()
		return
	}
	sock.Discard(c)
}
