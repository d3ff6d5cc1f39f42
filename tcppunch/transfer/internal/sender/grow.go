package sender

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/link"
)

const (
	maxAuto    = 8 // connections, if nobody has said how many
	growEvery  = time.Second
	growTimes  = 4               // as many as before, each time
	growStart  = 2 * time.Second // after which a new connection has found its pace, and the buffers are full
	growSteady = 2 * time.Second // of that pace, before it is judged
	growJudged = 8 * time.Second // after which there is no other judgement
	growBytes  = 512 << 10       // in that time, or no rate is known
	growLeft   = 8 * time.Second // of the transfer: below, it is not worth while
	growGain   = 1.25            // what the last ones must have brought, for more
)

// growth is what is known when further connections may be opened.
type growth struct {
	streams int
	held    bool          // loss or its congestion window hold the first one down
	rate    float64       // bytes a second since the last ones were added, or since the beginning
	before  float64       // and before that
	steady  time.Duration // how long that is
	left    int64         // bytes; -1 if nobody knows
}

// more decides how many connections to open now, and whether that will ever be decided
// again. It takes large steps: so it is clear what one has brought, and a slow connection
// takes seconds for what has to be said before each.
func (g *growth) more() (open int, ever bool) {
	switch {
	case g.streams >= maxAuto:
		return 0, false
	case !g.held || g.rate <= 0 || g.steady < growSteady:
		return 0, true
	case g.left >= 0 && float64(g.left) < g.rate*growLeft.Seconds():
		return 0, true
	case g.streams > 1 && g.rate < g.before*growGain:
		return 0, g.steady < growJudged // losses come in bursts
	}
	return min((growTimes-1)*g.streams, maxAuto-g.streams), true
}

// startExtras opens further connections, if that is wanted and both sides can.
func (s *sender) startExtras() {
	if s.opt.Dial == nil || !slices.Contains(s.hello.Features, link.FeatureStreams) {
		return
	}
	switch {
	case s.opt.Streams > 1:
		s.extras.Prepare()
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

// growLoop opens more and more connections, as long as that helps.
func (s *sender) growLoop() {
	t := time.NewTicker(growEvery)
	defer t.Stop()
	g := growth{streams: 1}
	settled := time.Now().Add(growStart)
	since, from := time.Now(), int64(0) // of what is judged
	for ever := true; ever; {
		select {
		case <-t.C:
		case <-s.sess.Ctx.Done():
			return
		}
		s.mu.Lock()
		ended := s.ended
		s.mu.Unlock()
		if ended {
			return
		}
		written := s.sess.Written()
		if time.Now().Before(settled) {
			since, from = time.Now(), written
			continue
		}
		g.held, g.left, g.steady, g.rate = s.opt.Held(), s.meter.Left(), time.Since(since), 0
		if written-from >= growBytes {
			g.rate = float64(written-from) / g.steady.Seconds()
		}
		var open int
		if open, ever = g.more(); open > 0 {
			g.before = g.rate
			made := s.openExtras(open)
			g.streams += made
			ever = made == open
			since, from = time.Now(), s.sess.Written()
			settled = since.Add(growStart)
		}
	}
}

// openExtras makes n more connections at once, and returns how many it could make.
func (s *sender) openExtras(n int) int {
	var made atomic.Int32
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			if s.openExtra() {
				made.Add(1)
			}
		})
	}
	all.Wait()
	return int(made.Load())
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
