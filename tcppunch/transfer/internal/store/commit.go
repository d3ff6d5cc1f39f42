package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/name"
)

const (
	batchFiles = 512      // each stays open
	batchBytes = 64 << 20 // so that nobody waits for Finished too long
	queueFiles = 128
	// fewFiles are made durable one by one: one call for all waits for what other
	// programs have written, too.
	fewFiles = 8
	// linger is how long a batch waits for more when none come.
	linger = 20 * time.Millisecond
)

// committer finishes files in batches. Its goroutine lives as long as there are any.
type committer struct {
	queue chan *held
	hurry chan struct{} // ends one wait for more files

	mu      sync.Mutex
	count   int           // committed and not finished
	idle    chan struct{} // closed when count is 0
	waiting int           // in wait
}

func (c *committer) start() {
	c.queue = make(chan *held, queueFiles)
	c.hurry = make(chan struct{}, 1)
}

// add takes a file that is complete.
func (c *committer) add(s *Store, f *held) {
	c.mu.Lock()
	c.count++
	if c.count == 1 {
		c.idle = make(chan struct{})
		go c.run(s)
	}
	c.mu.Unlock()
	c.queue <- f
}

// wait waits until all is finished.
func (c *committer) wait(ctx context.Context) error {
	c.mu.Lock()
	idle := c.idle
	if c.count == 0 {
		c.mu.Unlock()
		return nil
	}
	c.waiting++
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.waiting--
		c.mu.Unlock()
	}()
	select {
	case c.hurry <- struct{}{}:
	default:
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *committer) run(s *Store) {
	for {
		batch := c.gather()
		s.finishAll(batch)
		c.mu.Lock()
		c.count -= len(batch)
		if c.count == 0 {
			close(c.idle)
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
	}
}

// gather takes a batch from the queue; there is something to come.
func (c *committer) gather() []*held {
	batch := []*held{<-c.queue}
	bytes := batch[0].size
	for len(batch) < batchFiles && bytes < batchBytes {
		f := c.next()
		if f == nil {
			break
		}
		batch = append(batch, f)
		bytes += f.size
	}
	return batch
}

// next takes one more file, or nil if none comes for a while or somebody waits.
func (c *committer) next() *held {
	select {
	case f := <-c.queue:
		return f
	default:
	}
	c.mu.Lock()
	hurry := c.waiting > 0
	c.mu.Unlock()
	if hurry {
		return nil
	}
	late := time.NewTimer(linger)
	defer late.Stop()
	select {
	case f := <-c.queue:
		return f
	case <-c.hurry:
	case <-late.C:
	}
	return nil
}

// finishAll makes a batch durable and gives each file its name.
func (s *Store) finishAll(batch []*held) {
	errs := make([]error, len(batch))
	handles := make([]*handle, len(batch))
	for k, f := range batch {
		h, err := s.folders.enter(f.it.in)
		if err != nil {
			errs[k] = s.failed(f.it.e, "its folder cannot be opened", err)
			continue
		}
		handles[k] = h
		if f.renews() {
			if errs[k] = f.synced(f.flush.end()); errs[k] == nil {
				errs[k] = s.seal(h, f.it, f.file, f.size)
			}
		}
	}
	s.syncBatch(batch, errs)
	for k, f := range batch {
		if errs[k] == nil {
			errs[k] = s.conclude(handles[k], f)
		}
		if handles[k] != nil {
			s.folders.exit(f.it.in)
		}
		if err := f.closeFiles(); errs[k] == nil {
			errs[k] = err
		}
		s.folders.finished(f.it.in)
		s.mu.Lock()
		finished := s.opt.Finished
		s.mu.Unlock()
		if finished != nil {
			finished(f.it.i, f.it.e, errs[k])
		}
	}
}

// seal gives a file its size and its time.
func (s *Store) seal(h *handle, it *item, file *os.File, size int64) error {
	info, err := file.Stat()
	if err == nil && info.Size() != size {
		err = file.Truncate(size)
	}
	if err != nil {
		return s.failed(it.e, "cannot be written", err)
	}
	if t := it.e.ModTime; saneTime(t) {
		_ = setTime(h, name.Partial(it.base), file, t) // some file systems cannot: no reason to fail
	}
	return nil
}

// syncBatch makes the content of a batch durable.
func (s *Store) syncBatch(batch []*held, errs []error) {
	var left []int
	for k, f := range batch {
		if errs[k] == nil && f.renews() {
			left = append(left, k)
		}
	}
	if len(left) > fewFiles && s.syncTop() {
		rest := left[:0]
		for _, k := range left {
			if batch[k].it.in.device != s.folders.top.device {
				rest = append(rest, k)
			}
		}
		left = rest
	}
	for j, k := range left {
		f := batch[k]
		durable := syncLight
		if j == len(left)-1 {
			durable = (*os.File).Sync
		}
		errs[k] = f.synced(durable(f.file))
	}
}

// syncTop makes all of the file system durable, and reports whether it could.
func (s *Store) syncTop() bool {
	h, err := s.folders.enter(&s.folders.top)
	if err != nil {
		return false
	}
	defer s.folders.exit(&s.folders.top)
	return syncAll(h) == nil // else each file by itself tells which one is concerned
}

// conclude gives a durable file its name.
func (s *Store) conclude(h *handle, f *held) error {
	switch {
	case f.settled:
		clearPartial(h, f.it.base, f.file)
		return nil
	case f.like:
		if err := f.touch(h); err != nil {
			return err
		}
		clearPartial(h, f.it.base, f.file)
		return nil
	}
	return s.rename(h, f.it)
}

// rename gives what has the hidden name its own.
func (s *Store) rename(h *handle, it *item) error {
	hidden, to := name.Partial(it.base), it.base
	number := it.number
	for tries := 0; ; tries++ {
		var err error
		if it.rename {
			var there bool
			if number, there, err = s.freeName(h, it, max(number, 2)); err != nil {
				return err
			}
			if there { // it is there, under a number
				_ = h.root.Remove(hidden)
				return nil
			}
			to = numbered(it.base, number)
		}
		err = renameOne(h, hidden, to, it.replace)
		switch {
		case err == nil:
			s.folders.changed(it.in)
			return nil
		case !errors.Is(err, fs.ErrExist):
			return s.failed(it.e, "cannot be named", err)
		case !s.numbers(it) || tries > maxNumber:
			return exists(it.e, "it appeared meanwhile")
		}
	}
}

// numbers reports whether a file whose name was taken meanwhile gets a number.
func (s *Store) numbers(it *item) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	it.rename = it.rename || !it.replace && s.opt.Ask == nil && s.opt.Exists == Rename
	return it.rename
}

// renameOne replaces a file or a link, if it may, and nothing else.
func renameOne(h *handle, from, to string, replace bool) error {
	if replace {
		info, err := h.root.Lstat(to)
		if err == nil && !info.Mode().IsRegular() && info.Mode().Type() != fs.ModeSymlink {
			return fs.ErrExist
		}
		if err == nil {
			return h.root.Rename(from, to)
		}
	}
	return renameNew(h, from, to)
}
