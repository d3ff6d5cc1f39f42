// Package progress counts what a transfer has done and tells whoever wants to know.
package progress

import (
	"sync"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/wire"
)

const (
	every = 50 * time.Millisecond // between one report and the next

	// MaxListed bounds how many failures are kept with their names.
	MaxListed = 1000
)

// File is a file, folder or link.
type File struct {
	Name string
	Size int64 // -1 if nobody knows
	Dir  bool
}

// NewFile is the file of an entry.
func NewFile(e *manifest.Entry) File {
	return File{Name: e.Path, Size: e.Size, Dir: e.Type == manifest.Dir}
}

// Failure is a file that was given up.
type Failure struct {
	Name string
	Err  error
}

// Sum is what has been done.
type Sum struct {
	Files    int
	Bytes    int64
	Sent     int64
	Received int64
	There    int64
	Came     int64
	Heard    bool
	Elapsed  time.Duration
}

// Hooks are what package transfer has in its Trace. Each may be nil.
type Hooks struct {
	Offer    func(o *wire.Offer, resumable int64)
	Accepted func()
	Resumed  func(bytes int64)
	Checking func(done, total int64)
	File     func(File)
	Progress func(done, total int64)
	FileDone func(f File, hash [32]byte)
	Failed   func(Failure)
	Streams  func(n int)
}

// Meter counts what is done and calls the hooks. It is for any number of goroutines.
type Meter struct {
	mu       sync.Mutex // held while a hook runs: one at a time
	hooks    Hooks
	total    int64 // bytes of the offer
	done     int64 // bytes that are at the receiver
	before   int64 // of these, what was there
	begun    bool  // Resumed was called, or there was nothing to say
	failures int
	list     []Failure
	sum      Sum
	start    time.Time
	last     time.Time // of Progress
	checked  time.Time // of Checking
	streams  int       // told by Streams
}

// New makes a Meter.
func New(h Hooks) *Meter { return &Meter{hooks: h} }

// Offer is called before the other one is asked.
func (m *Meter) Offer(o *wire.Offer, resumable int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.total = o.Totals.Bytes
	if m.hooks.Offer != nil {
		m.hooks.Offer(o, resumable)
	}
}

// Accepted starts the clock.
func (m *Meter) Accepted() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.start = time.Now()
	if m.hooks.Accepted != nil {
		m.hooks.Accepted()
	}
}

// Moved counts data that went over the wire.
func (m *Meter) Moved(sent, received int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sum.Sent += int64(sent)
	m.sum.Received += int64(received)
}

// There counts bytes that were at the receiver.
func (m *Meter) There(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.before += n
	m.add(n)
}

// Begin is called before data, each time.
func (m *Meter) Begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.resumed()
}

func (m *Meter) resumed() {
	if m.begun {
		return
	}
	m.begun = true
	if m.before > 0 && m.hooks.Resumed != nil {
		m.hooks.Resumed(m.before)
	}
}

// Add counts bytes that have come to the receiver.
func (m *Meter) Add(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.add(n)
}

func (m *Meter) add(n int64) {
	m.done += n
	if m.hooks.Progress == nil {
		return
	}
	if now := time.Now(); now.Sub(m.last) >= every {
		m.last = now
		m.hooks.Progress(m.done, m.total)
	}
}

// Left is how much of the offer is not at the receiver, -1 if nobody knows.
func (m *Meter) Left() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.total < 0 {
		return -1
	}
	return m.total - m.done
}

// Checking tells how much of a file has been compared.
func (m *Meter) Checking(done, total int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hooks.Checking == nil {
		return
	}
	if now := time.Now(); now.Sub(m.checked) >= every || done == total {
		m.checked = now
		m.hooks.Checking(done, total)
	}
}

// File tells that a file begins.
func (m *Meter) File(f File) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hooks.File != nil {
		m.hooks.File(f)
	}
}

// Done counts a complete file; hash is nil if it did not need to be sent.
func (m *Meter) Done(f File, hash *tree.Hash) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sum.Files++
	m.sum.Bytes += f.Size
	if hash != nil && m.hooks.FileDone != nil {
		m.hooks.FileDone(f, *hash)
	}
}

// Skip counts a file that is there. An empty one is reported as if it had been sent.
func (m *Meter) Skip(e *manifest.Entry) {
	f := NewFile(e)
	if e.Size > 0 {
		m.There(e.Size)
		m.Done(f, nil)
		return
	}
	m.File(f)
	nothing := tree.Block(nil)
	m.Done(f, &nothing)
}

// Failed reports a failure and keeps it.
func (m *Meter) Failed(name string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := Failure{Name: name, Err: err}
	m.failures++
	if len(m.list) < MaxListed {
		m.list = append(m.list, f)
	}
	if m.hooks.Failed != nil {
		m.hooks.Failed(f)
	}
}

// Failures are the first ones that were reported, and how many there were.
func (m *Meter) Failures() (list []Failure, count int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.list, m.failures
}

// Streams tells how many connections there are.
func (m *Meter) Streams(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n <= m.streams {
		return // several are made at once, and a later one was told first
	}
	m.streams = n
	if m.hooks.Streams != nil {
		m.hooks.Streams(n)
	}
}

// Counted corrects the sum to what the other side has counted.
func (m *Meter) Counted(files int, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sum.Files, m.sum.Bytes = files, bytes
}

// Finish reports the last progress of a whole transfer.
func (m *Meter) Finish() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.resumed()
	if m.hooks.Progress != nil {
		m.hooks.Progress(m.done, m.total)
	}
}

// Sum is what has been done until now.
func (m *Meter) Sum() Sum {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.start.IsZero() {
		m.sum.Elapsed = time.Since(m.start)
	}
	m.sum.There, m.sum.Came = m.before, m.done-m.before
	return m.sum
}
