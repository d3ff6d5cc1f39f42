// Package sender is the sending side of a transfer.
//
// The goroutine of Run reads and hashes, and decides what is sent (pump.go); the writers
// of the link send it, and their readers put down what the receiver answers
// (answers.go), and never wait. So nothing here can wait for itself: Run waits for
// answers, for a buffer and so for a writer, or for a full queue of small frames and so
// for the main writer; a writer waits for the receiver to read, and that for its disk.
//
// Memory: the buffers of the queue, the 8 pages that are not settled, the jobs, and the
// hashes of the files under way.
package sender

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/limit"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/link"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/press"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/progress"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/wire"
)

// Options are those of package transfer.
type Options struct {
	Idle     time.Duration
	Streams  int
	Dial     link.Dial
	Held     func() bool
	Compress press.Choice
	Meter    *progress.Meter
	Remote   func(code, message string) error
}

// Run offers and sends src. Afterwards the Meter knows what has failed, but for what
// Source.Refused counts and does not list.
func Run(ctx context.Context, conn net.Conn, src *Source, opt *Options) error {
	s := &sender{src: src, opt: opt, meter: opt.Meter, wake: make(chan struct{}, 1), queue: link.NewQueue()}
	s.zstd.Choice = opt.Compress
	s.sess = link.New(ctx, conn, link.Config{Idle: opt.Idle, Handler: answers{s, true}, Queue: s.queue, Remote: opt.Remote})
	s.extras.Init(s.sess, opt.Dial)
	s.reading, s.stopReading = context.WithCancel(s.sess.Ctx)
	defer s.stopReading()
	s.sess.Start()
	err := s.sess.Finish(s.run(), func() {})
	s.closeJobs()
	return err
}

// sender is one Run.
type sender struct {
	src         *Source
	opt         *Options
	sess        *link.Session
	meter       *progress.Meter
	queue       *link.Queue
	zstd        press.Compressor
	extras      link.Extras
	totals      manifest.Totals
	reading     context.Context // of a read of a stream, which may never end
	stopReading func()

	pages  [][]byte         // those not sent yet
	reader *manifest.Reader // of the pages that are sent
	active []*job           // files under way, in the manifest's order; changed under mu
	lost   int              // Lost frames sent

	wake chan struct{} // something below has changed

	mu       sync.Mutex // guards what the answers change
	hello    *wire.Hello
	offered  bool
	accepted bool
	begun    bool // and the hooks have been told that
	ended    bool
	result   *wire.Result
	sent     []*sentPage    // those with entries that are not settled, oldest first
	todo     []*sentPage    // of these, those that are planned and not worked through
	listed   int            // entries in pages that were sent
	asked    int            // checks without a verdict
	hashes   int            // in these
	orphans  []wire.Verdict // those of files that were given up; without the bits
	ack      wire.Ack
	limit    wire.Ack   // what was sent, so the most that an ack may say
	gone     limit.Gone // entries that one side has given up
	theirs   limit.Set  // those that the receiver has
}

// sentPage is a page that the receiver has.
type sentPage struct {
	first   int
	entries []manifest.Entry
	plans   []wire.Plan // nil until they come
	next    int         // the first entry that has not had its turn
}

func (s *sender) run() error {
	if err := s.src.refresh(s.sess.Ctx); err != nil {
		if cause := s.sess.Cause(); cause != nil {
			return cause
		}
		return err
	}
	list := s.src.list()
	s.totals, s.pages, s.reader = list.Totals(), list.Pages(), manifest.NewReader(list.Totals())
	s.gone.Set, s.theirs = limit.NewSet(s.totals.Entries), limit.NewSet(s.totals.Entries)
	var features []string
	if s.opt.Dial != nil {
		features = append(features, link.FeatureStreams)
	}
	s.sess.Greet(wire.RoleSend, features...)
	if err := s.until(func() bool { return s.hello != nil }); err != nil {
		return err
	}
	if err := s.offer(); err != nil {
		return err
	}
	s.startExtras()
	refused, count := s.src.Refused()
	for _, f := range refused {
		s.meter.Failed(f.Name, f)
		s.reportLoss(wire.NoIndex, f)
	}
	if err := s.pump(); err != nil {
		return err
	}
	return s.settle(count - len(refused))
}

func (s *sender) offer() error {
	o := s.src.Offer()
	s.mu.Lock()
	s.offered = true
	s.mu.Unlock()
	s.src.offered = true
	s.meter.Offer(o, 0)
	s.sess.Main.Send(wire.OfferKind, o.Append)
	if slices.Contains(s.hello.Features, link.FeaturePage) && len(s.pages) > 0 { // that saves a round trip
		if err := s.sendPage(); err != nil {
			return err
		}
	}
	return s.until(func() bool { return s.begun })
}

// settle says that all is sent, waits for the receiver's last word, and acknowledges it.
func (s *sender) settle(unnamed int) error {
	if err := s.queue.Drain(s.sess.Ctx); err != nil { // small frames would overtake the blocks
		return err
	}
	s.extras.Close()
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	end := wire.End{Lost: s.lost, More: unnamed}
	s.sess.Main.Send(wire.EndKind, end.Append)
	if err := s.until(func() bool { return s.result != nil }); err != nil {
		return err
	}
	got := *s.result
	want := wire.Result{Files: s.totals.Files - s.gone.Files, Failed: s.gone.Count, Bytes: s.totals.Bytes - s.gone.Bytes}
	if s.src.Stream != nil {
		want.Bytes = 0
		if s.gone.Count == 0 {
			want.Bytes = s.src.keep(0).size
		}
	}
	if got != want {
		return fault.Protocol("the other side counts other files than were sent")
	}
	s.src.forget(wire.NoIndex)
	s.meter.Counted(got.Files, got.Bytes)
	s.meter.Finish()
	s.sess.Settle(wire.ByeKind, nil) // all is in place, whether it hears this or not
	return nil
}

// until waits for something that the answers bring.
func (s *sender) until(ok func() bool) error {
	for {
		s.mu.Lock()
		done := ok()
		s.mu.Unlock()
		if done {
			return nil
		}
		if err := s.wait(); err != nil {
			return err
		}
	}
}

// wait waits for any answer.
func (s *sender) wait() error {
	select {
	case <-s.wake:
		return nil
	case <-s.sess.Ctx.Done():
		return s.sess.Cause()
	}
}

// notify ends a wait, the one under way or the next.
func (s *sender) notify() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// lose gives an entry up on this side.
func (s *sender) lose(i uint32, e *manifest.Entry, err error) {
	s.mu.Lock()
	known := s.gone.Has(i)
	if !known {
		s.gone.Add(i, e)
	}
	s.mu.Unlock()
	if known {
		return // the other side knows
	}
	s.meter.Failed(e.Path, err)
	s.reportLoss(i, err)
}

// reportLoss tells the receiver.
func (s *sender) reportLoss(i uint32, err error) {
	s.lost++
	l := wire.Loss{Index: i, Failure: wire.FailureOf(err)}
	s.sess.Main.Send(wire.LostKind, l.Append)
}

// fileFailure reports whether an error concerns one file and not all.
func fileFailure(err error) bool {
	var f *fault.Failure
	return errors.As(err, &f) && !errors.Is(err, fault.ErrProtocol)
}
