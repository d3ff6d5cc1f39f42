package link

import (
	"context"
	"sync/atomic"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/wire"
)

const (
	// MaxChunks is how many buffers of 1 MiB there are on either side: one is filled, one
	// is written for each connection, the others wait in between.
	MaxChunks = 6
	// MaxStreams bounds the connections of one transfer. Each further one brings a buffer.
	MaxStreams = 32

	// HeadSize is what stands before the data of a block.
	HeadSize = wire.HeaderSize + wire.BlockHeadSize

	chunkSize = HeadSize + tree.BlockSize
	goodWrite = 64 << 10 // bytes that are worth a write of their own while the writer is idle
)

// Chunk is a buffer for one block of data, or for several small ones, with their heads;
// so it is written to a connection in one piece.
type Chunk struct{ B []byte }

// NewChunk makes an empty one.
func NewChunk() *Chunk { return &Chunk{make([]byte, 0, chunkSize)} }

// Tail is the room behind what is there, less the next n bytes of it.
func (c *Chunk) Tail(n int) []byte { return c.B[len(c.B)+n : cap(c.B)] }

// Room is how many bytes fit.
func (c *Chunk) Room() int { return cap(c.B) - len(c.B) }

// Queue is what lies between the one goroutine that reads files and the writers of the
// connections: a fixed number of buffers.
type Queue struct {
	// Slow says that the last new chunk had to be waited for: the writers are behind.
	Slow bool

	out   chan *Chunk // full ones; there is room for all, so putting one in never waits
	free  chan *Chunk
	total atomic.Int32
	fill  *Chunk
}

// NewQueue makes a Queue of MaxChunks.
func NewQueue() *Queue {
	q := &Queue{out: make(chan *Chunk, MaxChunks+MaxStreams), free: make(chan *Chunk, MaxChunks+MaxStreams)}
	for range MaxChunks {
		q.More()
	}
	return q
}

// More adds a buffer, which is made when it is needed.
func (q *Queue) More() {
	q.total.Add(1)
	q.free <- nil
}

// Chunk returns a chunk that has room for a block of this size.
func (q *Queue) Chunk(ctx context.Context, size int) (*Chunk, error) {
	if q.fill != nil && q.fill.Room() < HeadSize+size {
		q.Push()
	}
	if q.fill != nil {
		return q.fill, nil
	}
	q.Slow = len(q.free) == 0
	select {
	case q.fill = <-q.free:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if q.fill == nil {
		q.fill = NewChunk()
	}
	return q.fill, nil
}

// Push hands what there is to the writers.
func (q *Queue) Push() {
	if q.fill != nil && len(q.fill.B) > 0 {
		q.out <- q.fill
		q.fill = nil
	}
}

// PushIfIdle is Push if a writer has nothing to do and it is worth while.
func (q *Queue) PushIfIdle() {
	if q.fill != nil && len(q.fill.B) >= goodWrite && len(q.out) == 0 {
		q.Push()
	}
}

// written takes a chunk back from a writer.
func (q *Queue) written(c *Chunk) {
	c.B = c.B[:0]
	q.free <- c
}

// Drain waits until everything is written. The Queue is of no more use then.
func (q *Queue) Drain(ctx context.Context) error {
	q.Push()
	if q.fill != nil {
		q.free <- q.fill
		q.fill = nil
	}
	for n := int32(0); n < q.total.Load(); n++ {
		select {
		case <-q.free:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
