package receiver

import (
	"bufio"
	"context"
	"io"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/link"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/press"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/progress"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/wire"
)

// task is a block that has come and is to be verified and written.
type task struct {
	block    wire.Block
	file     *inFile // nil for a file of one block
	look     bool    // it may be there already
	from, to int     // where its data is in the batch
}

// batch is one large block or several small ones: so the goroutines that write need not
// be woken for each.
type batch struct {
	*link.Chunk
	tasks []task
}

const maxTasks = 1024 // in a batch: blocks of zeros have no data

// takeBlock reads a block into a batch. Small ones are put together: they are passed on
// when no more of them can be read at once.
func (r *feed) takeBlock(n int, rd *bufio.Reader) error {
	if n < wire.BlockHeadSize {
		return fault.Protocol("block is malformed")
	}
	if _, err := io.ReadFull(rd, r.head[:]); err != nil {
		return err
	}
	n -= wire.BlockHeadSize
	h, err := wire.ParseBlock(r.head[:], n)
	if err != nil {
		return err
	}
	t, ok, err := r.admit(&h)
	if err != nil {
		return err
	}
	if !ok {
		r.count(&h)
		_, err := rd.Discard(n)
		return err
	}
	if r.batch != nil && (n > rd.Buffered() || n > r.batch.Room() || len(r.batch.tasks) == maxTasks) {
		r.Idle()
	}
	if r.batch == nil {
		if r.batch, err = r.newBatch(); err != nil {
			return err
		}
	}
	b := r.batch
	t.from, t.to = len(b.B), len(b.B)+n
	b.B = b.B[:t.to]
	if _, err := io.ReadFull(rd, b.B[t.from:]); err != nil {
		return err
	}
	r.meter.Moved(0, n)
	b.tasks = append(b.tasks, t)
	return nil
}

// admit lets a block come, if it may.
func (r *feed) admit(h *wire.Block) (task, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.accepted || r.ended && r.main {
		return task{}, false, link.Unexpected(wire.BlockKind)
	}
	return r.claim(h)
}

// newBatch waits for a buffer, and so for the workers: that is what slows the other side
// down to the speed of the disk.
func (r *receiver) newBatch() (*batch, error) {
	select {
	case b := <-r.free:
		if b == nil {
			b = &batch{Chunk: link.NewChunk()}
		}
		return b, nil
	case <-r.sess.Ctx.Done():
		return nil, context.Cause(r.sess.Ctx)
	}
}

// Idle passes on what has been put together.
func (r *feed) Idle() {
	if b := r.batch; b != nil {
		r.batch = nil
		r.work <- b
	}
}

// workLoop verifies and writes blocks, also when the session has stopped, until all that
// has come is dealt with.
func (r *receiver) workLoop() {
	var z press.Decompressor
	defer z.Close()
	for b := range r.work {
		for i := range b.tasks {
			r.do(&b.tasks[i], b.B, &z)
		}
		clear(b.tasks)
		b.B, b.tasks = b.B[:0], b.tasks[:0]
		r.free <- b
	}
}

func (r *receiver) do(t *task, all []byte, z *press.Decompressor) {
	h := &t.block
	data := all[t.from:t.to]
	var err error
	if h.Flags == wire.FlagZstd {
		if data, err = z.Open(data, h.Size); err != nil {
			r.sess.Stop(err)
			return
		}
	}
	if !verify(h, data) {
		r.sess.Stop(&fault.Failure{Kind: fault.ErrHash, Name: r.nameOf(h.Index)})
		return
	}
	if err := r.write(t, data); err != nil {
		r.fail(h.Index, err)
	} else if after, err := r.wrote(t); err != nil {
		r.sess.Stop(err)
	} else if after != nil {
		after()
	}
	r.count(h)
}

// verify reports whether the data of a block has the hash that it came with.
func verify(h *wire.Block, data []byte) bool {
	switch {
	case h.Flags != wire.FlagZero:
		return tree.Block(data) == h.Hash
	case h.Size == tree.BlockSize:
		return tree.ZeroBlock() == h.Hash
	}
	return tree.Block(make([]byte, h.Size)) == h.Hash
}

