package store

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
)

// File is one that is being received. Its methods may be called concurrently.
type File struct{ to target }

// target is where a file goes to: a folder or a pipe.
type target interface {
	has(ctx context.Context, n int64, h tree.Hash) (bool, error)
	write(n int64, data []byte) error
	zeros(n int64, size int) error
	commit(size int64)
	drop() error
	pace(ctx context.Context)
}

// Has reports whether block n of what is here is the one with the hash h. A block of
// the file that is to be replaced becomes one of the new file by it. Where only the
// times of two files of the same size differ, the first block that is not the same
// makes a conflict, which Has asks for or fails with.
func (f *File) Has(ctx context.Context, n int64, h tree.Hash) (bool, error) {
	return f.to.has(ctx, n, h)
}

// WriteBlock writes block n. All blocks but the last one have tree.BlockSize bytes, and
// what is written has been verified by the caller. A block that Has was to be asked
// for first, because perhaps there is nothing to write at all, is a violation of the
// protocol.
func (f *File) WriteBlock(n int64, data []byte) error { return f.to.write(n, data) }

// WriteZeros is WriteBlock of so many zeros. It leaves a hole where it can.
func (f *File) WriteZeros(n int64, size int) error { return f.to.zeros(n, size) }

// Pace waits, until ctx ends, while the disk is so far behind with the file that the end of
// it would take long. It is for whoever has written a block.
func (f *File) Pace(ctx context.Context) { f.to.pace(ctx) }

// Commit says that the file is complete: every block has been written, or Has was true
// for it. It gets exactly this size, its time, and, when it is durable, its name, after
// Commit has returned; then Options.Finished is called. The File is of no more use.
// Commit waits while the disk is hundreds of files behind.
func (f *File) Commit(size int64) { f.to.commit(size) }

// Drop closes the file and keeps its partial file. After Commit it does nothing.
func (f *File) Drop() error { return f.to.drop() }

// Partial reports whether what was written to f is in a partial file that will become
// the new one, so that its blocks are there as long as it is.
func (f *File) Partial() bool {
	h, ok := f.to.(*held)
	if !ok {
		return false
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.renews() && !h.closed
}

// Trusted reports whether f has the partial file that this Store has let go in an earlier
// run, and nobody has written to it since: what is remembered of its blocks is true.
func (f *File) Trusted() bool {
	h, ok := f.to.(*held)
	return ok && h.trusted && f.Partial()
}

// File opens the file i, which Place has answered Send or Check for, or returns it if
// it is open. An i that was not placed, and one file more than MaxOpen, are violations
// of the protocol; ErrBusy if another transfer is receiving this file.
func (s *Store) File(i int) (*File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.closedErr(); err != nil {
		return nil, err
	}
	it := s.placed[i]
	switch {
	case it == nil:
		return nil, fault.Protocol("a file that was not asked for")
	case it.open != nil:
		return &it.open.public, nil
	case s.open >= MaxOpen:
		return nil, fault.Protocol("too many files at a time")
	}
	f := &held{s: s, it: it, like: it.like}
	f.public.to = f
	if err := f.begin(); err != nil {
		return nil, err
	}
	f.trusted = s.left.same(it.e.Path, f.file)
	it.open = f
	s.open++
	return &f.public, nil
}

// Drop forgets that i was placed. If it is open, it is closed and its partial file kept.
func (s *Store) Drop(i int) error {
	s.mu.Lock()
	it := s.placed[i]
	s.mu.Unlock()
	if it == nil || !s.forget(it) {
		return nil
	}
	var err error
	if it.open != nil {
		err = it.open.close()
	}
	s.folders.finished(it.in)
	return err
}

// forget takes an item out of what was placed, and reports whether it was there.
func (s *Store) forget(it *item) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.placed[it.i] != it {
		return false
	}
	delete(s.placed, it.i)
	if it.open != nil {
		s.open--
	}
	return true
}

