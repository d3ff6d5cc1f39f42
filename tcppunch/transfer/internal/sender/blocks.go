package sender

import (
	"errors"
	"io"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/link"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/wire"
)

func hashOf(data []byte, zero bool) tree.Hash {
	if zero && len(data) == tree.BlockSize {
		return tree.ZeroBlock()
	}
	return tree.Block(data)
}

// hashBlock reads a block only to hash it. What is in the chunk being filled stays.
func (s *sender) hashBlock(j *job, n int64) (tree.Hash, error) {
	size := int(wire.SizeOf(&j.e, n))
	c, err := s.queue.Chunk(s.sess.Ctx, size)
	if err != nil {
		return tree.Hash{}, err
	}
	data := c.Tail(0)[:size]
	if _, err := j.file.ReadBlock(n, data); err != nil {
		return tree.Hash{}, err
	}
	return hashOf(data, tree.IsZero(data)), nil
}

// sendBlock reads a block and puts it into a chunk. The hash must be the known one, if
// there is one; else the job passes the block.
func (s *sender) sendBlock(j *job, n int64, known *tree.Hash) error {
	size := int(wire.SizeOf(&j.e, n))
	c, err := s.queue.Chunk(s.sess.Ctx, size)
	if err != nil {
		return err
	}
	data := c.Tail(link.HeadSize)[:size]
	if _, err := j.file.ReadBlock(n, data); err != nil {
		return err
	}
	if j.blocks == 1 { // nothing follows that could tell of a change
		if err := j.file.Unchanged(); err != nil {
			return err
		}
	}
	zero := tree.IsZero(data)
	h := hashOf(data, zero)
	before, kept := j.kept.hash(n)
	if known != nil {
		before, kept = *known, true
	}
	if kept && before != h {
		return changed(&j.e)
	}
	if known == nil {
		s.pass(j, h)
	}
	s.put(c, wire.Block{Index: j.index, Number: n, Size: size, Hash: h}, data, zero)
	return nil
}

// put completes a block whose data is where it belongs in the chunk.
func (s *sender) put(c *link.Chunk, h wire.Block, data []byte, zero bool) {
	s.meter.Begin()
	if zero {
		h.Flags, data = wire.FlagZero, nil
	} else if small := s.zstd.Press(h.Index, data); small != nil {
		h.Flags, data = wire.FlagZstd, data[:copy(data, small)]
	}
	s.zstd.Count(len(data), s.queue.Slow)
	start := len(c.B)
	c.B = wire.AppendHeader(c.B, wire.BlockKind, wire.BlockHeadSize+len(data))
	h.Put(c.Tail(0))
	c.B = c.B[:start+link.HeadSize+len(data)]
	s.meter.Moved(len(data), 0)
	s.mu.Lock()
	s.limit.Frames++
	s.limit.Bytes += int64(h.Size)
	if s.src.Stream != nil {
		s.limit.Prefix = max(s.limit.Prefix, h.Number+1)
	}
	s.mu.Unlock()
}

// sendNext sends the next block of a stream.
func (s *sender) sendNext(j *job) error {
	s.queue.Push() // the next one may take its time
	c, err := s.queue.Chunk(s.sess.Ctx, tree.BlockSize)
	if err != nil {
		return err
	}
	data := c.Tail(link.HeadSize)[:tree.BlockSize]
	n, last, err := s.src.Stream.Next(s.reading, data)
	if errors.Is(err, io.EOF) && j.kept.size >= 0 {
		j.blocks = j.next // an earlier call came to the end
		return nil
	}
	if err != nil {
		return err
	}
	data = data[:n]
	if last {
		j.kept.size = j.next*tree.BlockSize + int64(n)
	}
	if n > 0 {
		zero := tree.IsZero(data)
		h := wire.Block{Index: j.index, Number: j.next, Size: n, Hash: hashOf(data, zero)}
		s.pass(j, h.Hash)
		s.put(c, h, data, zero)
	}
	if last {
		j.blocks = j.next
	}
	return nil
}