func (r *receiver) nameOf(i uint32) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p, at := r.entry(i); p != nil {
		return p.entries[at].Path
	}
	return ""
}

// write puts a block where it belongs, unless it is there.
func (r *receiver) write(t *task, data []byte) error {
	h := &t.block
	r.begin(t)
	sf, err := r.dst.Sink.File(int(h.Index))
	if err != nil {
		return err
	}
	if t.look {
		if there, err := sf.Has(r.sess.Ctx, h.Number, h.Hash); there || err != nil {
			return err
		}
	}
	if h.Flags == wire.FlagZero {
		return sf.WriteZeros(h.Number, h.Size)
	}
	if err := sf.WriteBlock(h.Number, data); err != nil {
		return err
	}
	sf.Pace(r.sess.Ctx)
	return nil
}

// begin tells the hooks of the first block of a file.
func (r *receiver) begin(t *task) {
	var f progress.File
	r.mu.Lock()
	first := t.file == nil || !t.file.begun
	if t.file != nil {
		t.file.begun = true
	}
	if p, at := r.entry(t.block.Index); p != nil {
		f = progress.NewFile(&p.entries[at])
	}
	r.mu.Unlock()
	r.meter.Begin()
	if first {
		r.meter.File(f)
	}
}

// wrote notes that a block is in place, and returns what is to be done then.
func (r *receiver) wrote(t *task) (after func(), err error) {
	r.meter.Add(int64(t.block.Size))
	r.mu.Lock()
	defer r.mu.Unlock()
	i := t.block.Index
	if t.file == nil {
		p, at := r.entry(i)
		if p == nil || r.gone.Has(i) {
			return nil, nil
		}
		return r.leave(p, at, p.entries[at].Size, t.block.Hash), nil
	}
	if t.file.over {
		return nil, nil
	}
	r.inPlace(t.file, t.block.Number, t.block.Hash, !t.look)
	return r.complete(t.file)
}

// inPlace notes that a block is stored; partial says that it is in the partial file, so
// that it need not be read again after a break. The lock is held.
func (r *receiver) inPlace(f *inFile, n int64, h tree.Hash, partial bool) {
	f.stored++
	if partial {
		r.dst.add(f.kept, n, h)
	}
	if f.e.Type == manifest.Stream {
		f.inOrder.add(n)
		r.ack.Prefix = f.inOrder.next
	}
}

// complete finds out whether a file is, and whether it is the right one. The lock is
// held.
func (r *receiver) complete(f *inFile) (after func(), err error) {
	single := f.e.Type == manifest.File && f.blocks == 1
	if f.over || f.stored != f.blocks || f.root == nil && !single {
		return nil, nil
	}
	root := f.merger.Root()
	if f.root != nil && *f.root != root {
		return nil, &fault.Failure{Kind: fault.ErrHash, Name: f.e.Path}
	}
	size := f.e.Size
	if f.e.Type == manifest.Stream {
		size = f.size
	}
	f.over = true
	delete(r.files, f.index)
	p, at := r.entry(f.index)
	return r.leave(p, at, size, root), nil
}

// leave has a complete file put in place. The lock is held, but not by what it returns.
func (r *receiver) leave(p *recvPage, at int, size int64, root tree.Hash) func() {
	i := uint32(p.first + at)
	p.state[at] = leaving
	r.leaving[i] = wire.File{Index: i, Size: size, Root: root}
	return func() {
		sf, err := r.dst.Sink.File(int(i))
		if err != nil {
			r.fail(i, err)
		} else {
			sf.Commit(size)
		}
		r.mu.Lock()
		r.awaited-- // not before: Flush is called when nothing is awaited
		r.mu.Unlock()
		poke(r.wake)
	}
}

// count counts a block that has been dealt with, whatever has become of it.
func (r *receiver) count(h *wire.Block) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ack.Frames++
	r.ack.Bytes += int64(h.Size)
	if r.ackDue += h.Size; r.ackDue >= ackBytes {
		r.ackDue = 0
		poke(r.ackWake)
	}
}
