package source

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/name"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
)

// window is how many blocks a Stream holds at most: those read ahead, and those that were
// handed out and not acknowledged, which a break could lose.
const window = 16

// Stream reads blocks of what has no end that is known, such as standard input, and keeps
// each until it is acknowledged. Its manifest has one entry.
//
//	s, err := source.NewStream(os.Stdin, "stdin")
//	n, last, err := s.Next(ctx, buf) // block 0, 1, …
//	s.Acked(1)                       // the other side has block 0 for good
//	err = s.Rewind(1)                // after a break: the next one is block 1
//	s.Close()
//
// All blocks have tree.BlockSize bytes but the last one, and the end is part of the last
// block; so a block comes out when it is full and something follows it, or the end does. Who
// writes a line a minute waits long for it. A stream of nothing is one empty block.
//
// One goroutine at a time may call Next; the other methods may be called at any time.
type Stream struct {
	list
	r     io.Reader
	name  string
	start sync.Once

	mu      sync.Mutex
	changed *sync.Cond
	ring    [window][]byte // block i is in i%window; read and not acknowledged
	read    int64          // blocks read
	next    int64          // the block that Next returns
	acked   int64          // blocks before it are let go
	ended   bool           // the block before read is the last
	err     error          // why there are no more
}

// NewStream makes a Stream of r that is offered under the name as. The error wraps ErrName. Nothing is
// read before the first Next; then r is read in a goroutine of its own, ahead of Next.
func NewStream(r io.Reader, as string) (*Stream, error) {
	if err := name.Check(as); err != nil {
		return nil, err
	}
	e := manifest.Entry{Type: manifest.Stream, Path: as, Size: -1, Mode: 0o644, ModTime: time.Now()}
	var b manifest.Builder
	if err := b.Add(e); err != nil {
		return nil, err
	}
	s := &Stream{list: newList(&b, []manifest.Entry{e}), r: r, name: as}
	s.changed = sync.NewCond(&s.mu)
	return s, nil
}

// Next copies the next block into buf, which must have room for tree.BlockSize bytes, and
// says whether it is the last one; after that it returns io.EOF. It waits until there is one,
// and while window blocks are not acknowledged; when ctx ends it returns ctx's error,
// and nothing is lost. An error of the reader comes after all whole blocks before it.
func (s *Stream) Next(ctx context.Context, buf []byte) (n int, last bool, err error) {
	if len(buf) < tree.BlockSize {
		return 0, false, &fault.Failure{Name: s.name, Cause: io.ErrShortBuffer}
	}
	s.start.Do(func() { go s.fill() })
	stop := context.AfterFunc(ctx, s.wake)
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case errors.Is(s.err, net.ErrClosed):
			return 0, false, s.unreadable()
		case ctx.Err() != nil:
			return 0, false, context.Cause(ctx)
		case s.next < s.read:
			n = copy(buf, s.ring[s.next%window])
			s.next++
			return n, s.ended && s.next == s.read, nil
		case s.ended:
			return 0, false, io.EOF
		case s.err != nil:
			return 0, false, s.unreadable()
		}
		s.changed.Wait()
	}
}

// unreadable is the failure for s.err. The lock is held.
func (s *Stream) unreadable() error {
	return &fault.Failure{Name: s.name, Text: "cannot be read", Cause: s.err}
}

// Acked lets all blocks before number blocks go. Those that Next has not returned, or not
// again since Rewind, are kept whatever it says.
func (s *Stream) Acked(blocks int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acked = max(s.acked, min(blocks, s.next))
	s.changed.Broadcast()
}

// Rewind makes block the one that Next returns. It cannot be one that was let go: that
// error wraps ErrSourceChanged; nor one that Next has not reached: ErrProtocol, as it is the
// other side that says what it has.
func (s *Stream) Rewind(block int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case block < s.acked:
		return &fault.Failure{Kind: fault.ErrSourceChanged, Name: s.name, Text: "a stream cannot be read again from so far back"}
	case block > s.next:
		return fault.Protocol("blocks of the stream that were never sent")
	}
	s.next = block
	return nil
}

// Close lets everything go, and closes the reader if it is an io.Closer: that is what ends a
// Read under way. A Read that goes on for ever all the same, as of a terminal, keeps one
// goroutine and one block until the program ends. After it Next's error is net.ErrClosed.
func (s *Stream) Close() error {
	s.mu.Lock()
	if errors.Is(s.err, net.ErrClosed) {
		s.mu.Unlock()
		return nil
	}
	s.err, s.ring = net.ErrClosed, [window][]byte{}
	s.changed.Broadcast()
	s.mu.Unlock()
	if c, ok := s.r.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

func (s *Stream) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed.Broadcast()
}

// fill reads blocks into the ring until the end, an error, or Close. Whether a block is the
// last one shows only in what follows it, so one byte is read ahead.
func (s *Stream) fill() {
	var ahead [1]byte
	have := 0
	for {
		buf := s.room()
		if buf == nil {
			return
		}
		copy(buf, ahead[:have])
		n, err := readFull(s.r, buf[have:])
		n += have
		if err == nil {
			have, err = readFull(s.r, ahead[:])
		} else if !errors.Is(err, io.EOF) {
			n = -1
		}
		if !s.publish(n, err) {
			return
		}
	}
}

// room waits for a place in the ring; nil means that no more is wanted.
func (s *Stream) room() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.err == nil && s.read == s.acked+window {
		s.changed.Wait()
	}
	if s.err != nil {
		return nil
	}
	slot := &s.ring[s.read%window]
	if cap(*slot) == 0 {
		*slot = make([]byte, tree.BlockSize)
	}
	return (*slot)[:tree.BlockSize]
}

// publish hands a block of n bytes to Next, unless n is negative, and what ended the
// reading, if it did. It reports whether more is to be read.
func (s *Stream) publish(n int, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return false
	}
	if n >= 0 {
		slot := &s.ring[s.read%window]
		*slot = (*slot)[:n]
		s.read++
	}
	switch {
	case errors.Is(err, io.EOF):
		s.ended = true
	case err != nil:
		s.err = err
	}
	s.changed.Broadcast()
	return err == nil
}

// readFull is io.ReadFull, but for the end of r: io.EOF is that and nothing else, so that
// the io.ErrUnexpectedEOF of a reader that was cut short stays an error.
func readFull(r io.Reader, buf []byte) (n int, err error) {
	const tries = 100
	for idle := 0; n < len(buf) && err == nil; {
		var m int
		m, err = r.Read(buf[n:])
		n += m
		if idle++; m > 0 {
			idle = 0
		} else if idle == tries && err == nil {
			err = io.ErrNoProgress
		}
	}
	if n == len(buf) {
		err = nil
	}
	return n, err
}