// held is an open file of a folder.
type held struct {
	s      *Store
	it     *item
	public File

	trusted  bool       // the partial file is as this Store has left it
	checking sync.Mutex // one Has at a time
	agreed   agreed     // of blocks of old while like

	end   atomic.Int64 // behind the last byte that is known of the file
	dirty atomic.Int64 // behind the last byte that is not a hole

	// mu is held for reading while the file is used, and for writing to change any
	// of these or to make the file longer without writing.
	mu      sync.RWMutex
	file    *os.File // the partial file, or nil
	flush   *flusher // of file
	old     *os.File // whose blocks may be the same, or nil
	like    bool     // nothing but blocks of old so far, and perhaps nothing to do
	settled bool     // it was there all the time, under a name with a number
	closed  bool
	size    int64 // as Commit said
}

// renews reports whether the partial file is to become the new one. mu is held, or
// Commit was called.
func (f *held) renews() bool { return f.file != nil && !f.like && !f.settled }

// begin opens what there is.
func (f *held) begin() error {
	h, err := f.s.folders.enter(f.it.in)
	if err != nil {
		return f.s.failed(f.it.e, "its folder cannot be opened", err)
	}
	defer f.s.folders.exit(f.it.in)
	if f.it.old != nil {
		old, err := openPlain(h, f.it.base, os.O_RDONLY)
		if err != nil && f.it.like {
			return f.s.failed(f.it.e, "cannot be compared", err)
		}
		f.old = old // else it is sent
	}
	if f.like {
		return nil
	}
	if err := f.create(h); err != nil {
		f.closeFiles()
		return err
	}
	return nil
}

// create opens or makes the partial file.
func (f *held) create(h *handle) error {
	file, size, err := openPartial(h, f.it.base, f.it.e.Mode)
	if err != nil {
		return f.s.failed(f.it.e, "cannot be created", err)
	}
	f.file = file
	f.flush = newFlusher(dataSync(file))
	f.s.folders.changed(f.it.in)
	raise(&f.end, size)
	raise(&f.dirty, size)
	return nil
}

func raise(a *atomic.Int64, to int64) {
	for {
		now := a.Load()
		if now >= to || a.CompareAndSwap(now, to) {
			return
		}
	}
}

// room checks that there is a block n of so many bytes, and says where it begins.
func (f *held) room(n int64, size int) (int64, error) {
	e := &f.it.e
	switch {
	case n < 0 || n >= manifest.MaxBytes/tree.BlockSize,
		size <= 0 || size > tree.BlockSize,
		e.Type == manifest.File && (n >= tree.Blocks(e.Size) || int64(size) != tree.SizeOf(e.Size, n)):
		return 0, &fault.Failure{Kind: fault.ErrProtocol, Name: e.Path, Text: "a block that does not fit the file"}
	}
	return n * tree.BlockSize, nil
}

// usable says why there is nothing to write to. mu is held.
func (f *held) usable() error {
	if f.file == nil && !f.closed {
		return &fault.Failure{Kind: fault.ErrProtocol, Name: f.it.e.Path, Text: "a block that was not asked for"}
	}
	return f.closedErr()
}

// closedErr is for after Commit and Drop. mu is held.
func (f *held) closedErr() error {
	if f.closed {
		return &fault.Failure{Name: f.it.e.Path, Cause: net.ErrClosed}
	}
	return nil
}

