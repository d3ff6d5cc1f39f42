package main

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"

	"github.com/tcppunch/tcppunch/tcppunch/transfer"
)

const (
	eventEvery = 250 * time.Millisecond // between progress events
	lineEvery  = 5 * time.Second        // between plain lines
	eachDone   = 20                     // files of an offer up to which each gets a plain line
)

// progress shows how far a session is, over all of its connections: a bar on a terminal,
// plain lines elsewhere, and events.
type progress struct {
	out     *output
	sending bool

	drawing sync.Mutex    // held over what waits for the bar, whose decorators take mu
	bars    *mpb.Progress // of the bar; guarded by drawing
	bar     *mpb.Bar      // nil while none is drawn; guarded by drawing
	paused  bool          // a question is on the screen; guarded by drawing

	mu        sync.Mutex  // guards all below
	patience  *time.Timer // runs while the other side has the offer
	meter     meter
	offer     transfer.Offer
	offered   bool
	name      string // of the file under way
	current   int    // files that have begun; -1 if some had before this program
	bytes     int64  // that are at the receiver by now
	checking  int64  // percent of what is here already that has been read; -1: nothing is read
	lastEvent time.Time
	lastLine  time.Time
	began     time.Time // when the offer was first accepted
	moved     int64     // bytes that went over the wire in earlier connections
	came      int64     // bytes of files that these brought
	there     int64     // bytes of files that were at the receiver before this program
	complete  int64     // bytes of complete files: the length of a stream
	failures  failures
	all       *transfer.Policy // what to do with all files that exist and differ, once that was said
}

func newProgress(out *output, sending bool) *progress {
	return &progress{out: out, sending: sending, checking: -1}
}

// trace returns the hooks for one connection of a session.
func (p *progress) trace(s *session) *transfer.Trace {
	return &transfer.Trace{
		Offer:    func(o transfer.Offer) { s.offered(); p.offers(o) },
		Accepted: p.accepted, Resumed: p.resumed, Checking: p.check, File: p.file, Progress: p.update,
		FileDone: p.fileDone, Failed: p.failed,
		Streams: func(n int) { p.out.detail("%s", plural(n, "connection")) },
	}
}

// offers tells an offer, once: after a break the same one comes again.
func (p *progress) offers(o transfer.Offer) {
	p.mu.Lock()
	again := p.offered && p.offer.Digest == o.Digest
	p.offer, p.offered = o, true
	p.name = ""
	if p.sending {
		p.patience = time.AfterFunc(time.Second, func() { p.out.say("Waiting for the other side to accept …") })
	}
	p.mu.Unlock()
	if !again {
		p.out.event("offer", struct {
			Files int   `json:"files"`
			Bytes int64 `json:"bytes"` // -1: nobody knows
		}{o.Files, o.Bytes})
	}
}

func (p *progress) accepted() {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopPatience()
	p.meter = meter{}
	p.meter.add(now, 0)
	p.lastEvent, p.lastLine = now, now
	if p.began.IsZero() {
		p.began = now
	}
}

func (p *progress) stopPatience() {
	if p.patience != nil {
		p.patience.Stop()
	}
}

// resumed tells that not all begins anew.
func (p *progress) resumed(bytes int64) {
	p.mu.Lock()
	p.meter = meter{}
	p.meter.add(time.Now(), bytes)
	p.bytes = bytes
	if p.current == 0 {
		p.current = -1
	}
	total := p.offer.Bytes
	p.mu.Unlock()
	p.out.event("resumed", struct {
		Bytes int64 `json:"bytes"`
	}{bytes})
	if total > 0 {
		p.out.say("Going on at %d %%: %s of %s are %s already.", percentOf(bytes, total), size(bytes), size(total), p.where())
	} else {
		p.out.say("Going on: %s are %s already.", size(bytes), p.where())
	}
}

// check shows that what is there already is being read.
func (p *progress) check(done, total int64) {
	now := time.Now()
	p.mu.Lock()
	p.checking = percentOf(done, total)
	line := !p.out.tty && now.Sub(p.lastLine) >= lineEvery
	if line {
		p.lastLine = now
	}
	text := p.checkText()
	p.mu.Unlock()
	if line {
		p.out.say("%s", text)
	}
	p.draw()
}

func (p *progress) checkText() string {
	return fmt.Sprintf("checking what is %s already  %d %%", p.where(), p.checking)
}

// where is the receiver's place, as seen from here.
func (p *progress) where() string {
	if p.sending {
		return "there"
	}
	return "here"
}

// file starts a file.
func (p *progress) file(f transfer.File) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current >= 0 && p.current < p.offer.Files {
		p.current++
	}
	p.name = transfer.Clean(f.Name)
}

// leastName is how much of a name is worth showing.
const leastName = 8

