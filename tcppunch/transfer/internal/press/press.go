// Package press compresses blocks, when that helps.
package press

import (
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
)

const (
	slowLink   = 60 << 20               // bytes a second: a faster link is not worth compressing for
	rateWindow = 500 * time.Millisecond // how long it is measured
	goodRatio  = 0.9                    // of the size of a block: what saves less is sent as it is
	tryAgain   = 64                     // blocks of a file that does not shrink, until it is tried again
	minPress   = 512                    // bytes: less is not worth trying
)

// A Choice says when to compress.
type Choice uint8

// The choices.
const (
	Auto Choice = iota // when the link is slow and the data shrinks
	Off                // never
	On                 // always, but for data that does not shrink
)

// Compressor decides which blocks are worth compressing, and compresses them. It is the
// goroutine's that reads the files: while the link is slow, that has time.
type Compressor struct {
	Choice Choice
	file   uint32 // the one that skip is about
	skip   int    // blocks of it that are not tried
	enc    *zstd.Encoder
	buf    []byte
	slow   bool // the link was slow in the last window

	since  time.Time // when this window began
	bytes  int       // on the wire since then
	blocks int
	behind int // of the blocks, how many had to wait for the link
}

// Count follows how fast data leaves: behind says that the caller had to wait for the link
// before this block.
func (c *Compressor) Count(bytes int, behind bool) {
	if c.Choice != Auto {
		return
	}
	now := time.Now()
	if took := now.Sub(c.since); took >= rateWindow {
		c.slow = 2*c.behind > c.blocks && float64(c.bytes) < slowLink*took.Seconds()
		c.since, c.bytes, c.blocks, c.behind = now, 0, 0, 0
	}
	c.bytes += bytes
	c.blocks++
	if behind {
		c.behind++
	}
}

// Press returns a compressed block, until the next call, or nil if that is not wanted, or
// does not save enough.
func (c *Compressor) Press(file uint32, data []byte) []byte {
	if c.Choice == Off || c.Choice == Auto && !c.slow || len(data) < minPress {
		return nil
	}
	if file != c.file {
		c.file, c.skip = file, 0
	}
	if c.skip > 0 {
		c.skip--
		return nil
	}
	if c.enc == nil {
		var err error
		c.enc, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
			zstd.WithWindowSize(tree.BlockSize), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
		if err != nil {
			c.Choice = Off // cannot be: the options are valid
			return nil
		}
	}
	c.buf = c.enc.EncodeAll(data, c.buf[:0])
	if float64(len(c.buf)) > goodRatio*float64(len(data)) {
		c.skip = tryAgain
		return nil
	}
	return c.buf
}

// Decompressor is what one worker of a receiver needs, made for the first block that is
// compressed. It never makes more than a block of anything.
type Decompressor struct {
	dec *zstd.Decoder
	buf []byte
}

// Open decompresses a block of this size, until the next call.
func (d *Decompressor) Open(data []byte, size int) ([]byte, error) {
	if d.dec == nil {
		var err error
		d.dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(tree.BlockSize), zstd.WithDecoderMaxMemory(tree.BlockSize), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			return nil, err
		}
		d.buf = make([]byte, 0, tree.BlockSize)
	}
	out, err := d.dec.DecodeAll(data, d.buf[:0:size])
	if err != nil || len(out) != size {
		return nil, fault.Protocol("a compressed block that is malformed")
	}
	return out, nil
}

// Close lets the memory go.
func (d *Decompressor) Close() {
	if d.dec != nil {
		d.dec.Close()
	}
}
