package link

import (
	"bufio"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/wire"
)

const (
	readBuffer = 64 << 10
	maxPending = 256 << 10 // bytes of small frames that wait to be written
	piece      = 128 << 10 // bytes of a block that are written at once, and counted
	longWrite  = 300 * time.Millisecond
)

// A Handler takes the frames of one connection, in the goroutine that reads it.
type Handler interface {
	// Take takes one frame, with a body of n bytes, which it reads from r. last means
	// that no frame can follow.
	Take(k wire.Kind, n int, r *bufio.Reader) (last bool, err error)
	// Idle is called before a read may have to wait, and at the end.
	Idle()
}

// Conn speaks frames over one connection. One goroutine reads, from the beginning to the
// last frame, so that a failure of the other side is heard while this one writes, waits
// for a person, or is at work on the disk. One goroutine writes: small frames, which
// are put together while it is busy, before the blocks of data.
//
// The reader of a receiver may wait for a buffer, and so for the disk, but never for the
// writer of its own side, and the reader of a sender waits for nothing but the
// connection. So whatever a receiver writes will be read, its writer gets on, and so
// do those who wait for it; then it reads, and the writers of the sender get on.
type Conn struct {
	s       *Session
	conn    net.Conn
	handler Handler
	left    chan struct{} // closed when the reader has ended
	used    atomic.Bool   // a block went over it, or came
	pending atomic.Int64  // when the read under way began, Unix nanoseconds, 0 if there is none
	took    atomic.Int64  // nanoseconds, for the last chunk

	mu     sync.Mutex
	small  []byte // frames to be written
	spare  []byte // the other buffer of the two that take turns
	room   *sync.Cond
	silent bool // the last frame is in small, or out: no more may follow
	wake   chan struct{}

	broken bool // the writer's: a write failed, so whatever follows would be garbage
}

func newConn(s *Session, conn net.Conn, h Handler) *Conn {
	c := &Conn{s: s, conn: conn, handler: h, left: make(chan struct{}), wake: make(chan struct{}, 1)}
	c.room = sync.NewCond(&c.mu)
	return c
}

func (c *Conn) start() {
	c.s.readers.Go(c.readLoop)
	c.s.writers.Go(c.writeLoop)
}

// Left is closed when the reader has ended: with the last frame, or with the session.
func (c *Conn) Left() <-chan struct{} { return c.left }

// readLoop hands on frames until the last one. When the session has stopped it reads
// on, and drops what comes, until the other side has heard of it.
func (c *Conn) readLoop() {
	defer close(c.left)
	r := bufio.NewReaderSize(timedReader{c}, readBuffer)
	for {
		if r.Buffered() < wire.HeaderSize {
			c.handler.Idle()
		}
		k, n, err := wire.ReadHeader(r)
		if err == nil {
			var last bool
			if last, err = c.take(r, k, n); last {
				return
			}
		}
		if err != nil {
			c.failed(err)
			c.handler.Idle()
			_, _ = io.Copy(io.Discard, r) // until the deadline that Stop has set
			return
		}
	}
}

// take reads one body and passes it on. It reports whether no frame can follow.
func (c *Conn) take(r *bufio.Reader, k wire.Kind, n int) (last bool, err error) {
	stopped := c.s.Ctx.Err() != nil
	switch {
	case k == wire.FailKind && c == c.s.Main:
		body, err := wire.ReadBody(r, n)
		if err != nil {
			return false, err
		}
		f, err := wire.ParseFailure(body)
		if err != nil {
			return false, err
		}
		c.s.blame(f)
		return true, nil
	case stopped || k == wire.PingKind || !k.Known():
		_, err := r.Discard(n)
		if stopped && err == nil && c == c.s.Main {
			c.s.stays()
		}
		return stopped && k == wire.ByeKind, wire.NoEOF(err)
	}
	c.used.Store(true)
	last, err = c.handler.Take(k, n, r)
	return last, wire.NoEOF(err)
}

