package tcppunch

import (
	"context"
	"net/netip"
	"time"
)

// Dial connects to the peer, who calls Dial too. It returns when one
// authenticated connection has been nominated by both sides, or a *DialError
// when ctx ends, the peer fails authentication or, with a Signaler, all rounds
// are over. Everything else that it opened is closed then.
func Dial(ctx context.Context, cfg *Config) (*Conn, error) {
	if cfg != nil && cfg.Local != nil {
		defer cfg.Local.Close()
	}
	if cfg != nil && cfg.Near != nil && cfg.Near.port != nil {
		defer cfg.Near.Close()
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	id, err := newIdentity()
	if err != nil {
		return nil, err
	}
	local, err := cfg.gather(ctx)
	if err != nil {
		return nil, err
	}
	if local != cfg.Local {
		defer local.Close()
	}
	raceCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := newRace(raceCtx, cfg, id)
	r.drawPreface(local.mesh)
	if cfg.Near != nil {
		r.nearby(raceCtx, cfg.Near)
	}
	end, err := r.start(raceCtx, cancel, local)
	if err != nil {
		cancel(err)
		r.finish(nil)
		return nil, dialError(r.log, err)
	}
	defer end()
	winner, err := r.nominate(raceCtx)
	if cause := context.Cause(raceCtx); err != nil && cause != nil {
		err = cause
	}
	cancel(nil)
	r.finish(winner)
	if err != nil {
		return nil, dialError(r.log, err)
	}
	if f := cfg.Trace.Nominated; f != nil {
		f(winner.path)
	}
	if s, ok := winner.below.Conn.(*stream); ok {
		r.udp.mesh.Release(s.socket)
		s.owned.Store(true)
	}
	return newConn(winner, cfg.Congestion), nil
}

// gather returns this side's ports: those that were given, or new ones. Where they come
// with the Signaler, or Near is all, there are none.
func (c *Config) gather(ctx context.Context) (*Local, error) {
	local := c.Local
	switch {
	case local != nil:
	case c.Meet != nil, c.Signaler == nil && len(c.Peer) == 0:
		local = &Local{hosts: c.hosts()}
	default:
		var err error
		if local, err = Gather(ctx, c); isContext(err) {
			return nil, dialError(nil, err)
		} else if err != nil {
			return nil, err
		}
	}
	alone := len(local.hosts) == 0
	if c.Near != nil { // neighbours need no more than a link
		alone = len(ownAddrs()) == 0
	}
	if alone && !loopbackOnly(c.Peer) && c.Meet == nil {
		if local != c.Local {
			local.Close()
		}
		return nil, dialError(nil, ErrNoNetwork)
	}
	return local, nil
}

// start begins what does not happen on the local network. end is to be called when the
// race is over.
func (r *race) start(ctx context.Context, cancel context.CancelCauseFunc, local *Local) (end func(), err error) {
	rm := &room{race: r, local: local, cancel: cancel, signal: r.cfg.Signaler}
	switch {
	case r.cfg.Meet != nil:
		r.wg.Go(func() {
			if err := rm.meetLater(ctx); err != nil {
				cancel(err)
			}
		})
	case r.cfg.Signaler != nil:
		if err := rm.meet(ctx); err != nil {
			return nil, err
		}
	case len(r.cfg.Peer) > 0:
		if r.cfg.TTL == 0 {
			r.cfg.TTL = openerTTL(0, r.cfg.know(ctx, 0), 0)
		}
		r.serverless(ctx, local)
	}
	return rm.close, nil
}

// meetLater waits for a Signaler, and then is meet.
func (rm *room) meetLater(ctx context.Context) error {
	signal, local, err := rm.race.cfg.Meet(ctx)
	if local != nil {
		rm.locals = append(rm.locals, local)
	}
	if err != nil {
		return err
	}
	rm.signal, rm.local = signal, local
	if len(local.hosts) == 0 {
		return ErrNoNetwork
	}
	return rm.meet(ctx)
}

// serverless starts what two peers do who know nothing but addresses.
func (r *race) serverless(ctx context.Context, local *Local) {
	now := time.Now()
	r.knows()
	opens := func(slot int64) bool { return opensIn(r.cfg.Side, slot%cycle) }
	if r.cfg.Side == SideEither {
		opens = opensByChance(r.number())
	}
	first := slots(opens, false, r.cfg.TTL, now, r.cfg.ClockOffset)
	spare := slots(opens, true, r.cfg.TTL, now, r.cfg.ClockOffset)
	allowed := map[netip.Addr]bool{}
	for _, a := range r.cfg.Peer {
		allowed[a.Addr()] = true
	}
	for i, ln := range local.tcp.lanes {
		r.listen(ctx, ln.port, i, first, door{func(a netip.AddrPort) bool { return allowed[a.Addr()] }, kindOf, &r.accepted})
	}
	ts := serverlessTuples(r.cfg.Peer)
	r.serverlessUDP(ctx, local, allowed, first)
	if len(local.tcp.lanes) == 0 {
		return
	}
	r.holdAll(ctx, local, ts, 0, first)
	switch len(local.tcp.lanes) {
	case 1: // other programs have all the spare ports
	case 2: // no turns: a tuple is never let go without need
		r.holdAll(ctx, local, ts, 1, spare)
	default:
		r.wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				r.spareTurn(ctx, local, ts, 1+n%(len(local.tcp.lanes)-1), spare)
			}
		})
	}
}

// spareTurn lets one spare port have its turn, which lasts until the peer's SYNs
// have come without a connection for a while: then a NAT is confused about
// these tuples, and the next port starts afresh. Without that sign the port is
// kept, as a later run of this program will need one that was not used; unless
// it was drawn by chance, when it may be one that was.
func (r *race) spareTurn(ctx context.Context, local *Local, ts []target, lane int, at timetable) {
	turn, cancel := context.WithCancel(ctx)
	defer cancel()
	r.holdAll(turn, local, ts, lane, at)
	var over <-chan time.Time
	if r.cfg.Spare == 0 {
		over = time.After(chanceTime)
	}
	select {
	case <-r.peerSeen:
	case <-over:
		return
	case <-ctx.Done():
		return
	}
	if sleep(ctx, spareTime) == nil {
		select { // signs of this turn do not count for the next
		case <-r.peerSeen:
		default:
		}
	}
}

// holdAll dials the targets that are for a port.
func (r *race) holdAll(ctx context.Context, local *Local, ts []target, lane int, byClock timetable) {
	for _, t := range ts {
		if t.spare != (lane > 0) {
			continue
		}
		at := byClock
		if t.kind == KindPrivate {
			at = plainly(byClock)
		}
		r.hold(ctx, tuple{port: local.tcp.lanes[lane].port, remote: t.remote, kind: t.kind, lane: lane}, at)
	}
}

// plainly is a timetable without openers: towards a private address a low TTL
// would not end before the peer.
func plainly(at timetable) timetable {
	return func(now time.Time) role {
		r := at(now)
		r.technique, r.ttl = Plain, 0
		return r
	}
}

func loopbackOnly(peer []netip.AddrPort) bool {
	for _, a := range peer {
		if !a.Addr().IsLoopback() {
			return false
		}
	}
	return len(peer) > 0
}
