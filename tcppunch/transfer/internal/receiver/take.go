package receiver

import (
	"bufio"
	"fmt"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/limit"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/link"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/wire"
)

// recvPage is a page whose entries have plans.
type recvPage struct {
	first   int
	entries []manifest.Entry
	plans   []wire.Plan
	state   []state
}

// state is how far an entry is.
type state uint8

const (
	waiting state = iota // for data
	claimed              // a file of one block: that has come
	leaving              // complete, and to be put in place
	settled              // in place, or given up
)

// feed takes the frames of the sender on one connection.
type feed struct {
	*receiver
	main  bool
	head  [wire.BlockHeadSize]byte
	batch *batch // the blocks that have come and were not passed on
}

// Take takes a frame.
func (r *feed) Take(k wire.Kind, n int, rd *bufio.Reader) (last bool, err error) {
	if k == wire.BlockKind {
		return false, r.takeBlock(n, rd)
	}
	body, err := wire.ReadBody(rd, n)
	if err != nil {
		return false, err
	}
	if !r.main {
		return false, link.Unexpected(k)
	}
	if k == wire.ByeKind && r.sess.Settled() {
		r.mu.Lock()
		r.heard = true
		r.mu.Unlock()
		return true, nil
	}
	r.mu.Lock()
	after, err := r.takeSmall(k, body)
	r.mu.Unlock()
	if after != nil {
		after()
	}
	poke(r.wake)
	return false, err
}

// takeSmall takes a frame with the lock held, and returns what is to be done without it.
func (r *receiver) takeSmall(k wire.Kind, body []byte) (after func(), err error) {
	switch {
	case r.hello == nil && k == wire.HelloKind:
		h, err := link.Greeted(body, wire.RoleReceive)
		if err == nil {
			r.hello = &h
		}
		return nil, err
	case r.hello != nil && r.offer == nil && k == wire.OfferKind:
		o, err := wire.ParseOffer(body)
		if err == nil {
			r.offer = &o
		}
		return nil, err
	case r.offer != nil && !r.accepted && k == wire.PageKind && r.unsettled == 0: // it waits for the answer
		return nil, r.takePage(body)
	case !r.accepted:
		return nil, link.Unexpected(k)
	case r.ended && (k == wire.StreamKind || k == wire.SignalKind || k == wire.NoStreamKind): // it was on its way
		return nil, nil
	case k == wire.SignalKind || k == wire.NoStreamKind:
		return nil, r.extras.Heard(k, body)
	case r.ended:
		return nil, link.Unexpected(k)
	case k == wire.PageKind:
		return nil, r.takePage(body)
	case k == wire.CheckKind:
		return nil, r.takeCheck(body)
	case k == wire.FileKind:
		return r.takeFile(body)
	case k == wire.LostKind:
		return r.takeLost(body)
	case k == wire.EndKind:
		return nil, r.takeEnd(body)
	case k == wire.StreamKind:
		return r.takeStream(body)
	}
	return nil, link.Unexpected(k)
}

func (r *receiver) takePage(body []byte) error {
	if r.unsettled >= limit.Unsettled || len(r.pagesIn) == cap(r.pagesIn) {
		return fault.Protocol("more pages than may be unanswered")
	}
	r.unsettled++
	r.pagesIn <- body // there is room, and nobody else puts anything in
	return nil
}

// entry finds an entry that is not settled. The lock is held.
func (r *receiver) entry(i uint32) (*recvPage, int) {
	for _, p := range r.pages {
		if at := int64(i) - int64(p.first); at >= 0 && at < int64(len(p.entries)) {
			return p, int(at)
		}
	}
	return nil, 0
}

// wanted finds an entry whose data may come now; p is nil if it was given up and does not
// matter any more. The lock is held.
func (r *receiver) wanted(k wire.Kind, i uint32) (p *recvPage, at int, err error) {
	if r.gone.Has(i) {
		return nil, 0, nil
	}
	p, at = r.entry(i)
	if p == nil || p.state[at] != waiting || !p.plans[at].Sends() {
		return nil, 0, fault.Protocol(fmt.Sprintf("%s of entry %d, which is not awaited", k, i))
	}
	return p, at, nil
}

// file is what is known of the blocks of an entry. The lock is held.
func (r *receiver) file(p *recvPage, at int) *inFile {
	i := uint32(p.first + at)
	f := r.files[i]
	if f == nil {
		e := p.entries[at]
		f = &inFile{index: i, e: e, blocks: tree.Blocks(e.Size), have: p.plans[at].Have, short: -1, kept: r.dst.keep(i)}
		if e.Type == manifest.Stream {
			f.blocks = -1
		}
		r.files[i] = f
	}
	return f
}