// failed ends the session for an error of the connection. But one that was never used
// has lost nothing: the other side may have given it up while this one thought it made.
func (c *Conn) failed(err error) {
	var f *fault.Failure
	if c == c.s.Main || c.used.Load() || errors.As(err, &f) {
		c.s.hungUp(err)
	}
}

// timedReader notes when a read of the connection began.
type timedReader struct{ c *Conn }

func (r timedReader) Read(p []byte) (int, error) {
	r.c.pending.Store(time.Now().UnixNano())
	n, err := r.c.conn.Read(p)
	r.c.pending.Store(0)
	return n, err
}

// Send queues a small frame. It waits while too much is queued, until the session stops.
// No lock that a Handler takes may be held.
func (c *Conn) Send(k wire.Kind, fill func([]byte) []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.small) > maxPending && c.s.Ctx.Err() == nil {
		c.room.Wait()
	}
	if !c.silent {
		c.small = wire.AppendFrame(c.small, k, fill)
	}
	c.poke()
}

// sendLast queues the last frame of this side.
func (c *Conn) sendLast(k wire.Kind, fill func([]byte) []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.small = wire.AppendFrame(c.small, k, fill)
	c.silent = true
	c.poke()
}

// ping is for the writer, which must not wait for itself.
func (c *Conn) ping() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.silent && len(c.small) == 0 {
		c.small = wire.AppendFrame(c.small, wire.PingKind, nil)
	}
}

// poke tells the writer that there is something to write.
func (c *Conn) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *Conn) writeLoop() {
	beat := time.NewTicker(heartbeat / 2)
	defer beat.Stop()
	defer func() { // nobody waits for room any more
		c.mu.Lock()
		defer c.mu.Unlock()
		c.room.Broadcast()
	}()
	q := c.s.cfg.Queue
	var blocks chan *Chunk
	if q != nil {
		blocks = q.out
	}
	var left <-chan struct{} // of the main one the last word is still to be written
	if c != c.s.Main {
		left = c.left
	}
	last := time.Now()
	for {
		if c.writeSmall() {
			last = time.Now()
			continue
		}
		from, later := blocks, (<-chan time.Time)(nil)
		if d := c.s.quietFor(c); d > 0 {
			from, later = nil, time.After(d)
		}
		select {
		case <-c.wake:
		case <-later:
		case chunk := <-from:
			if c.s.Ctx.Err() == nil { // else it would stand before the last word
				c.writeBlocks(chunk.B)
			}
			q.written(chunk)
			last = time.Now()
		case <-beat.C:
			if time.Since(last) > heartbeat*3/4 {
				c.ping()
			}
		case <-left:
			return
		case <-c.s.Ctx.Done():
			if c.s.Cause() == errDone {
				c.writeSmall()
			}
			return
		}
	}
}

// writeSmall writes what is queued, and reports whether there was anything.
func (c *Conn) writeSmall() bool {
	c.mu.Lock()
	b := c.small
	c.small, c.spare = c.spare[:0], nil
	c.room.Broadcast()
	c.mu.Unlock()
	if len(b) > 0 {
		c.write(b)
	}
	c.mu.Lock()
	c.spare = b
	c.mu.Unlock()
	return len(b) > 0
}

// writeBlocks writes a chunk.
func (c *Conn) writeBlocks(b []byte) {
	c.used.Store(true)
	began := time.Now()
	for part := range slices.Chunk(b, piece) {
		c.write(part)
		c.s.written.Add(int64(len(part)))
	}
	c.took.Store(int64(time.Since(began)))
}

// busyLong reports whether what is said next on this connection may have to wait long for
// a chunk. Before the first one nobody knows.
func (c *Conn) busyLong() bool {
	took := time.Duration(c.took.Load())
	return took == 0 || took > longWrite
}

func (c *Conn) write(b []byte) {
	if c.broken {
		return
	}
	if _, err := c.conn.Write(b); err != nil {
		c.broken = true
		c.failed(err)
	}
}

// farewell writes the last frame of a session that has failed. The writer must have
// ended.
func (c *Conn) farewell(k wire.Kind, fill func([]byte) []byte) {
	c.sendLast(k, fill)
	c.writeSmall()
}
