package sender

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/link"
)

const (
	maxAuto    = 8 // connections, if nobody has said how many
	growEvery  = time.Second
	growSteady = 2 * time.Second // between one more and the next
	growLeft   = 5 * time.Second // of the transfer: below, it is not worth while
	growGain   = 1.1             // what the last one must have brought, for another
	growBytes  = 2 << 20         // since then, or no rate is known: a receiver acknowledges whole blocks
)

// growth is what is known when another connection may be opened.
type growth struct {
	streams int
	held    bool          // loss or its congestion window hold the first one down
	rate    float64       // bytes a second since the last one was added, or since the beginning
	before  float64       // and before that
	steady  time.Duration // how long that is
	left    int64         // bytes; -1 if nobody knows
}

// more decides whether to open another connection, and whether that will ever be
// decided again.
func (g *growth) more() (open, ever bool) {
	switch {
	case g.streams >= maxAuto:
		return false, false
	case !g.held || g.rate <= 0 || g.steady < growSteady:
		return false, true
	case g.left >= 0 && float64(g.left) < g.rate*growLeft.Seconds():
		return false, true
	case g.streams > 1 && g.rate < g.before*growGain:
		return false, false
	}
	return true, true
}

// startExtras opens further connections, if that is wanted and both sides can.
func (s *sender) startExtras() {
	if s.opt.Dial == nil || !slices.Contains(s.hello.Features, link.FeatureStreams) {
		return
	}
	switch {
	case s.opt.Streams > 1:
		left := new(atomic.Int32)
		left.Store(int32(min(s.opt.Streams, link.MaxStreams) - 1))
		for range min(left.Load(), link.MaxMaking) {
			s.sess.Go(func() {
				for left.Add(-1) >= 0 && s.openExtra() {
				}
			})
		}
	case s.opt.Streams == 0 && s.opt.Held != nil:
		s.sess.Go(s.growLoop)
	}
}

// growLoop opens one connection after the other, as long as each helps.
func (s *sender) growLoop() {
	t := time.NewTicker(growEvery)
	defer t.Stop()
	g := growth{streams: 1}
	since, from := time.Now(), int64(0)
	for {
		select {
		case <-t.C:
		case <-s.sess.Ctx.Done():
			return
		}
		s.mu.Lock()
		acked, ended := s.ack.Bytes, s.ended
		s.mu.Unlock()
		if ended {
			return
		}
		g.held, g.left, g.steady, g.rate = s.opt.Held(), s.meter.Left(), time.Since(since), 0
		if acked-from >= growBytes {
			g.rate = float64(acked-from) / g.steady.Seconds()
		}
		open, ever := g.more()
		if open {
			g.before = g.rate
			if ever = s.openExtra(); ever {
				g.streams++
			}
			since = time.Now()
			s.mu.Lock()
			from = s.ack.Bytes
			s.mu.Unlock()
		}
		if !ever {
			return
		}
	}
}

// openExtra makes another connection, and reports whether it could.
func (s *sender) openExtra() bool {
	conn, err := s.extras.Open(s.hello.Seen)
	if err != nil {
		return false
	}
	s.queue.More()
	s.meter.Streams(s.sess.Add(conn, answers{s, false}))
	return true
}
