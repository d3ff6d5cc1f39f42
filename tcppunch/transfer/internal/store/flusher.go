package store

import (
	"context"
	"sync"
)

const (
	// flushStep is how many bytes of a file are put on the disk at a time, at least, while more
	// come. Telling the kernel to begin with writing is not enough: what it hands to the drive
	// may stay in the drive's own cache until a sync, which then takes as long as all of the
	// file.
	flushStep = 8 << 20
	// maxUnflushed is how far the disk may be behind with one file, and about how much
	// whoever stops has to wait for.
	maxUnflushed = 8 * flushStep
)

// A flusher has the disk keep up with a file that is written. Its goroutine lives while a
// sync is under way.
type flusher struct {
	sync func() error // makes durable what was written before; one call at a time

	mu      sync.Mutex
	next    chan struct{} // closed when a sync has ended
	waiting int64         // bytes written and not part of a sync
	under   int64         // bytes of the sync under way
	running bool
	ended   bool
	err     error // of a sync: the kernel reports it once, and not to a later one
}

// newFlusher makes one that does nothing if sync is nil.
func newFlusher(sync func() error) *flusher {
	return &flusher{sync: sync, next: make(chan struct{})}
}

// wrote is called when n bytes were written. It returns the error of any sync.
func (f *flusher) wrote(n int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting += n
	if f.sync != nil && !f.running && !f.ended && f.err == nil && f.waiting >= flushStep {
		f.running = true
		go f.run()
	}
	return f.err
}

func (f *flusher) run() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.err == nil && !f.ended && f.waiting >= flushStep {
		f.under, f.waiting = f.waiting, 0
		f.mu.Unlock()
		err := f.sync()
		f.mu.Lock()
		f.under, f.err = 0, err
		f.tell()
	}
	f.running = false
	f.tell()
}

// tell ends the waits. The lock is held.
func (f *flusher) tell() {
	close(f.next)
	f.next = make(chan struct{})
}

// pace waits while the disk is too far behind, until ctx ends.
func (f *flusher) pace(ctx context.Context) {
	f.wait(ctx.Done(), func() bool { return f.err == nil && f.waiting+f.under > maxUnflushed })
}

// end waits for the sync under way, after which there is none, and returns the error of any.
func (f *flusher) end() error {
	f.mu.Lock()
	f.ended = true
	f.mu.Unlock()
	f.wait(nil, func() bool { return true })
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// wait waits as long as a sync is under way and more holds.
func (f *flusher) wait(done <-chan struct{}, more func() bool) {
	for {
		f.mu.Lock()
		next, on := f.next, f.running && more()
		f.mu.Unlock()
		if !on {
			return
		}
		select {
		case <-next:
		case <-done:
			return
		}
	}
}
