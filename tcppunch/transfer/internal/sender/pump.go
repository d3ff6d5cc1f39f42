package sender

import (
	"slices"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/limit"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/progress"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/wire"
)

const (
	maxJobs    = 16       // files under way
	checkGroup = 64       // hashes in a check, if each costs reading a block
	smallCheck = 64 << 10 // bytes of a file that is sent rather than asked for

	// With several connections, what was sent first may arrive last: so they share a window
	// of bytes and frames that are not acknowledged, and no more than maxWindow/tree.BlockSize
	// files wait for a block on the receiver. It can hold 64 files open, maxJobs among them.
	maxWindow = 40 << 20
	maxFlight = 4096
)

// job is a file under way. What is not under the sender's mutex is the pump's.
type job struct {
	index  uint32
	e      manifest.Entry
	file   file
	blocks int64 // in all; of a stream -1, until it ends
	check  int64 // of these the first ones that may be there
	next   int64 // the first one that was neither asked for nor sent
	merger tree.Merger
	kept   *keptHashes
	group  []tree.Hash // of the blocks before next: a check that is not complete

	asked []*asked // checks, oldest first, until what was missing is sent; under mu
	over  bool     // nothing is left to be said; under mu

	oldest int64 // no block before it was sent since all that was sent was acknowledged; under mu
}

// asked is one check.
type asked struct {
	first  int64
	hashes []tree.Hash
	answer *wire.Verdict // nil until it comes
	at     int           // the first block that has not been dealt with
}

// pump sends all pages and all data, step by step: whatever can be done first, in this
// order. It waits for answers only when there is nothing else to do; so a round trip
// costs time only at the very end, or when the receiver is behind.
func (s *sender) pump() error {
	for {
		if err := s.sess.Cause(); err != nil {
			return err
		}
		var err error
		switch j, what := s.choose(); what {
		case doPage:
			err = s.sendPage()
		case doOpen:
			err = s.settleJob(j, s.open(j))
		case doMissing:
			err = s.settleJob(j, s.sendMissing(j))
		case doNext:
			err = s.settleJob(j, s.advance(j))
		case doEnd:
			err = s.settleJob(j, s.endFile(j))
		case doDrop:
			s.remove(j)
		case doWait:
			s.queue.Push()
			err = s.wait()
		case allDone:
			return nil
		}
		if err != nil {
			return err
		}
		s.queue.PushIfIdle()
	}
}

// step is what the pump may do next.
type step uint8

const (
	doWait    step = iota
	doPage         // send a page
	doOpen         // begin with a file
	doMissing      // send a block that a verdict says is missing
	doNext         // hash, ask for, or send the next block of a file
	doEnd          // a file is complete
	doDrop         // a file was given up
	allDone
)

// choose finds the next step. Jobs that wait for verdicts do not keep the next ones
// from being begun.
func (s *sender) choose() (*job, step) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pages) > 0 && len(s.sent) < limit.Unsettled && s.unplanned() < limit.Unplanned {
		return nil, doPage
	}
	for _, j := range s.active {
		if s.gone.Has(j.index) {
			return j, doDrop
		}
	}
	if s.congested() {
		return nil, doWait
	}
	reading := false
	for _, j := range s.active {
		switch {
		case j.answered():
			return j, doMissing
		case j.next == j.blocks && len(j.asked) == 0:
			return j, doEnd
		case s.mayAdvance(j):
			return j, doNext
		}
		reading = reading || j.next != j.blocks
	}
	if !reading && len(s.active) < maxJobs {
		if j := s.nextJob(); j != nil {
			s.active = append(s.active, j)
			return j, doOpen
		}
	}
	if len(s.pages)+len(s.todo)+len(s.active)+s.unplanned() == 0 {
		return nil, allDone
	}
	return nil, doWait
}

// answered reports whether there is a verdict to act upon. A stream can only go back to
// one place, so that has to wait for all of them.
func (j *job) answered() bool {
	if j.e.Type != manifest.Stream {
		return len(j.asked) > 0 && j.asked[0].answer != nil
	}
	for _, a := range j.asked {
		if a.answer == nil {
			return false
		}
	}
	return len(j.asked) > 0 && j.next == j.check
}

