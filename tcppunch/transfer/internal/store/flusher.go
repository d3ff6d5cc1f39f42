package store

import "sync"

const (
	// flushStep is how many bytes of a file are put on the disk at a time while more come.
	// Telling the kernel to begin with writing is not enough: what it hands to the drive may
	// stay in the drive's own cache until a sync, which then takes as long as all of the file.
	flushStep = 32 << 20
	// maxUnflushed is how far the disk may be behind: so the end comes soon after the last
	// byte, and what a person sees on the way is true.
	maxUnflushed = 4 * flushStep
)

// A flusher has the disk keep up with the one file that is written. Its goroutine lives
// while a sync is under way.
type flusher struct {
	sync func() error // makes durable what was written before; one call at a time

	mu      sync.Mutex
	changed sync.Cond
	waiting int64 // bytes written and not part of a sync
	under   int64 // bytes of the sync under way
	running bool
	err     error // of a sync: the kernel reports it once, and not to a later one
}

func newFlusher(sync func() error) *flusher {
	f := &flusher{sync: sync}
	f.changed.L = &f.mu
	return f
}

// wrote is called for n bytes that were written. It waits while the disk is too far
// behind, and returns the error of any sync.
func (f *flusher) wrote(n int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting += n
	if !f.running && f.err == nil && f.waiting >= flushStep {
		f.running = true
		go f.run()
	}
	for f.running && f.err == nil && f.waiting+f.under > maxUnflushed {
		f.changed.Wait()
	}
	return f.err
}

func (f *flusher) run() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.err == nil && f.waiting >= flushStep {
		f.under, f.waiting = f.waiting, 0
		f.mu.Unlock()
		err := f.sync()
		f.mu.Lock()
		f.under, f.err = 0, err
		f.changed.Broadcast()
	}
	f.running = false
	f.changed.Broadcast()
}

// end waits for the sync under way, and returns the error of any. Nothing may be written
// meanwhile.
func (f *flusher) end() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.running {
		f.changed.Wait()
	}
	return f.err
}
