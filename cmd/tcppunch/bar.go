package main

import (
	"fmt"
	"io"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

const (
	rightWidth = 28 // columns for rate and time left
	leastBar   = 6  // columns
)

// draw makes or moves the bar, on a terminal.
func (p *progress) draw() {
	if !p.out.tty {
		return
	}
	p.mu.Lock()
	done, total := p.bytes, p.offer.Bytes
	p.mu.Unlock()
	p.drawing.Lock()
	defer p.drawing.Unlock()
	if p.paused {
		return
	}
	if p.bar == nil {
		style := mpb.BarFillerBuilder(mpb.BarStyle().Lbound("").Rbound("").Filler("█").Tip("█").Padding("░"))
		if total < 0 {
			style = mpb.NopStyle() // nobody knows how long it would have to be
		}
		p.bars = mpb.New(mpb.WithOutput(p.out.human), mpb.WithRefreshRate(100*time.Millisecond))
		p.bar = p.bars.New(barTotal(total), style,
			mpb.BarFillerClearOnComplete(), mpb.BarFillerMiddleware(wideEnough), mpb.BarFillerMiddleware(p.unlessChecking),
			mpb.PrependDecorators(decor.Any(p.left)), mpb.AppendDecorators(decor.Any(p.right)))
		p.out.startBar(p.bars)
	}
	if total == 0 {
		done = 1 // mpb ends a bar that is full
	}
	p.bar.SetCurrent(done)
}

// barTotal is where mpb ends a bar. Of one without an end it is told so when it ends.
func barTotal(total int64) int64 {
	if total < 0 {
		return 0
	}
	return max(total, 1)
}

// endBar takes the bar away after a break or before a question, or leaves it as it is,
// or full. The mutex drawing is held.
func (p *progress) endBar(ok, remove bool) {
	if p.bar == nil {
		return
	}
	if ok {
		p.bar.SetTotal(-1, true) // what is done is all
	} else {
		p.bar.Abort(remove) // Wait would hang on a bar that is not full
	}
	p.bars.Wait()
	p.out.endBar()
	p.bar, p.bars = nil, nil
}

// pause takes the bar away for a question, until resume is called.
func (p *progress) pause() (resume func()) {
	p.drawing.Lock()
	defer p.drawing.Unlock()
	p.endBar(false, true)
	p.paused = true
	return func() {
		p.drawing.Lock()
		defer p.drawing.Unlock()
		p.paused = false
	}
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

// unlessChecking leaves a bar out while it is not what there is to see.
func (p *progress) unlessChecking(bar mpb.BarFiller) mpb.BarFiller {
	return mpb.BarFillerFunc(func(w io.Writer, s decor.Statistics) error {
		p.mu.Lock()
		checking := p.checking >= 0
		p.mu.Unlock()
		if checking {
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
	const start = "\r"
	if p.checking >= 0 {
		return start + fit(p.checkText(), max(8, s.AvailableWidth-1))
	}
	label := p.label(max(leastName, s.AvailableWidth/4))
	if p.offer.Bytes < 0 {
		return start + label + "  " + size(s.Current)
	}
	return start + label + "  " + size(s.Total) + fmt.Sprintf(" %3d %%", percentOf(s.Current, s.Total))
}

// right is what stands after it.
func (p *progress) right(s decor.Statistics) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if s.Completed || s.Aborted || p.checking >= 0 {
		return ""
	}
	speed := fmt.Sprintf("%10s", rate(p.meter.rate(now)))
	if p.offer.Bytes < 0 {
		return speed
	}
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

func (o *output) startBar(b io.Writer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bar = b
}

func (o *output) endBar() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bar = nil
}