// mayAdvance reports whether the next block of j may be hashed and asked for, or sent.
func (s *sender) mayAdvance(j *job) bool {
	switch {
	case j.next == j.blocks:
		return false
	case j.next < j.check && j.next >= j.oldest+limit.Ahead/2 && s.ack.Frames < s.limit.Frames:
		return false // a check would overtake what was sent by more than a receiver allows
	case j.next < j.check:
		return s.asked < limit.Checks && s.hashes+len(j.group) < limit.Asked
	case j.e.Type == manifest.Stream && len(j.asked) > 0:
		return false // its blocks come one after the other
	case len(j.asked) > 0 && s.limit.Frames == 0:
		return false // so that Trace.Resumed can say how much there is
	}
	return len(j.asked) == 0 || j.next < j.asked[0].first+limit.Ahead/2
}

// congested reports whether the connections together have enough.
func (s *sender) congested() bool {
	return s.extras.Count() > 0 && (s.limit.Bytes-s.ack.Bytes > maxWindow || s.limit.Frames-s.ack.Frames > maxFlight)
}

func (s *sender) unplanned() int {
	n := 0
	for _, p := range s.sent {
		if p.plans == nil {
			n++
		}
	}
	return n
}

// nextJob takes the next entry off the list that has data to be sent.
func (s *sender) nextJob() *job {
	for len(s.todo) > 0 {
		p := s.todo[0]
		for p.next < len(p.entries) {
			i := p.next
			p.next++
			if index := uint32(p.first + i); p.plans[i].Sends() && !s.gone.Has(index) {
				return &job{index: index, e: p.entries[i], check: p.plans[i].Have}
			}
		}
		s.todo = s.todo[1:]
	}
	return nil
}

// sendPage sends the next page of the manifest.
func (s *sender) sendPage() error {
	page := s.pages[0]
	entries, err := s.reader.Page(page)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.pages = s.pages[1:]
	s.sent = append(s.sent, &sentPage{first: s.listed, entries: entries})
	s.listed += len(entries)
	s.mu.Unlock()
	s.sess.Main.Send(wire.PageKind, func(b []byte) []byte { return append(b, page...) })
	return nil
}

// settleJob goes on after a step of a job: err may be the failure of its file alone.
func (s *sender) settleJob(j *job, err error) error {
	if err == nil {
		return nil
	}
	if cause := s.sess.Cause(); cause != nil {
		return cause
	}
	s.mu.Lock()
	gone := s.gone.Has(j.index)
	s.mu.Unlock()
	if !gone && !fileFailure(err) {
		return err
	}
	s.lose(j.index, &j.e, err)
	s.remove(j)
	return nil
}

// open begins with a file.
func (s *sender) open(j *job) error {
	s.meter.File(progress.NewFile(&j.e))
	j.blocks = tree.Blocks(max(j.e.Size, 0))
	if j.e.Type == manifest.Stream {
		return s.openStream(j)
	}
	f, err := s.src.Tree.Open(j.e)
	if err != nil {
		return err
	}
	j.file = f
	if j.blocks > 1 {
		j.kept = s.src.keep(j.index)
	} else if j.e.Size <= smallCheck {
		j.check = 0 // the hash would save little, and an answer would have to be awaited
	}
	return nil
}

// openStream finds out how far a stream has come in earlier calls.
func (s *sender) openStream(j *job) error {
	j.blocks = -1
	j.kept = s.src.keep(j.index)
	// What is there beyond that is of something else. If it is not, and what is needed
	// again is gone, rewind fails.
	j.check = min(j.check, int64(len(j.kept.hashes)))
	if j.check == 0 {
		return s.rewind(j, 0)
	}
	return nil
}

// advance deals with the next block of a file, in order.
func (s *sender) advance(j *job) error {
	switch {
	case j.next < j.check:
		return s.ask(j)
	case j.e.Type == manifest.Stream:
		return s.sendNext(j)
	}
	if err := s.sendBlock(j, j.next, nil); err != nil {
		return err
	}
	if j.blocks == 1 {
		return s.endFile(j)
	}
	return nil
}

