package tcppunch

import (
	"context"
	"fmt"
	"time"
)

// A room is a race whose peers talk through a Signaler, in rounds.
type room struct {
	race   *race
	local  *Local // of round 0
	cancel context.CancelCauseFunc

	known  chan struct{} // closed when the peer's offer or answer is known
	peer   report
	locals []*Local // of the rounds since
}

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
		if sleep(ctx, 2*rm.race.cfg.RoundTime) == nil {
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
	for _, l := range rm.locals {
		l.Close()
	}
}

// offerer is SideA's part of all rounds.
func (rm *room) offerer(ctx context.Context) error {
	rounds := rm.race.cfg.Rounds
	for n := range rounds {
		local, mine, err := rm.prepare(ctx, n)
		if err != nil {
			return err
		}
		offer := message{Type: typeOffer, Round: n, Last: n == rounds-1, Fingerprint: rm.race.id.fp[:], Report: &mine}
		if err := rm.send(ctx, offer); err != nil {
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
		steps := rm.begin(ctx, n, local, mine)
		rm.take(ctx, n, local, steps, onAnswer)
		rtt, err := rm.measure(ctx, n)
		if err != nil {
			return err
		}
		if err := sleep(ctx, time.Until(start.Add(rm.race.cfg.RoundTime/2))); err != nil {
			return err
		}
		if err := rm.send(ctx, message{Type: typeSync, Round: n}); err != nil {
			return err
		}
		if err := sleep(ctx, rtt/2); err != nil { // the other side hears of it now
			return err
		}
		rm.take(ctx, n, local, steps, onSync)
		if err := sleep(ctx, time.Until(start.Add(rm.race.cfg.RoundTime))); err != nil {
			return err
		}
	}
	return nil
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
		offer, err := rm.await(ctx, typeOffer, n)
		if err != nil {
			return err
		}
		local, steps, err := rm.answer(ctx, offer)
		if err != nil {
			return err
		}
		if _, err := rm.await(ctx, typeGo, n); err != nil {
			return err
		}
		rm.take(ctx, n, local, steps, onGo)
		if err := rm.send(ctx, message{Type: typePong, Round: n}); err != nil {
			return err
		}
		if _, err := rm.await(ctx, typeSync, n); err != nil {
			return err
		}
		rm.take(ctx, n, local, steps, onSync)
		if offer.Last {
			return nil
		}
	}
	return fmt.Errorf("%w: more than %d rounds", errMessage, maxRound)
}

// answer opens towards the offerer first and answers then: when the offerer
// knows where to dial, the hole is there.
func (rm *room) answer(ctx context.Context, offer message) (*Local, []step, error) {
	local, mine, err := rm.prepare(ctx, offer.Round)
	if err != nil {
		return nil, nil, err
	}
	if err := rm.learn(offer); err != nil {
		return nil, nil, err
	}
	steps := rm.begin(ctx, offer.Round, local, mine)
	rm.take(ctx, offer.Round, local, steps, onOffer)
	answer := message{Type: typeAnswer, Round: offer.Round, Fingerprint: rm.race.id.fp[:], Report: &mine}
	return local, steps, rm.send(ctx, answer)
}

// prepare gathers the round's ports.
func (rm *room) prepare(ctx context.Context, round int) (*Local, report, error) {
	local := rm.local
	if round > 0 {
		var err error
		if local, err = gather(ctx, make([]uint16, roomLanes), rm.race.cfg.STUN); err != nil {
			return nil, report{}, err
		}
		rm.locals = append(rm.locals, local)
	}
	mine := report{Hosts: local.hosts}
	for _, l := range local.lanes {
		mapped := l.mapped[:min(len(l.mapped), maxMapped)]
		mine.Lanes = append(mine.Lanes, laneReport{Port: l.port.Number(), Mapped: mapped})
	}
	return local, mine, nil
}

// learn takes what the peer says of itself. The certificate is that of the
// first round for good.
func (rm *room) learn(m message) error {
	r := rm.race
	rm.peer = *m.Report
	fp := fingerprint(m.Fingerprint)
	if !r.pin.isZero() {
		if fp != r.pin {
			return fmt.Errorf("%w: another certificate in round %d", errMessage, m.Round)
		}
		return nil
	}
	if fp == r.id.fp || fp.isZero() {
		return fmt.Errorf("%w: its certificate is our own", errMessage)
	}
	r.pin, r.controller, r.known = fp, controls(r.cfg.Side, r.id.fp, fp), time.Now()
	if f := r.cfg.Trace.PeerKnown; f != nil {
		f()
	}
	return nil
}

// begin plans the round and listens on its lanes.
func (rm *room) begin(ctx context.Context, round int, local *Local, mine report) []step {
	r := rm.race
	if round == 0 {
		r.samePublic = samePublicAddress(mine, rm.peer)
		close(rm.known)
	}
	now := time.Now()
	for i, l := range local.lanes {
		r.listen(ctx, l.port, i, forGood(Accepted, 0, round, now), nil)
	}
	ttl := r.cfg.TTL
	if round > 0 {
		ttl = otherTTL(ttl, round-1)
	}
	return plan(r.cfg.Side, ttl, mine, rm.peer)
}

// take starts the steps that are due, each when the ones before are on their way.
func (rm *room) take(ctx context.Context, round int, local *Local, steps []step, when moment) {
	now := time.Now()
	for _, s := range steps {
		if s.when != when {
			continue
		}
		t := tuple{port: local.lanes[s.lane].port, remote: s.remote, kind: s.kind, lane: s.lane}
		<-rm.race.hold(ctx, t, forGood(s.technique, s.ttl, round, now))
	}
}

func (rm *room) send(ctx context.Context, m message) error {
	b, err := m.encode()
	if err != nil {
		return err
	}
	return rm.race.cfg.Signaler.Send(ctx, b)
}

func (rm *room) receive(ctx context.Context) (message, error) {
	b, err := rm.race.cfg.Signaler.Recv(ctx)
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