// label is which file is under way, in so many columns. The mutex mu is held.
func (p *progress) label(width int) string {
	count := ""
	if p.offer.Files > 1 && p.current > 0 {
		count = fmt.Sprintf("%d/%d", p.current, p.offer.Files)
	}
	switch {
	case count == "":
		return fit(p.name, width)
	case width < len(count)+1+leastName:
		return count
	}
	return count + " " + fit(p.name, width-len(count)-1)
}

func (p *progress) update(done, total int64) {
	p.tell(done, total)
	p.draw()
}

// tell prints what is due. It does so without mu, which the bar's decorators
// take while the bar is drawn.
func (p *progress) tell(done, total int64) {
	now := time.Now()
	p.mu.Lock()
	p.bytes, p.checking = done, -1
	p.meter.add(now, done)
	speed := p.meter.rate(now)
	event := now.Sub(p.lastEvent) >= eventEvery || done == total
	if event {
		p.lastEvent = now
	}
	line := ""
	if !p.out.tty && now.Sub(p.lastLine) >= lineEvery && done != total {
		p.lastLine = now
		line = p.label(math.MaxInt32) + "  " + p.figures(now, done, total)
	}
	p.mu.Unlock()
	if event {
		p.progressEvent(done, total, speed)
	}
	if line != "" {
		p.out.say("%s", line)
	}
}

func (p *progress) progressEvent(done, total int64, speed float64) {
	p.out.event("progress", struct {
		Bytes int64   `json:"bytes"`
		Total int64   `json:"total"` // -1: nobody knows
		Rate  float64 `json:"rate"`  // bytes per second
	}{done, total, math.Round(speed)})
}

// fileDone gives every file of a pipe's output a line, unless there are many; a terminal
// has the bar.
func (p *progress) fileDone(f transfer.File, hash [32]byte) {
	p.mu.Lock()
	few := p.offer.Files <= eachDone
	p.mu.Unlock()
	if !p.out.tty && few {
		what := transfer.Clean(f.Name)
		if f.Size >= 0 {
			what += "  " + size(f.Size)
		}
		p.out.say("%s  done", what)
	}
	p.out.detail("blake3 %x  %s", hash, transfer.Clean(f.Name))
}

// figures is how far it is, in a plain line.
func (p *progress) figures(now time.Time, done, total int64) string {
	if total < 0 {
		return fmt.Sprintf("%s  %10s", size(done), rate(p.meter.rate(now)))
	}
	s := fmt.Sprintf("%s  %3d %%  %10s", size(total), percentOf(done, total), rate(p.meter.rate(now)))
	if left, ok := p.meter.left(now, total); ok && done < total {
		s += "  " + duration(left) + " left"
	}
	return s
}

// percentOf is how much of total is done; of nothing, all is.
func percentOf(done, total int64) int64 {
	if total <= 0 {
		return 100
	}
	return int64(float64(min(done, total)) / float64(total) * 100)
}

// end ends what is shown of one connection, with the error of its transfer, which it
// returns.
func (p *progress) end(sum transfer.Summary, err error) error {
	p.mu.Lock()
	p.stopPatience()
	p.moved += sum.Sent + sum.Received
	if p.came == 0 { // later, what this program has brought is there as well
		p.there = sum.There
	}
	p.came += sum.Came
	p.complete = max(p.complete, sum.Bytes) // where only the last word was missing there is nothing in it
	done, total, speed := p.bytes, p.offer.Bytes, p.meter.rate(time.Now())
	p.mu.Unlock()
	if err == nil && total < 0 { // the last one is known only now
		p.progressEvent(max(done, sum.Bytes), total, speed)
	}
	p.drawing.Lock()
	defer p.drawing.Unlock()
	p.endBar(err == nil, broken(err))
	return err
}

// done tells the end of a session in which all went well.
func (p *progress) done(verb string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	files, bytes := p.offer.Files, p.offer.Bytes
	if bytes < 0 {
		bytes = p.complete
	}
	var took time.Duration
	if !p.began.IsZero() {
		took = time.Since(p.began)
	}
	p.out.event("done", struct {
		Files   int     `json:"files"`
		Bytes   int64   `json:"bytes"`
		Seconds float64 `json:"seconds"`
		Moved   int64   `json:"moved"` // bytes that went over the wire in this run, after compression
	}{files, bytes, took.Seconds(), p.moved})
	what := fmt.Sprintf("%s %s, %s", verb, plural(files, "file"), size(bytes))
	if folders := p.offer.Entries - p.offer.Files; files == 0 && folders > 0 {
		what = fmt.Sprintf("%s %s", verb, plural(folders, "folder"))
	}
	now := max(0, bytes-p.there)
	if p.there > 0 {
		what += ", " + size(now) + " of it now,"
	}
	speed := ""
	if took > 0 && now > 0 {
		speed = " (" + rate(float64(now)/took.Seconds()) + ")"
	}
	p.out.say("%s in %s%s", what, duration(took), speed)
}
