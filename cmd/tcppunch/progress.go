package main

import (
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/tcppunch/tcppunch/tcppunch"
	"github.com/tcppunch/tcppunch/tcppunch/transfer"
)

const (
	eventEvery = 250 * time.Millisecond // between progress events
	lineEvery  = 5 * time.Second        // between plain lines
	rightWidth = 28                     // columns for rate and time left
	leastBar   = 6                      // columns
)

// progress shows how far a transfer is: a bar on a terminal, plain lines
// elsewhere, and events.
type progress struct {
	out     *output
	sending bool

	bars     *mpb.Progress
	bar      *mpb.Bar
	patience *time.Timer // runs while the other side has the offer

	mu        sync.Mutex
	meter     meter
	label     string
	files     int
	current   int
	lastEvent time.Time
	lastLine  time.Time
}

func newProgress(out *output, sending bool) *progress { return &progress{out: out, sending: sending} }

func (p *progress) trace() *transfer.Trace {
	return &transfer.Trace{Offer: p.offer, Accepted: p.accepted, File: p.file, Progress: p.update, FileDone: p.fileDone}
}

func (p *progress) offer(o transfer.Offer) {
	p.mu.Lock()
	p.files = o.Files
	p.mu.Unlock()
	p.out.event("offer", struct {
		Files int   `json:"files"`
		Bytes int64 `json:"bytes"`
	}{o.Files, o.Bytes})
	if p.sending {
		p.patience = time.AfterFunc(time.Second, func() { p.out.say("Waiting for the other side to accept …") })
	}
}

func (p *progress) accepted() {
	if p.patience != nil {
		p.patience.Stop()
	}
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.meter.add(now, 0)
	p.lastEvent, p.lastLine = now, now
}

// file starts the bar with the first file: before, there is nothing to show.
func (p *progress) file(f transfer.File) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current++
	p.label = transfer.Clean(f.Name)
	if p.files > 1 {
		p.label = fmt.Sprintf("%d/%d %s", p.current, p.files, p.label)
	}
}

func (p *progress) update(done, total int64) {
	p.tell(done, total)
	if p.out.tty {
		p.draw(done, total) // not under mu, which the bar's decorators take
	}
}

// tell prints what is due. It does so without mu, which the bar's decorators
// take while the bar is drawn.
func (p *progress) tell(done, total int64) {
	now := time.Now()
	p.mu.Lock()
	p.meter.add(now, done)
	speed := p.meter.rate(now)
	event := now.Sub(p.lastEvent) >= eventEvery || done == total
	if event {
		p.lastEvent = now
	}
	line := ""
	if !p.out.tty && now.Sub(p.lastLine) >= lineEvery && done < total {
		p.lastLine = now
		line = p.label + "  " + p.figures(now, done, total)
	}
	p.mu.Unlock()
	if event {
		p.out.event("progress", struct {
			Bytes int64   `json:"bytes"`
			Total int64   `json:"total"`
			Rate  float64 `json:"rate"` // bytes per second
		}{done, total, math.Round(speed)})
	}
	if line != "" {
		p.out.say("%s", line)
	}
}

// fileDone gives every file of a pipe's output a line; a terminal has the bar.
func (p *progress) fileDone(f transfer.File, hash [32]byte) {
	if !p.out.tty {
		p.out.say("%s  %s  done", transfer.Clean(f.Name), size(f.Size))
	}
	p.out.detail("blake3 %x  %s", hash, transfer.Clean(f.Name))
}

func (p *progress) figures(now time.Time, done, total int64) string {
	percent := int64(100)
	if total > 0 {
		percent = done * 100 / total
	}
	s := fmt.Sprintf("%s  %3d %%  %10s", size(total), percent, rate(p.meter.rate(now)))
	if left, ok := p.meter.left(now, total); ok && done < total {
		s += "  " + duration(left) + " left"
	}
	return s
}

// draw makes or moves the bar.
func (p *progress) draw(done, total int64) {
	if p.bar == nil {
		p.bars = mpb.New(mpb.WithOutput(p.out.human), mpb.WithRefreshRate(100*time.Millisecond))
		p.bar = p.bars.New(max(total, 1), mpb.BarStyle().Lbound("").Rbound("").Filler("█").Tip("█").Padding("░"),
			mpb.BarFillerClearOnComplete(), mpb.BarFillerMiddleware(wideEnough),
			mpb.PrependDecorators(decor.Any(p.left)), mpb.AppendDecorators(decor.Any(p.right)))
		p.out.startBar(p.bars)
	}
	if total == 0 {
		done = 1 // mpb ends a bar that is full
	}
	p.bar.SetCurrent(done)
}