func (r *receiver) takeCheck(body []byte) error {
	c, err := wire.ParseCheck(body)
	if err != nil {
		return err
	}
	p, at, err := r.wanted(wire.CheckKind, c.Index)
	if err != nil {
		return err
	}
	if p != nil {
		f := r.file(p, at)
		n := int64(len(c.Hashes))
		if c.First != f.asked || n > f.have-c.First {
			return fault.Protocol("a check of blocks that are not asked for")
		}
		f.asked += n
		if f.asked > f.next+limit.Ahead {
			return fault.Protocol("a check of blocks too far ahead")
		}
	}
	select {
	case r.checks <- c:
		return nil
	default:
		return fault.Protocol("more checks than may be unanswered")
	}
}

// claim lets a block come: one that is awaited, fits, and has not come before. t.file
// is nil for a file of one block; ok is false if the file was given up. The lock is held.
func (r *receiver) claim(h *wire.Block) (t task, ok bool, err error) {
	p, at, err := r.wanted(wire.BlockKind, h.Index)
	if p == nil || err != nil {
		return t, false, err
	}
	e, have := &p.entries[at], p.plans[at].Have
	if e.Type == manifest.File && (h.Number >= tree.Blocks(e.Size) || int64(h.Size) != wire.SizeOf(e, h.Number)) {
		return t, false, fault.Protocol("a block that does not fit the file")
	}
	t = task{block: *h, look: h.Number < have}
	if e.Type == manifest.File && tree.Blocks(e.Size) == 1 && r.files[h.Index] == nil {
		p.state[at] = claimed
		return t, true, nil
	}
	t.file = r.file(p, at)
	return t, true, t.file.come(h, &t)
}

func (r *receiver) takeFile(body []byte) (after func(), err error) {
	end, err := wire.ParseFile(body)
	if err != nil {
		return nil, err
	}
	p, at, err := r.wanted(wire.FileKind, end.Index)
	if p == nil || err != nil {
		return nil, err
	}
	e := &p.entries[at]
	if e.Type == manifest.File && (end.Size != e.Size || tree.Blocks(e.Size) == 1) {
		return nil, fault.Protocol("the end of a file of another size")
	}
	f := r.file(p, at)
	if f.root != nil || f.short >= 0 && f.short != end.Size {
		return nil, fault.Protocol("the end of a file that has another one")
	}
	f.root, f.size, f.blocks = &end.Root, end.Size, tree.Blocks(end.Size)
	if f.next > f.blocks || f.beyond(f.blocks-1) {
		return nil, fault.Protocol("the end of a file before its last block")
	}
	return r.complete(f)
}

func (r *receiver) takeLost(body []byte) (after func(), err error) {
	loss, err := wire.ParseLoss(wire.LostKind, body)
	if err != nil {
		return nil, err
	}
	r.lost++
	remote := r.opt.Remote(loss.Code, loss.Message)
	if loss.Index == wire.NoIndex {
		if r.leftOut++; r.leftOut > limit.LeftOut {
			return nil, fault.Protocol("too many files that were left out")
		}
		return func() { r.meter.Failed("", remote) }, nil
	}
	p, at, err := r.wanted(wire.LostKind, loss.Index)
	if p == nil || err != nil {
		return nil, err
	}
	r.giveUp(loss.Index, &p.entries[at])
	return func() { r.drop(loss.Index, &p.entries[at], remote) }, nil
}

func (r *receiver) takeEnd(body []byte) error {
	end, err := wire.ParseEnd(body)
	if err != nil {
		return err
	}
	switch {
	case end.Lost != r.lost:
		return fault.Protocol(fmt.Sprintf("%d losses at the end, but %d were told", end.Lost, r.lost))
	case r.listed != r.offer.Totals.Entries:
		return fault.Protocol("the end before the list is complete")
	case r.extras.Count() == 0 && r.missing():
		return fault.Protocol("the end before all is sent")
	}
	r.leftOut += end.More
	r.unnamed = end.More
	r.ended = true
	return nil
}

// missing reports whether data of any entry has not come.
func (r *receiver) missing() bool {
	for _, p := range r.pages {
		for at, s := range p.state {
			if s != waiting || !p.plans[at].Sends() || r.gone.Has(uint32(p.first+at)) {
				continue
			}
			if f := r.files[uint32(p.first+at)]; f == nil || f.blocks < 0 || f.next < f.blocks || f.root == nil && f.blocks > 1 {
				return true
			}
		}
	}
	return false
}

// takeStream begins to make a connection that the sender asks for. The lock is held.
func (r *receiver) takeStream(body []byte) (after func(), err error) {
	open, err := r.extras.Asked(body, r.hello.Seen)
	if err != nil {
		return nil, err
	}
	return func() {
		r.sess.Go(func() {
			conn, err := open()
			if err != nil {
				return // the sender has been told
			}
			r.free <- nil // one buffer more
			r.meter.Streams(r.sess.Add(conn, &feed{receiver: r}))
		})
	}, nil
}