// ask hashes the next block, and asks for it once there are some.
func (s *sender) ask(j *job) error {
	h, known := j.kept.hash(j.next)
	if !known {
		var err error
		if h, err = s.hashBlock(j, j.next); err != nil {
			return err
		}
		s.meter.Checking(min((j.next+1)*tree.BlockSize, j.e.Size), min(j.check*tree.BlockSize, j.e.Size))
	}
	s.pass(j, h)
	j.group = append(j.group, h)
	if n := len(j.group); j.next == j.check || n == wire.MaxHashes || !known && n >= checkGroup {
		c := wire.CheckBody{Index: j.index, First: j.next - int64(n), Hashes: j.group}
		s.mu.Lock()
		j.asked = append(j.asked, &asked{first: c.First, hashes: c.Hashes})
		s.asked++
		s.hashes += n
		s.mu.Unlock()
		j.group = nil
		s.sess.Main.Send(wire.CheckKind, c.Append)
	}
	return nil
}

// pass goes beyond the next block, whose hash is h.
func (s *sender) pass(j *job, h tree.Hash) {
	j.merger.Add(h)
	if j.kept != nil {
		s.src.add(j.kept, j.next, h)
	}
	j.next++
}

// sendMissing sends the next block that the oldest verdict says is missing.
func (s *sender) sendMissing(j *job) error {
	if j.e.Type == manifest.Stream {
		return s.rewind(j, j.missing())
	}
	a := j.asked[0]
	for a.at < len(a.hashes) && a.answer.Has(a.at) {
		a.at++
	}
	if a.at == len(a.hashes) {
		s.mu.Lock()
		j.asked = j.asked[1:]
		s.mu.Unlock()
		return nil
	}
	n, known := a.first+int64(a.at), &a.hashes[a.at]
	a.at++
	s.mu.Lock()
	if s.ack.Frames == s.limit.Frames {
		j.oldest = n
	}
	s.mu.Unlock()
	if err := s.sendBlock(j, n, known); err != nil {
		return err
	}
	if j.blocks == 1 {
		return s.endFile(j)
	}
	return nil
}

// missing is the first block that was asked for and is not there.
func (j *job) missing() int64 {
	for _, a := range j.asked {
		for i := range a.hashes {
			if !a.answer.Has(i) {
				return a.first + int64(i)
			}
		}
	}
	return j.next
}

// endFile says that a file is complete: by its hash, or, if it is a single block, by that
// block.
func (s *sender) endFile(j *job) error {
	size := j.e.Size
	if j.file != nil && j.blocks > 1 {
		if err := j.file.Unchanged(); err != nil {
			return err
		}
	}
	if j.e.Type == manifest.Stream {
		size = j.kept.size
	}
	root := j.merger.Root()
	s.remove(j) // before the receiver can know
	if j.blocks != 1 || j.e.Type == manifest.Stream {
		f := wire.File{Index: j.index, Size: size, Root: root}
		s.sess.Main.Send(wire.FileKind, f.Append)
	}
	f := progress.NewFile(&j.e)
	f.Size = size
	s.meter.Done(f, &root)
	return nil
}

// remove ends a job, whatever has become of it.
func (s *sender) remove(j *job) {
	s.mu.Lock()
	s.active = slices.DeleteFunc(s.active, func(a *job) bool { return a == j })
	for _, a := range j.asked {
		if a.answer == nil { // it will come all the same
			s.orphans = append(s.orphans, wire.Verdict{Index: j.index, First: a.first, Count: len(a.hashes)})
		}
	}
	settled := s.ack.Settled
	s.mu.Unlock()
	if j.file != nil {
		j.file.Close()
		j.file = nil
	}
	if j.kept != nil {
		s.src.forget(uint32(settled))
	}
}

// closeJobs ends what is left after a failure. The hashes of files that the receiver may
// not have are kept.
func (s *sender) closeJobs() {
	for len(s.active) > 0 {
		s.remove(s.active[0])
	}
	s.src.forget(uint32(s.ack.Settled))
}

// rewind goes back to the first block of a stream that the receiver does not have.
func (s *sender) rewind(j *job, from int64) error {
	if err := s.src.Stream.Rewind(from); err != nil {
		return err
	}
	s.mu.Lock()
	j.asked = nil
	s.mu.Unlock()
	j.next, j.check, j.merger = from, from, tree.Merger{}
	for _, h := range j.kept.hashes[:from] {
		j.merger.Add(h)
	}
	return nil
}
