package tcppunch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/internal/udppunch"
)

// A room is a race whose peers talk through a Signaler, in rounds.
type room struct {
	race   *race
	signal Signaler
	local  *Local // of round 0
	cancel context.CancelCauseFunc

	known   chan struct{} // closed when the peer's offer or answer is known
	peer    report        // of TCP
	peerUDP *report       // nil if the peer does not use it
	peerICE udppunch.Credentials
	udp     bool               // UDP has been started
	locals  []*Local           // of the rounds since
	end     context.CancelFunc // ends what the last round had only for itself
	idle    bool               // there is nothing that could be tried
}

// A round is what one side does in it.
type round struct {
	n     int
	ctx   context.Context // of what ends with it
	local *Local
	ttl   int

	mine    report    // of TCP
	mineUDP *report   // nil if it is not used
	plan    roundPlan // of TCP
	planUDP roundPlan
	over    error // why no other round would do more
}

// empty tells whether there is nothing to do.
func (rd *round) empty() bool { return rd.plan.empty() && rd.planUDP.empty() }

// searchTime is how much longer a round is in which a port has to be found by
// chance.
const searchTime = 1500 * time.Millisecond

// meet exchanges addresses with the peer, starts the first round and leaves the
// others to a goroutine that ends with ctx.
func (rm *room) meet(ctx context.Context) error {
	rm.known = make(chan struct{})
	failed := make(chan error, 1)
	rm.race.wg.Go(func() {
		part := rm.offerer
		if rm.race.cfg.Side == SideB {
			part = rm.answerer
		}
		err := part(ctx)
		failed <- err
		if err == nil {
			err = errRounds
		}
		// What is under way may still arrive.
		wait := 2 * rm.race.cfg.RoundTime
		if errors.Is(err, ErrImpossible) {
			wait = rm.race.cfg.RoundTime / 2
		}
		if rm.idle || sleep(ctx, wait) == nil {
			rm.cancel(err)
		}
	})
	select {
	case <-rm.known:
		return nil
	case err := <-failed:
		return fmt.Errorf("exchanging addresses: %w", err)
	}
}

func (rm *room) close() {
	if rm.end != nil {
		rm.end()
	}
	for _, l := range rm.locals {
		l.Close()
	}
}

// offerer is SideA's part of all rounds.
func (rm *room) offerer(ctx context.Context) error {
	rounds := rm.race.cfg.Rounds
	for n := range rounds {
		rd, err := rm.prepare(ctx, n)
		if err != nil {
			return err
		}
		if err := rm.send(ctx, rm.describe(typeOffer, rd, n == rounds-1)); err != nil {
			return err
		}
		answer, err := rm.await(ctx, typeAnswer, n)
		if err != nil {
			return err
		}
		start := time.Now()
		if err := rm.learn(answer); err != nil {
			return err
		}
		rm.begin(ctx, rd)
		if rd.over != nil && rd.empty() {
			rm.idle = true
			return rd.over
		}
		if err := rm.offererRound(ctx, rd, start); err != nil {
			return err
		}
		if rd.over != nil {
			return rd.over
		}
	}
	return nil
}

// offererRound is what comes after the answer.
func (rm *room) offererRound(ctx context.Context, rd *round, start time.Time) error {
	rm.take(ctx, rd, onAnswer)
	rtt, err := rm.measure(ctx, rd.n)
	if err != nil {
		return err
	}
	if err := sleep(ctx, time.Until(start.Add(rm.race.cfg.RoundTime/2))); err != nil {
		return err
	}
	if err := rm.send(ctx, message{Type: typeSync, Round: rd.n}); err != nil {
		return err
	}
	if err := sleep(ctx, rtt/2); err != nil { // the other side hears of it now
		return err
	}
	rm.take(ctx, rd, onSync)
	return sleep(ctx, time.Until(start.Add(rm.length(rd))))
}

// length is how long a round lasts.
func (rm *room) length(rd *round) time.Duration {
	if rd.plan.searches() || rd.planUDP.searches() {
		return rm.race.cfg.RoundTime + searchTime
	}
	return rm.race.cfg.RoundTime
}

// measure tells the other side to go, and how long the answer takes.
func (rm *room) measure(ctx context.Context, round int) (time.Duration, error) {
	start := time.Now()
	if err := rm.send(ctx, message{Type: typeGo, Round: round}); err != nil {
		return 0, err
	}
	_, err := rm.await(ctx, typePong, round)
	return time.Since(start), err
}

