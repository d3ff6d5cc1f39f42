package receiver

import (
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/progress"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/wire"
)

// giveUp notes that an entry has failed: what comes of it from now on is dropped. The
// lock is held.
func (r *receiver) giveUp(i uint32, e *manifest.Entry) {
	r.gone.Add(i, e)
	if f := r.files[i]; f != nil {
		f.over = true
		delete(r.files, i)
	}
	delete(r.leaving, i)
	r.dst.forget(i)
}

// tellFailure reports a failure of this side to the hooks and to the sender.
func (r *receiver) tellFailure(i uint32, e *manifest.Entry, err error) {
	r.meter.Failed(e.Path, err)
	l := wire.Loss{Index: i, Failure: wire.FailureOf(err)}
	r.sess.Main.Send(wire.FailedKind, l.Append)
}

// drop ends an entry that the sender has given up.
func (r *receiver) drop(i uint32, e *manifest.Entry, err error) {
	r.meter.Failed(e.Path, err)
	_ = r.dst.Sink.Drop(int(i))
	r.settleIndex(i)
}

// fail gives up an entry on this side, or all if the failure is that of all. What
// fails because the entry was given up before is nobody's failure.
func (r *receiver) fail(i uint32, err error) {
	r.mu.Lock()
	p, at := r.entry(i)
	if r.gone.Has(i) || p == nil || r.sess.Cause() != nil {
		r.mu.Unlock()
		return
	}
	if fatal(err) {
		r.mu.Unlock()
		r.sess.Stop(err)
		return
	}
	e := &p.entries[at]
	r.giveUp(i, e)
	r.mu.Unlock()
	_ = r.dst.Sink.Drop(int(i))
	r.tellFailure(i, e, err)
	r.settleIndex(i)
}

// settleIndex is settleEntry for who does not hold the lock.
func (r *receiver) settleIndex(i uint32) {
	r.mu.Lock()
	if p, at := r.entry(i); p != nil {
		r.settleEntry(p, at)
	}
	r.mu.Unlock()
	poke(r.wake)
}

// settleEntry notes that nothing more happens with an entry. The lock is held.
func (r *receiver) settleEntry(p *recvPage, at int) {
	if p.state[at] == settled {
		return
	}
	if p.plans[at].Sends() && p.state[at] < leaving {
		r.awaited--
	}
	p.state[at] = settled
	for len(r.pages) > 0 {
		first := r.pages[0]
		for i := r.settled - first.first; i < len(first.state) && first.state[i] == settled; i++ {
			r.settled++
		}
		if r.settled < first.first+len(first.state) {
			return
		}
		r.pages = r.pages[1:]
		r.unsettled--
		poke(r.ackWake)
	}
}

// finished is what the store calls when a file is in place, or has failed at last.
func (r *receiver) finished(i int, e manifest.Entry, err error) {
	index := uint32(i)
	if err != nil {
		r.fail(index, err)
		return
	}
	r.mu.Lock()
	end := r.leaving[index]
	delete(r.leaving, index)
	r.dst.forget(index)
	f := progress.NewFile(&e)
	f.Size = end.Size
	r.place.Files++
	r.place.Bytes += f.Size
	r.mu.Unlock()
	r.meter.Done(f, &end.Root)
	r.settleIndex(index)
}
