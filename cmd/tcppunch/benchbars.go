package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/tcppunch/tcppunch/tcppunch/bench"
)

// benchBars shows a measurement while it runs: a bar for each direction on a terminal,
// which stays with its speed, and plain lines elsewhere.
type benchBars struct {
	out *output
	own time.Duration // the time that this side has asked for

	bars *mpb.Progress
	bar  *mpb.Bar

	mu    sync.Mutex
	meter meter              // of the present step; guarded by mu
	rates map[string]float64 // of what was measured, by the left part of its bar; guarded by mu
}

func newBenchBars(out *output, own time.Duration) *benchBars {
	return &benchBars{out: out, own: own, rates: map[string]float64{}}
}

func (b *benchBars) trace() *bench.Trace {
	return &bench.Trace{Agreed: b.agreed, Step: b.begin, Progress: b.progress, Result: b.result}
}

func (b *benchBars) agreed(each, theirs time.Duration, transports int) {
	if each != b.own {
		b.out.say("The other side wants %v: measuring %v in each direction.", theirs, each)
	}
	if b.out.tty {
		b.bars = mpb.New(mpb.WithOutput(b.out.human), mpb.WithRefreshRate(100*time.Millisecond))
		b.out.startBar(b.bars)
	}
}

// begin ends the bar of the step before and begins the next one's, where there is data
// to show; the other steps are short.
func (b *benchBars) begin(s bench.Step) {
	b.close(true)
	b.mu.Lock()
	b.meter = meter{}
	b.meter.add(time.Now(), 0)
	b.mu.Unlock()
	b.out.detail("%s: %s", s.Transport, s.Phase)
	if b.bars == nil || s.Phase == bench.PhasePing {
		return
	}
	label := barLabel(s.Transport, s.Phase)
	left := func(decor.Statistics) string { return "\r" + label } // see progress.left
	if s.Phase == bench.PhaseDial {
		b.bar = b.bars.New(1, mpb.NopStyle(), mpb.BarRemoveOnComplete(), mpb.PrependDecorators(decor.Any(left)), mpb.AppendDecorators(decor.Name("…")))
		return
	}
	b.bar = b.bars.New(int64(s.Time), mpb.BarStyle().Lbound("").Rbound("").Filler("█").Tip("█").Padding("░"),
		mpb.BarFillerClearOnComplete(), mpb.BarFillerMiddleware(wideEnough),
		mpb.PrependDecorators(decor.Any(left)), mpb.AppendDecorators(decor.Any(b.right(label))))
}

func barLabel(transport string, phase bench.Phase) string {
	return fmt.Sprintf("%-9s  %-7s ", transport, phase)
}

// right is the speed: the present one, at the end the last one, and once the transport
// was measured the one of the table.
func (b *benchBars) right(label string) func(decor.Statistics) string {
	text := ""
	return func(s decor.Statistics) string {
		b.mu.Lock()
		defer b.mu.Unlock()
		if rate, ok := b.rates[label]; ok {
			text = fmt.Sprintf("%15s", bits(rate))
		} else if !s.Completed && !s.Aborted {
			text = fmt.Sprintf("%15s", bits(8*b.meter.rate(time.Now())))
		}
		return text
	}
}

func (b *benchBars) progress(s bench.Step, since time.Duration, bytes int64) {
	b.mu.Lock()
	b.meter.add(time.Now(), bytes)
	b.mu.Unlock()
	if b.bar != nil {
		b.bar.SetCurrent(min(int64(since), int64(s.Time)-1))
	}
}

// result puts the figures that count on the bars that stay, or, without bars, into a line
// for each direction.
func (b *benchBars) result(r bench.Result) {
	if r.Err == nil { // first, as the last bar is drawn no more when it has ended
		b.mu.Lock()
		b.rates[barLabel(r.Transport, bench.PhaseSend)] = r.Sent.Rate()
		b.rates[barLabel(r.Transport, bench.PhaseReceive)] = r.Received.Rate()
		b.mu.Unlock()
	}
	b.close(r.Err == nil)
	if b.bars != nil {
		return // the table tells of failures
	}
	if r.Err != nil {
		b.out.say("%-9s  failed: %s", r.Transport, shown(r.Err))
		return
	}
	b.out.say("%s %15s", barLabel(r.Transport, bench.PhaseSend), bits(r.Sent.Rate()))
	b.out.say("%s %15s", barLabel(r.Transport, bench.PhaseReceive), bits(r.Received.Rate()))
}

// close ends the present bar.
func (b *benchBars) close(ok bool) {
	if b.bar == nil {
		return
	}
	if ok {
		b.bar.SetTotal(-1, true)
	} else {
		b.bar.Abort(true)
	}
	b.bar.Wait()
	b.bar = nil
}

// end leaves the screen to what follows.
func (b *benchBars) end() {
	b.close(false)
	if b.bars == nil {
		return
	}
	b.bars.Wait()
	b.out.endBar()
}

// bits writes bits per second as people read them.
func bits(perSecond float64) string {
	return figure(perSecond, 1000, []string{"%.0f bit/s", "%.1f kbit/s", "%.1f Mbit/s", "%.2f Gbit/s"})
}