// answerer is SideB's part of all rounds. Each word counts once: what the
// other side makes this one do is bounded by the rounds.
func (rm *room) answerer(ctx context.Context) error {
	for n := 0; n <= maxRound; n++ {
		var known NAT
		if n > 0 { // there is time until the next offer
			known = rm.race.cfg.know(ctx, n)
		}
		offer, err := rm.await(ctx, typeOffer, n)
		if err != nil {
			return err
		}
		if n == 0 {
			known = rm.race.cfg.know(ctx, n)
		}
		rd, err := rm.answer(ctx, offer, known)
		if err != nil {
			return err
		}
		if rd.over != nil && rd.empty() {
			rm.idle = true
			return rd.over
		}
		if _, err := rm.await(ctx, typeGo, n); err != nil {
			return err
		}
		rm.take(ctx, rd, onGo)
		if err := rm.send(ctx, message{Type: typePong, Round: n}); err != nil {
			return err
		}
		if _, err := rm.await(ctx, typeSync, n); err != nil {
			return err
		}
		rm.take(ctx, rd, onSync)
		if rd.over != nil || offer.Last {
			return rd.over
		}
		if err := sleep(ctx, rm.length(rd)-rm.race.cfg.RoundTime/2); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: more than %d rounds", errMessage, maxRound)
}

// answer opens towards the offerer first and answers then: when the offerer
// knows where to dial, the hole is there.
func (rm *room) answer(ctx context.Context, offer message, known NAT) (*round, error) {
	rd, err := rm.gather(ctx, offer.Round, known)
	if err != nil {
		return nil, err
	}
	if err := rm.learn(offer); err != nil {
		return nil, err
	}
	rm.begin(ctx, rd)
	rm.take(ctx, rd, onOffer)
	return rd, rm.send(ctx, rm.describe(typeAnswer, rd, false))
}

// describe makes this side's offer or answer.
func (rm *room) describe(typ string, rd *round, last bool) message {
	m := message{
		Type: typ, Round: rd.n, Last: last, Fingerprint: rm.race.id.fp[:], Report: &rd.mine, UDP: rd.mineUDP,
	}
	if rd.mineUDP != nil {
		own := rd.local.mesh.Credentials()
		m.ICE = &own
	}
	return m
}

// prepare asks what is known, and gathers.
func (rm *room) prepare(ctx context.Context, n int) (*round, error) {
	return rm.gather(ctx, n, rm.race.cfg.know(ctx, n))
}

// gather takes the round's ports.
func (rm *room) gather(ctx context.Context, n int, known NAT) (*round, error) {
	cfg, local := rm.race.cfg, rm.local
	if n > 0 {
		var err error
		if local, err = gatherFresh(ctx, cfg, rm.local.mesh); err != nil {
			return nil, err
		}
		rm.locals = append(rm.locals, local)
	}
	rd := &round{n: n, local: local, ttl: openerTTL(cfg.TTL, known, n)}
	rd.mine, rd.mineUDP = local.reports(known)
	return rd, nil
}

// learn takes what the peer says of itself. The certificate is that of the
// first round for good.
func (rm *room) learn(m message) error {
	r := rm.race
	rm.peer, rm.peerUDP = *m.Report, m.UDP
	if m.ICE != nil && !rm.udp {
		rm.peerICE = *m.ICE
	}
	fp := fingerprint(m.Fingerprint)
	r.mu.Lock()
	pin := r.pin
	r.mu.Unlock()
	if !pin.isZero() {
		if fp != pin {
			return fmt.Errorf("%w: another certificate in round %d", errMessage, m.Round)
		}
		return nil
	}
	if fp == r.id.fp || fp.isZero() {
		return fmt.Errorf("%w: its certificate is our own", errMessage)
	}
	r.mu.Lock()
	r.pin = fp
	r.mu.Unlock()
	r.knows()
	return nil
}

// begin plans the round and listens on its lanes. What the round before had
// only for itself, ports that were guessed, ends.
func (rm *room) begin(ctx context.Context, rd *round) {
	r := rm.race
	udp := rd.mineUDP != nil && rm.peerUDP != nil
	if udp && !rm.udp {
		rm.udp = true
		r.startUDP(rd.local.mesh, &udppunch.Config{Peer: rm.peerICE})
	}
	if rd.n == 0 {
		same := samePublicAddress(rd.mine, rm.peer) || udp && samePublicAddress(*rd.mineUDP, *rm.peerUDP)
		r.mu.Lock()
		r.samePublic = same
		r.mu.Unlock()
		defer close(rm.known)
	} else {
		rm.end()
	}
	rd.ctx, rm.end = context.WithCancel(ctx)
	now := time.Now()
	for i, l := range rd.local.tcp.lanes {
		r.listen(ctx, l.port, i, forGood(Accepted, 0, rd.n, now), door{anybody, kindOf, &r.accepted})
	}
	s := situation{side: r.cfg.Side, round: rd.n, ttl: rd.ttl, sockets: r.cfg.Sockets, mine: rd.mine, theirs: rm.peer}
	rd.plan = plan(s)
	overTCP, overUDP := s.over(rd.plan), unused
	if udp {
		s.answered = [2]bool{rd.mine.mapped(), rm.peer.mapped()}
		s.udp, s.mine, s.theirs = true, *rd.mineUDP, *rm.peerUDP
		rd.planUDP = plan(s)
		overUDP = s.over(rd.planUDP)
	}
	rd.over = impossible(overTCP, overUDP)
	r.judge(rd.plan, overTCP)
}

// take starts the steps that are due, each when the ones before are on their way.
// UDP's come after TCP's: they are quicker.
func (rm *room) take(ctx context.Context, rd *round, when moment) {
	now := time.Now()
	for _, s := range rd.plan.steps {
		if s.when != when {
			continue
		}
		life := ctx
		if s.brief {
			life = rd.ctx
		}
		t := tuple{port: rd.local.tcp.lanes[s.lane].port, remote: s.remote, kind: s.kind, lane: s.lane}
		<-rm.race.hold(life, t, forGood(s.technique, s.ttl, rd.n, now))
	}
	for _, b := range rd.plan.bursts {
		if b.when == when {
			rm.race.burst(rd.ctx, b, rd.local.tcp.lanes[b.lane].port, rd.n)
		}
	}
	rm.takeUDP(ctx, rd, when)
}

func (rm *room) send(ctx context.Context, m message) error {
	b, err := m.encode()
	if err != nil {
		return err
	}
	return rm.signal.Send(ctx, b)
}

func (rm *room) receive(ctx context.Context) (message, error) {
	b, err := rm.signal.Recv(ctx)
	if err != nil {
		return message{}, err
	}
	return decodeMessage(b)
}

// await skips what is not of this type and round.
func (rm *room) await(ctx context.Context, typ string, round int) (message, error) {
	for {
		m, err := rm.receive(ctx)
		if err != nil || m.Type == typ && m.Round == round {
			return m, err
		}
	}
}

// sleep waits, and tells why it stopped if that was not the time.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
