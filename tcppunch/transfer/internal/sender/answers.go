package sender

import (
	"bufio"
	"fmt"
	"slices"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/link"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/wire"
)

// answers takes the frames of the receiver on one connection: it puts down what they
// say, if that can be, and never waits.
type answers struct {
	*sender
	main bool
}

// Idle has nothing to do.
func (s answers) Idle() {}

// Take takes a frame.
func (s answers) Take(k wire.Kind, n int, r *bufio.Reader) (last bool, err error) {
	body, err := wire.ReadBody(r, n)
	if err != nil {
		return false, err
	}
	defer s.notify()
	var report func() // what the hooks are told, without the lock
	s.mu.Lock()
	switch {
	case !s.main:
		err = link.Unexpected(k)
	case k == wire.HelloKind && s.hello == nil:
		var h wire.Hello
		if h, err = link.Greeted(body, wire.RoleSend); err == nil {
			s.hello = &h
		}
	case k == wire.AcceptKind && s.offered && !s.accepted:
		s.accepted = true
		report = s.begin // before any other report: a plan may be right behind
	case k == wire.ResultKind && s.ended && s.result == nil:
		var res wire.Result
		if res, err = wire.ParseResult(body); err == nil {
			s.result, last = &res, true
		}
	case !s.accepted:
		err = link.Unexpected(k)
	case k == wire.PlanKind:
		report, err = s.plan(body)
	case k == wire.VerdictKind:
		report, err = s.verdict(body)
	case k == wire.AckKind:
		report, err = s.acked(body)
	case k == wire.FailedKind:
		report, err = s.failed(body)
	case k == wire.SignalKind, k == wire.NoStreamKind:
		err = s.extras.Heard(k, body)
	default:
		err = link.Unexpected(k)
	}
	s.mu.Unlock()
	if report != nil {
		report()
	}
	return last, err
}

// begin tells that the offer was accepted, and has run go on.
func (s *sender) begin() {
	s.meter.Accepted()
	s.mu.Lock()
	s.begun = true
	s.mu.Unlock()
}

// plan takes what becomes of the entries of the oldest page without an answer.
func (s *sender) plan(body []byte) (func(), error) {
	var p *sentPage
	for _, sent := range s.sent {
		if sent.plans == nil {
			p = sent
			break
		}
	}
	if p == nil {
		return nil, link.Unexpected(wire.PlanKind)
	}
	plans, err := wire.ParsePlan(body, p.entries)
	if err != nil {
		return nil, err
	}
	for i, plan := range plans {
		if (plan.Action == wire.Failed) != s.gone.Has(uint32(p.first+i)) {
			return nil, fault.Protocol("a plan that contradicts a failure")
		}
	}
	p.plans = plans
	s.todo = append(s.todo, p)
	if s.src.Stream != nil {
		s.limit.Prefix = plans[0].Have
	}
	return func() {
		for i := range p.entries {
			if plans[i].Action == wire.Done && p.entries[i].Type == manifest.File {
				s.meter.Skip(&p.entries[i])
			}
		}
	}, nil
}

// verdict takes which of the blocks asked for are there.
func (s *sender) verdict(body []byte) (func(), error) {
	v, err := wire.ParseVerdict(body)
	if err != nil {
		return nil, err
	}
	j, a := s.question(v.Index, v.First)
	if a == nil || len(a.hashes) != v.Count {
		return nil, s.orphan(v)
	}
	a.answer = &v
	s.asked--
	s.hashes -= v.Count
	var there int64
	for i := range v.Count {
		if v.Has(i) {
			there += wire.SizeOf(&j.e, v.First+int64(i))
		}
	}
	j.over = j.blocks == 1 && there > 0 // no word of ours is needed to complete it
	return func() { s.meter.There(there) }, nil
}

// question finds a check that has no answer.
func (s *sender) question(index uint32, first int64) (*job, *asked) {
	for _, j := range s.active {
		if j.index != index {
			continue
		}
		for _, a := range j.asked {
			if a.first == first && a.answer == nil {
				return j, a
			}
		}
	}
	return nil, nil
}

// orphan takes the answer to a check of a file that was given up meanwhile.
func (s *sender) orphan(v wire.Verdict) error {
	for i, o := range s.orphans {
		if o.Index == v.Index && o.First == v.First && o.Count == v.Count {
			s.orphans = slices.Delete(s.orphans, i, i+1)
			s.asked--
			s.hashes -= v.Count
			return nil
		}
	}
	return fault.Protocol("a verdict that was not asked for")
}

// acked takes how far the receiver is, if it can be that far.
func (s *sender) acked(body []byte) (func(), error) {
	a, err := wire.ParseAck(body)
	if err != nil {
		return nil, err
	}
	switch {
	case a.Frames > s.limit.Frames || a.Bytes > s.limit.Bytes || a.Prefix > s.limit.Prefix || a.Settled > s.frontier():
		return nil, fault.Protocol("an acknowledgement of what was not sent")
	case a.Frames < s.ack.Frames || a.Bytes < s.ack.Bytes || a.Prefix < s.ack.Prefix || a.Settled < s.ack.Settled:
		return nil, fault.Protocol("an acknowledgement that goes back")
	}
	more := a.Bytes - s.ack.Bytes
	s.ack = a
	s.sent = slices.DeleteFunc(s.sent, func(p *sentPage) bool { return p.first+len(p.entries) <= a.Settled })
	if s.src.Stream != nil {
		s.src.Stream.Acked(a.Prefix)
	}
	return func() { s.meter.Add(more) }, nil
}

// frontier is the first entry that cannot be settled: its turn is not over.
func (s *sender) frontier() int {
	for _, j := range s.active {
		if !j.over && !s.gone.Has(j.index) {
			return int(j.index)
		}
	}
	for _, p := range s.sent {
		if p.plans == nil {
			return p.first
		}
		for i := p.next; i < len(p.entries); i++ {
			if p.plans[i].Sends() && !s.gone.Has(uint32(p.first+i)) {
				return p.first + i
			}
		}
	}
	return s.listed
}

// failed takes that the receiver gives an entry up.
func (s *sender) failed(body []byte) (func(), error) {
	loss, err := wire.ParseLoss(wire.FailedKind, body)
	if err != nil {
		return nil, err
	}
	e := s.entry(loss.Index)
	if e == nil || s.theirs.Has(loss.Index) {
		return nil, fault.Protocol(fmt.Sprintf("a failure of entry %d, which cannot fail now", loss.Index))
	}
	s.theirs.Set(loss.Index)
	if s.gone.Has(loss.Index) {
		return nil, nil // by both sides at once
	}
	s.gone.Add(loss.Index, e)
	if e.Type == manifest.Stream {
		s.stopReading()
	}
	remote := s.opt.Remote(loss.Code, loss.Message)
	return func() { s.meter.Failed(e.Path, remote) }, nil
}

// entry is one that was sent and is not settled.
func (s *sender) entry(i uint32) *manifest.Entry {
	for _, p := range s.sent {
		if at := int64(i) - int64(p.first); at >= 0 && at < int64(len(p.entries)) {
			return &p.entries[at]
		}
	}
	return nil
}