// wideEnough leaves a bar out that would be a stub.
func wideEnough(bar mpb.BarFiller) mpb.BarFiller {
	return mpb.BarFillerFunc(func(w io.Writer, s decor.Statistics) error {
		if s.AvailableWidth < leastBar {
			return nil
		}
		return bar.Fill(w, s)
	})
}

// left is what stands before the bar.
func (p *progress) left(s decor.Statistics) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	// A Ctrl-C that the terminal has echoed would push the line to the right.
	return "\r" + fit(p.label, max(8, s.AvailableWidth/4)) + "  " + size(s.Total) + fmt.Sprintf(" %3d %%", s.Current*100/max(s.Total, 1))
}

// right is what stands after it.
func (p *progress) right(s decor.Statistics) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if s.Completed || s.Aborted {
		return ""
	}
	speed := fmt.Sprintf("%10s", rate(p.meter.rate(now)))
	left, ok := p.meter.left(now, s.Total)
	switch {
	case !ok:
		return speed
	case s.AvailableWidth < rightWidth:
		return "  " + duration(left) + " left"
	}
	return speed + "  " + duration(left) + " left"
}

// fit shortens a name in its middle, where names differ least.
func fit(s string, width int) string {
	r := []rune(s)
	if len(r) <= width {
		return s
	}
	half := (width - 1) / 2
	return string(r[:width-1-half]) + "…" + string(r[len(r)-half:])
}

// end takes the bar away, or leaves it full.
func (p *progress) end(ok bool) {
	if p.patience != nil {
		p.patience.Stop()
	}
	if p.bar == nil {
		return
	}
	if !ok {
		p.bar.Abort(false) // Wait would hang on a bar that is not full
	}
	p.bars.Wait()
	p.out.endBar()
}

func (o *output) startBar(b *mpb.Progress) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bar = b
}

func (o *output) endBar() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bar = nil
}

// connected tells the path and, where there was a room, how long what took.
func (o *output) connected(p tcppunch.Path, ph *phases) {
	setup := time.Since(o.started)
	o.event("connected", struct {
		Network   string             `json:"network"`
		Kind      tcppunch.Kind      `json:"kind"`
		Local     string             `json:"local"`
		Remote    string             `json:"remote"`
		Technique tcppunch.Technique `json:"technique"`
		Round     int                `json:"round"`
		PunchMS   float64            `json:"punch_ms"`
		SetupMS   float64            `json:"setup_ms"`
		RTTMS     float64            `json:"rtt_ms"`
		Phases    *phases            `json:"phases,omitempty"`
	}{p.Network, p.Kind, p.Local.String(), p.Remote.String(), p.Technique, p.Round, ms(p.Punch), ms(setup), ms(p.RTT), ph})
	by := "TCP"
	if p.Network == "kcp" {
		by = "UDP (KCP)"
	}
	o.say("Connected by %s, directly, to %v (%.2f s, round trip %s)", by, p.Remote, p.Punch.Seconds(), roundTrip(p.RTT))
	o.detail("path: %v", p)
	if ph != nil {
		o.detail("phases: %v", ph)
	}
}

// done tells the end of a transfer.
func (o *output) done(verb string, sum transfer.Summary) {
	seconds := sum.Elapsed.Seconds()
	o.event("done", struct {
		Files   int     `json:"files"`
		Bytes   int64   `json:"bytes"`
		Seconds float64 `json:"seconds"`
	}{sum.Files, sum.Bytes, seconds})
	speed := ""
	if seconds > 0 && sum.Bytes > 0 {
		speed = " (" + rate(float64(sum.Bytes)/seconds) + ")"
	}
	o.say("%s %s, %s in %s%s", verb, plural(sum.Files, "file"), size(sum.Bytes), duration(sum.Elapsed), speed)
}

func ms(d time.Duration) float64 { return float64(d.Round(10*time.Microsecond)) / 1e6 }

func roundTrip(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", ms(d))
	}
	return fmt.Sprintf("%.0f ms", ms(d))
}
