// Package wire has the frames of the transfer protocol: how they are written, and how
// they are read from somebody who may be hostile. What they mean, and in which order they
// may come, is the business of package transfer.
//
// A frame is four bytes, the kind and a 24 bit big-endian length, and then as many bytes
// of body. Integers are big-endian. What follows the known fields of a body is room for
// later versions, but for the bodies that fill up with data.
package wire

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
)

// Kind is the type of a frame.
type Kind byte

// The kinds. S: from the sender of files, R: from the receiver.
const (
	HelloKind    Kind = 0x01 // S R
	OfferKind    Kind = 0x02 // S
	AcceptKind   Kind = 0x03 // R
	PageKind     Kind = 0x04 // S
	PlanKind     Kind = 0x05 // R
	CheckKind    Kind = 0x06 // S
	VerdictKind  Kind = 0x07 // R
	BlockKind    Kind = 0x08 // S
	FileKind     Kind = 0x09 // S
	LostKind     Kind = 0x0a // S
	AckKind      Kind = 0x0b // R
	FailedKind   Kind = 0x0c // R
	EndKind      Kind = 0x0d // S
	ResultKind   Kind = 0x0e // R
	ByeKind      Kind = 0x0f // S R
	PingKind     Kind = 0x10 // S R
	FailKind     Kind = 0x11 // S R
	SignalKind   Kind = 0x12 // S R
	StreamKind   Kind = 0x13 // S
	NoStreamKind Kind = 0x14 // S R
	GreetKind    Kind = 0x15 // S R, the first on a further connection

	// OptionalKind marks a frame that a reader who does not know it may skip.
	OptionalKind Kind = 0x80
)

// What bounds a frame.
const (
	HeaderSize    = 4
	BlockHeadSize = 4 + 1 + 8 + 4 + 32 // of the body of a block, before the data
	MaxHashes     = 1024               // in a check
	MaxSignal     = 16 << 10           // bytes of a signal

	maxPlan  = manifest.MaxPageEntries * 9
	maxCheck = 12 + MaxHashes*32
	maxOther = 4 << 10
	maxOffer = 8 << 10
)

// Limit is the most that the body of a frame may hold; it is checked before any
// byte is allocated. Frames of unknown kinds have one too: they are skipped.
func (k Kind) Limit() int {
	switch k {
	case BlockKind:
		return BlockHeadSize + tree.BlockSize
	case PageKind:
		return manifest.MaxPage
	case PlanKind:
		return maxPlan
	case CheckKind:
		return maxCheck
	case OfferKind:
		return maxOffer
	case SignalKind:
		return 4 + MaxSignal
	}
	if k&OptionalKind != 0 {
		return tree.BlockSize
	}
	return maxOther
}

// Known reports whether this version gives the kind a meaning.
func (k Kind) Known() bool { return HelloKind <= k && k <= GreetKind }

func (k Kind) String() string {
	names := [...]string{"hello", "offer", "accept", "page", "plan", "check", "verdict", "block", "file", "lost", "ack",
		"failed", "end", "result", "bye", "ping", "fail", "signal", "stream", "no-stream", "greeting"}
	if k.Known() {
		return names[k-HelloKind]
	}
	return fmt.Sprintf("frame 0x%02x", byte(k))
}

// AppendHeader begins a frame with a body of n bytes.
func AppendHeader(b []byte, k Kind, n int) []byte {
	return binary.BigEndian.AppendUint32(b, uint32(k)<<24|uint32(n))
}

// AppendFrame appends a whole frame whose body fill appends.
func AppendFrame(b []byte, k Kind, fill func([]byte) []byte) []byte {
	start := len(b)
	b = AppendHeader(b, k, 0)
	if fill != nil {
		b = fill(b)
	}
	binary.BigEndian.PutUint32(b[start:], uint32(k)<<24|uint32(len(b)-start-HeaderSize))
	return b
}

// ReadHeader reads the start of a frame and vets kind and length. io.EOF means
// that the stream ended between two frames.
func ReadHeader(r io.Reader) (Kind, int, error) {
	var h [HeaderSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, 0, err
	}
	v := binary.BigEndian.Uint32(h[:])
	k, n := Kind(v>>24), int(v&0xffffff)
	if !k.Known() && k&OptionalKind == 0 {
		return k, n, fault.Protocol("unknown " + k.String())
	}
	if n > k.Limit() {
		return k, n, fault.Protocol(fmt.Sprintf("%s of %d bytes is too long", k, n))
	}
	return k, n, nil
}

// ReadBody reads a body of n bytes.
func ReadBody(r io.Reader, n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, NoEOF(err)
	}
	return b, nil
}

// NoEOF turns the end of a stream into one that came too early.
func NoEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// decoder takes a body apart. Once it ran past the end, all it returns is zero.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n int) []byte {
	if d.bad || n > len(d.b) {
		d.bad = true
		return make([]byte, min(n, 32))
	}
	p := d.b[:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) u8() uint8       { return d.take(1)[0] }
func (d *decoder) u16() uint16     { return binary.BigEndian.Uint16(d.take(2)) }
func (d *decoder) u32() uint32     { return binary.BigEndian.Uint32(d.take(4)) }
func (d *decoder) u64() uint64     { return binary.BigEndian.Uint64(d.take(8)) }
func (d *decoder) hash() tree.Hash { return tree.Hash(d.take(32)) }
func (d *decoder) id() [16]byte    { return [16]byte(d.take(16)) }

func (d *decoder) text(n int) string {
	if d.bad || n > len(d.b) {
		d.bad = true
		return ""
	}
	return string(d.take(n))
}

// count is a number of blocks or bytes: never negative, and far from overflow.
func (d *decoder) count() int64 {
	v := d.u64()
	if v > manifest.MaxBytes {
		d.bad = true
		return 0
	}
	return int64(v)
}

// end is the verdict on a body of which all that is known has been read.
func (d *decoder) end(k Kind) error {
	if d.bad {
		return fault.Protocol(k.String() + " is malformed")
	}
	return nil
}
