// Package receiver is the receiving side of a transfer.
//
// The readers of the links check what comes and put it into queues (take.go), which
// nobody may overfill; one goroutine places the entries of pages (place.go), one answers
// checks (check.go), some verify and write blocks (work.go), and the store puts complete
// files in place. Each of them waits only for the disk, for a person, and for the writer
// of the link, which waits for the reader of the other side, which waits for nothing. So
// they all get on, a reader that waits for a buffer does too, and nothing can wait for
// itself.
//
// Memory: the buffers of blocks, the 8 pages that a sender may leave open, 4096 hashes of
// checks, and the hashes of the files under way.
package receiver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/limit"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/link"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/progress"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/store"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/wire"
)

const (
	// byeWait is how long a receiver that has everything waits for the sender's last
	// word, as long as it is not silent.
	byeWait = 15 * time.Second

	ackEvery = 100 * time.Millisecond
	ackBytes = 1 << 20 // or sooner, after so many
	workers  = 2       // that verify and write
)

// Options are those of package transfer.
type Options struct {
	Idle   time.Duration
	Accept func(ctx context.Context, o *wire.Offer, resumable int64) error
	Exists store.Policy
	Ask    func(ctx context.Context, c store.Conflict) (store.Policy, error)
	Dial   link.Dial
	Meter  *progress.Meter
	Remote func(code, message string) error
}

// Outcome is what a Run that came to its end tells of it.
type Outcome struct {
	Entries int  // what was listed, and what was left out of the list
	Unnamed int  // failures that the Meter has not been told of
	Heard   bool // the sender knows that all is in place
}

// Run takes what the other side offers.
func Run(ctx context.Context, conn net.Conn, dst *Dest, opt *Options) (Outcome, error) {
	r := &receiver{
		dst: dst, opt: opt, meter: opt.Meter,
		pagesIn: make(chan []byte, limit.Unplanned), checks: make(chan wire.CheckBody, limit.Checks),
		work: make(chan *batch, link.MaxChunks+link.MaxStreams), free: make(chan *batch, link.MaxChunks+link.MaxStreams),
		wake: make(chan struct{}, 1), ackWake: make(chan struct{}, 1),
		files: make(map[uint32]*inFile), leaving: make(map[uint32]wire.File),
	}
	for range link.MaxChunks {
		r.free <- nil
	}
	r.sess = link.New(ctx, conn, link.Config{Idle: opt.Idle, Handler: &feed{receiver: r, main: true}, Remote: opt.Remote})
	if !dst.Pipe {
		r.extras.Init(r.sess, opt.Dial)
	}
	r.sess.Start()
	r.sess.Go(r.workLoop)
	if !dst.Pipe { // whose blocks have to stay in order
		for range workers - 1 {
			r.sess.Go(r.workLoop)
		}
	}
	err := r.sess.Finish(r.run(), func() { close(r.work) })
	// What is complete becomes durable, and partial files are let go, whatever has happened.
	if err2 := dst.Sink.Reset(context.WithoutCancel(ctx), nil); err == nil {
		err = err2
	}
	r.remember()
	if err != nil {
		return Outcome{}, err
	}
	return Outcome{Entries: r.offer.Totals.Entries + r.leftOut, Unnamed: r.unnamed, Heard: r.heard}, nil
}

// remember notes that all is in place though the sender was not told: what is on the disk
// does not tell that of a stream.
func (r *receiver) remember() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.accepted && r.dst.result == nil && r.gone.Count == 0 && r.settled == r.offer.Totals.Entries {
		r.dst.result = &wire.Result{Files: r.place.Files, Bytes: r.place.Bytes}
	}
}

// receiver is one Run.
type receiver struct {
	dst    *Dest
	opt    *Options
	sess   *link.Session
	meter  *progress.Meter
	extras link.Extras

	pagesIn chan []byte
	checks  chan wire.CheckBody
	work    chan *batch // room for all
	free    chan *batch
	wake    chan struct{} // the main goroutine: something has changed
	ackWake chan struct{}

	mu        sync.Mutex // guards all of what follows
	hello     *wire.Hello
	offer     *wire.Offer
	accepted  bool
	ended     bool // End has come
	heard     bool // Bye has come, or another last word
	list      *manifest.Reader
	unsettled int         // pages that came, with entries that are not settled
	pages     []*recvPage // those that are planned and have such entries
	listed    int         // entries of pages that are planned
	awaited   int         // of these, entries whose data is not complete
	settled   int         // the first entries that are settled
	files     map[uint32]*inFile
	leaving   map[uint32]wire.File // files that are being committed
	gone      limit.Gone
	lost      int // Lost frames
	leftOut   int // of these, those that are not in the list, and those that End counts
	unnamed   int // those that End counts
	ack       wire.Ack
	ackDue    int         // bytes since the last one was asked for
	place     wire.Result // files and bytes that are in place
}