func (f *held) write(n int64, data []byte) error {
	off, err := f.room(n, len(data))
	if err != nil {
		return err
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	if err := f.usable(); err != nil {
		return err
	}
	return f.put(off, data)
}

// put writes to the partial file. mu is held for reading.
func (f *held) put(off int64, data []byte) error {
	raise(&f.dirty, off+int64(len(data))) // first, as some may be written where all is not
	if _, err := f.file.WriteAt(data, off); err != nil {
		return f.unwritten(err)
	}
	raise(&f.end, off+int64(len(data)))
	return f.unwritten(f.flush.wrote(int64(len(data))))
}

func (f *held) unwritten(err error) error {
	if err == nil {
		return nil
	}
	return f.s.failed(f.it.e, "cannot be written", err)
}

// synced passes on the result of a sync. What the disk did not take can be read for a while
// all the same, and whoever asks next is told of no error: so nothing of it is kept.
func (f *held) synced(err error) error {
	if err != nil {
		_ = f.file.Truncate(0) // if that fails too, there is no more to be done
	}
	return f.unwritten(err)
}

func (f *held) zeros(n int64, size int) error {
	off, err := f.room(n, size)
	if err != nil {
		return err
	}
	f.mu.Lock() // so that making it longer cannot make it shorter than what is written meanwhile
	defer f.mu.Unlock()
	if err := f.usable(); err != nil {
		return err
	}
	return f.putZeros(off, int64(size))
}

// putZeros is put of zeros. mu is held for writing.
func (f *held) putZeros(off, size int64) error {
	end := off + size
	if off < f.dirty.Load() && !punch(f.file, off, size) {
		return f.put(off, make([]byte, size))
	}
	if end > f.end.Load() {
		if err := f.file.Truncate(end); err != nil {
			return f.unwritten(err)
		}
		f.end.Store(end)
	}
	return nil
}

func (f *held) has(ctx context.Context, n int64, h tree.Hash) (bool, error) {
	e := &f.it.e
	size := int64(tree.BlockSize)
	if e.Type == manifest.File && n >= 0 {
		size = tree.SizeOf(e.Size, n)
	}
	if _, err := f.room(n, int(max(size, 0))); err != nil {
		return false, err
	}
	f.checking.Lock()
	defer f.checking.Unlock()
	buf := f.s.blocks.Get().(*[tree.BlockSize]byte)
	defer f.s.blocks.Put(buf)
	data := buf[:size]
	f.mu.RLock()
	like, settled, closed := f.like, f.settled, f.closed
	f.mu.RUnlock()
	switch {
	case closed:
		return false, f.closedErr()
	case settled:
		return true, nil
	case like:
		if there, err := f.compare(n, data, h); there || err != nil {
			return there, err
		}
		if err := f.disagree(ctx, buf); err != nil {
			return false, err
		}
	}
	return f.find(n, data, h)
}

// compare is has while only the time of the file that is there differs.
func (f *held) compare(n int64, data []byte, h tree.Hash) (bool, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.closed {
		return false, f.closedErr()
	}
	got, err := f.old.ReadAt(data, n*tree.BlockSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, f.s.failed(f.it.e, "cannot be compared", err)
	}
	if got < len(data) || tree.Block(data) != h {
		return false, nil
	}
	f.agreed.add(n, h)
	return true, nil
}

// find is has once it is clear that there will be a new file.
func (f *held) find(n int64, data []byte, h tree.Hash) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.settled {
		return !f.closed, f.closedErr()
	}
	off := n * tree.BlockSize
	for _, from := range []*os.File{f.file, f.old} {
		if from == nil {
			continue
		}
		got, err := from.ReadAt(data, off)
		stream := f.it.e.Type == manifest.Stream && got > 0
		if err != nil && !errors.Is(err, io.EOF) || got < len(data) && !stream || tree.Block(data[:got]) != h {
			continue // what cannot be read is sent
		}
		if from == f.old {
			return true, f.keep(off, data[:got])
		}
		return true, nil
	}
	return false, nil
}

// keep copies a block of old into the partial file. mu is held for writing.
func (f *held) keep(off int64, data []byte) error {
	if tree.IsZero(data) {
		return f.putZeros(off, int64(len(data)))
	}
	return f.put(off, data)
}

func (f *held) commit(size int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || !f.s.forget(f.it) {
		return
	}
	f.closed = true
	f.size = size
	f.s.commits.add(f.s, f)
}

func (f *held) drop() error { return f.s.Drop(f.it.i) }

func (f *held) pace(ctx context.Context) {
	f.mu.RLock()
	flush := f.flush
	f.mu.RUnlock()
	if flush != nil {
		flush.pace(ctx)
	}
}

// close keeps the partial file.
func (f *held) close() error {
	f.mu.Lock()
	f.closed = true
	flush := f.flush
	f.mu.Unlock()
	var err error
	if flush != nil { // without the lock, as it takes the time of the disk
		err = f.synced(flush.end())
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil && f.renews() {
		f.s.left.note(f.it.e.Path, f.file)
	}
	return cmp.Or(err, f.closeFiles())
}

func (f *held) closeFiles() (err error) {
	if f.file != nil {
		_ = f.flush.end() // who wants to know has asked before
		err = f.unwritten(f.file.Close())
	}
	if f.old != nil {
		f.old.Close()
	}
	return err
}
