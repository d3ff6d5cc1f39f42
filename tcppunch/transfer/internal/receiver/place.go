package receiver

import (
	"errors"
	"net"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/wire"
)

// placeLoop takes one page after the other, makes what has no data, and answers what
// is to be sent.
func (r *receiver) placeLoop() {
	top := 0 // entries at the top so far
	for {
		select {
		case page := <-r.pagesIn:
			entries, err := r.list.Page(page)
			if err == nil {
				err = r.matches(entries, &top)
			}
			if err == nil {
				err = r.placePage(entries)
			}
			if err != nil {
				r.sess.Stop(err)
				return
			}
		case <-r.sess.Ctx.Done():
			return
		}
	}
}

// matches insists on what the person was shown.
func (r *receiver) matches(entries []manifest.Entry, top *int) error {
	first := r.offer.First
	for i := range entries {
		e := &entries[i]
		if e.Depth() > 0 {
			continue
		}
		if at := *top; at < len(first) {
			f := &first[at]
			if f.Type != e.Type || f.Path != e.Path || f.Size != e.Size || !f.ModTime.Equal(e.ModTime) {
				return fault.Protocol("other files than were offered")
			}
		}
		*top++
	}
	if r.list.Complete() && (r.list.Digest() != r.offer.Digest || *top < len(first)) {
		return fault.Protocol("another list than was offered")
	}
	return nil
}

// placePage answers one page. The entries that are settled with it count as such only
// after the answer: an acknowledgement must not come before.
func (r *receiver) placePage(entries []manifest.Entry) error {
	p := &recvPage{first: r.listed, entries: entries, plans: make([]wire.Plan, len(entries)),
		state: make([]state, len(entries))}
	for at := range entries {
		e := &entries[at]
		if r.dst.result != nil {
			continue // all is done
		}
		plan, err := r.dst.Sink.Place(r.sess.Ctx, p.first+at, *e)
		if err != nil {
			if err := r.failPlace(p, at, err); err != nil {
				return err
			}
			continue
		}
		p.plans[at] = wire.Plan{Action: wire.Action(plan.Action), Have: plan.Have} // store has the same numbers
	}
	r.mu.Lock()
	r.pages = append(r.pages, p)
	r.listed += len(entries)
	for at := range entries {
		if p.plans[at].Sends() {
			r.awaited++
		}
	}
	r.mu.Unlock()
	r.sess.Main.Send(wire.PlanKind, func(b []byte) []byte { return wire.AppendPlan(b, p.plans) })
	r.mu.Lock()
	var there []*manifest.Entry
	for at := range entries {
		switch p.plans[at].Action {
		case wire.Done:
			if entries[at].Type == manifest.File {
				there = append(there, &entries[at])
				r.place.Files++
				r.place.Bytes += entries[at].Size
			}
			r.settleEntry(p, at)
		case wire.Failed:
			r.settleEntry(p, at)
		}
	}
	r.mu.Unlock()
	for _, e := range there {
		r.meter.Skip(e)
	}
	poke(r.wake)
	return nil
}

// failPlace gives up an entry that cannot be placed, unless the failure is that of all.
func (r *receiver) failPlace(p *recvPage, at int, err error) error {
	if cause := r.sess.Cause(); cause != nil {
		return cause
	}
	if fatal(err) {
		return err
	}
	p.plans[at].Action = wire.Failed
	i := uint32(p.first + at)
	r.mu.Lock()
	r.giveUp(i, &p.entries[at])
	r.mu.Unlock()
	r.tellFailure(i, &p.entries[at], err)
	return nil
}

// fatal reports whether an error concerns more than one entry.
func fatal(err error) bool {
	var f *fault.Failure
	return !errors.As(err, &f) || errors.Is(err, fault.ErrProtocol) || errors.Is(err, fault.ErrNoSpace) || errors.Is(err, net.ErrClosed)
}