func (r *receiver) run() error {
	opt := &store.Options{Exists: r.opt.Exists, Finished: r.finished}
	if r.opt.Ask != nil {
		opt.Ask = r.ask
	}
	if err := r.dst.Sink.Reset(r.sess.Ctx, opt); err != nil {
		return err
	}
	features := []string{link.FeaturePage}
	if r.opt.Dial != nil && !r.dst.Pipe {
		features = append(features, link.FeatureStreams)
	}
	r.sess.Greet(wire.RoleReceive, features...)
	if err := r.until(func() bool { return r.offer != nil }); err != nil {
		return err
	}
	if err := r.accept(); err != nil {
		return err
	}
	r.sess.Go(r.placeLoop)
	r.sess.Go(r.checkLoop)
	r.sess.Go(r.ackLoop)
	if err := r.until(func() bool { return r.ended && r.awaited == 0 }); err != nil {
		return err
	}
	if err := r.flush(); err != nil { // without it the store would wait for more
		return err
	}
	if err := r.until(func() bool { return r.settled == r.offer.Totals.Entries }); err != nil {
		return err
	}
	return r.settle()
}

// until waits for something that the other goroutines bring.
func (r *receiver) until(ok func() bool) error {
	for {
		r.mu.Lock()
		done := ok()
		r.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-r.wake:
		case <-r.sess.Ctx.Done():
			return r.sess.Cause()
		}
	}
}

// poke ends a wait, the one under way or the next.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// accept asks the person, unless the offer has been accepted before.
func (r *receiver) accept() error {
	again, err := r.dst.agree(r.offer)
	if err != nil {
		return err
	}
	o := r.offer
	var resumable int64
	for _, e := range o.First {
		resumable += r.dst.Sink.Resumable(e)
	}
	if err := r.fits(o, resumable); err != nil {
		return err
	}
	r.meter.Offer(o, resumable)
	if r.opt.Accept != nil && !again {
		err := r.opt.Accept(r.sess.Ctx, o, resumable)
		if cause := r.sess.Cause(); cause != nil {
			return cause
		}
		if err != nil {
			return &fault.Refusal{Err: err}
		}
	}
	r.dst.accepted, r.dst.id, r.dst.digest = true, o.ID, o.Digest
	r.mu.Lock()
	r.accepted = true
	r.list = manifest.NewReader(o.Totals)
	r.gone.Set = limit.NewSet(o.Totals.Entries)
	r.mu.Unlock()
	r.meter.Accepted()
	r.sess.Main.Send(wire.AcceptKind, nil)
	return nil
}

// fits refuses what cannot be received, as far as the offer tells.
func (r *receiver) fits(o *wire.Offer, resumable int64) error {
	if r.dst.Pipe && (o.Totals.Entries != 1 || o.Totals.Files != 1) {
		return &fault.Refusal{Err: &fault.Failure{Text: "only a single file or stream can be written to standard output"}}
	}
	free, ok := r.dst.Sink.Free()
	if need := o.Totals.Bytes - resumable; ok && len(o.First) == o.Totals.Entries && need > 0 && uint64(need) > free {
		return &fault.Failure{Kind: fault.ErrNoSpace, Text: fmt.Sprintf("%d bytes offered, %d free", need, free)}
	}
	return nil
}

// ask is what the store asks: an error ends the transfer.
func (r *receiver) ask(ctx context.Context, c store.Conflict) (store.Policy, error) {
	p, err := r.opt.Ask(ctx, c)
	if err != nil && ctx.Err() == nil {
		r.sess.Stop(&fault.Refusal{Err: err})
	}
	return p, err
}

func (r *receiver) flush() error {
	err := r.dst.Sink.Flush(r.sess.Ctx)
	if cause := r.sess.Cause(); cause != nil {
		return cause
	}
	return err
}

// settle sends the last word. From here on the transfer has succeeded: all files
// are in place, even if the sender should never hear of it. But then it comes again, and
// has to be told.
func (r *receiver) settle() error {
	if err := r.flush(); err != nil {
		return err
	}
	r.meter.Finish()
	r.mu.Lock()
	result := wire.Result{Files: r.place.Files, Bytes: r.place.Bytes, Failed: r.gone.Count}
	r.mu.Unlock()
	if r.dst.result != nil {
		result = *r.dst.result
	}
	if result.Failed == 0 {
		r.dst.result = &result
	}
	r.extras.Close()
	r.sess.Settle(wire.ResultKind, result.Append)
	late := time.NewTimer(byeWait)
	defer late.Stop()
	select {
	case <-r.sess.Main.Left():
	case <-late.C:
	case <-r.sess.Ctx.Done():
	}
	cause := r.sess.Cause()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard = r.heard || cause != nil && !errors.Is(cause, fault.ErrPeerGone) // one of the two gives up
	if r.heard {
		r.dst.accepted = false // the same offer again is a new transfer
	}
	return nil
}

// ackLoop tells the sender how far we are.
func (r *receiver) ackLoop() {
	t := time.NewTicker(ackEvery)
	defer t.Stop()
	var last wire.Ack
	for {
		select {
		case <-t.C:
		case <-r.ackWake:
		case <-r.sess.Ctx.Done():
			return
		}
		r.mu.Lock()
		a := r.ack
		a.Settled = r.settled
		r.mu.Unlock()
		if a != last {
			last = a
			r.sess.Main.Send(wire.AckKind, a.Append)
		}
	}
}
