package transfer

import (
	"iter"
	"time"
)

// File is one file of an offer.
type File struct {
	Name string // one path element that passed CheckName; Clean it for a terminal
	Size int64  // bytes
}

// Offer is what a sender wants to send.
type Offer struct {
	Files int   // how many, at least one
	Bytes int64 // of all of them together

	entries []entry
}

// All yields the offered files in the order in which they will come.
func (o Offer) All() iter.Seq[File] {
	return func(yield func(File) bool) {
		for _, e := range o.entries {
			if !yield(e.File) {
				return
			}
		}
	}
}

// Summary is what has been done, also when an error is returned with it.
type Summary struct {
	Files   int           // complete: on the receiver verified and in place, on the sender handed over
	Bytes   int64         // in these files
	Elapsed time.Duration // since the offer was accepted; zero if it was not
}

// Trace holds hooks that report progress. Each may be nil. They are called from
// the goroutine of Send or Receive, one at a time, and hold it up while they run.
type Trace struct {
	// Offer is called once, before Accept on the receiver, and on the sender when
	// it starts to wait for the other side's answer.
	Offer func(Offer)

	// Accepted is called when the offer has been accepted and data starts to flow.
	Accepted func()

	// File is called when a file starts.
	File func(File)

	// Progress is called at most 20 times a second, and once at the end, with the
	// bytes handled so far and those of the whole offer.
	Progress func(done, total int64)

	// FileDone is called when a file is complete, with its BLAKE3 hash, the one
	// that b3sum prints. On the receiver the file is verified and in place; on the
	// sender only Send's return says so.
	FileDone func(f File, hash [32]byte)
}

const progressEvery = 50 * time.Millisecond

// meter counts what is done and calls the hooks.
type meter struct {
	trace *Trace
	total int64
	done  int64
	sum   Summary
	start time.Time
	last  time.Time
}

func newMeter(t *Trace) meter {
	if t == nil {
		t = new(Trace)
	}
	return meter{trace: t}
}

func (m *meter) offer(files []entry, total int64) Offer {
	m.total = total
	o := Offer{Files: len(files), Bytes: total, entries: files}
	if m.trace.Offer != nil {
		m.trace.Offer(o)
	}
	return o
}

func (m *meter) accepted() {
	m.start = time.Now()
	if m.trace.Accepted != nil {
		m.trace.Accepted()
	}
}

func (m *meter) file(f File) {
	if m.trace.File != nil {
		m.trace.File(f)
	}
}

func (m *meter) add(n int) {
	m.done += int64(n)
	if m.trace.Progress == nil {
		return
	}
	if now := time.Now(); now.Sub(m.last) >= progressEvery {
		m.last = now
		m.trace.Progress(m.done, m.total)
	}
}

func (m *meter) fileDone(f File, hash [32]byte) {
	m.sum.Files++
	m.sum.Bytes += f.Size
	if m.trace.FileDone != nil {
		m.trace.FileDone(f, hash)
	}
}

// finish reports the last progress of a whole transfer.
func (m *meter) finish() {
	if m.trace.Progress != nil {
		m.trace.Progress(m.done, m.total)
	}
}

func (m *meter) summary() Summary {
	if !m.start.IsZero() {
		m.sum.Elapsed = time.Since(m.start)
	}
	return m.sum
}
