package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
)

// An Action is what the receiver says about an entry.
type Action uint8

// The actions.
const (
	Done   Action = iota // nothing to send
	Send                 // all of it
	Check                // hashes of the first blocks, as many as Plan.Have says, then what is missing
	Failed               // nothing: a Failed frame came before
)

// Plan is what becomes of one entry of a page.
type Plan struct {
	Action Action
	Have   int64 // with Check
}

// Sends reports whether data of the entry is to be sent, as far as it is missing.
func (p Plan) Sends() bool { return p.Action == Send || p.Action == Check }

// AppendPlan appends the body: one action for each entry of the oldest page that has
// none yet.
func AppendPlan(b []byte, plans []Plan) []byte {
	for _, p := range plans {
		b = append(b, byte(p.Action))
		if p.Action == Check {
			b = binary.BigEndian.AppendUint64(b, uint64(p.Have))
		}
	}
	return b
}

// ParsePlan takes the actions for entries apart, which are the bound for what they say.
func ParsePlan(body []byte, entries []manifest.Entry) ([]Plan, error) {
	d := decoder{b: body}
	plans := make([]Plan, len(entries))
	for i := range plans {
		p, e := &plans[i], &entries[i]
		p.Action = Action(d.u8())
		if p.Action == Check {
			p.Have = d.count()
		}
		data := e.Type == manifest.Stream || e.Type == manifest.File && e.Size > 0
		switch {
		case d.bad || p.Action > Failed:
			return nil, fault.Protocol("plan is malformed")
		case p.Sends() && !data:
			return nil, fault.Protocol("a plan to send what has no data")
		case p.Action == Check && (p.Have < 1 || e.Type == manifest.File && p.Have > tree.Blocks(e.Size)):
			return nil, fault.Protocol(fmt.Sprintf("a plan to check %d blocks", p.Have))
		}
	}
	if len(d.b) > 0 {
		return nil, fault.Protocol("a plan that is too long")
	}
	return plans, nil
}

// CheckBody asks which of some blocks are there.
type CheckBody struct {
	Index  uint32
	First  int64
	Hashes []tree.Hash
}

// Append appends the body.
func (c *CheckBody) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, c.Index)
	b = binary.BigEndian.AppendUint64(b, uint64(c.First))
	for _, h := range c.Hashes {
		b = append(b, h[:]...)
	}
	return b
}

// ParseCheck wants one hash at least.
func ParseCheck(body []byte) (c CheckBody, err error) {
	d := decoder{b: body}
	c.Index, c.First = d.u32(), d.count()
	if d.bad || len(d.b) == 0 || len(d.b)%32 != 0 || len(d.b)/32 > MaxHashes {
		return c, fault.Protocol("check is malformed")
	}
	c.Hashes = make([]tree.Hash, len(d.b)/32)
	for i := range c.Hashes {
		c.Hashes[i] = d.hash()
	}
	return c, nil
}

// Verdict answers a check: bit i, the lowest of a byte first, says whether block
// First+i is there.
type Verdict struct {
	Index uint32
	First int64
	Count int
	Bits  []byte
}

// Append appends the body.
func (v *Verdict) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, v.Index)
	b = binary.BigEndian.AppendUint64(b, uint64(v.First))
	b = binary.BigEndian.AppendUint16(b, uint16(v.Count))
	return append(b, v.Bits...)
}

// Has is bit i.
func (v *Verdict) Has(i int) bool { return v.Bits[i/8]>>(i%8)&1 == 1 }

// ParseVerdict copies the bits.
func ParseVerdict(body []byte) (v Verdict, err error) {
	d := decoder{b: body}
	v.Index, v.First, v.Count = d.u32(), d.count(), int(d.u16())
	if d.bad || v.Count == 0 || v.Count > MaxHashes || len(d.b) != (v.Count+7)/8 {
		return v, fault.Protocol("verdict is malformed")
	}
	v.Bits = append([]byte(nil), d.b...)
	return v, nil
}

// Flags of a block.
const (
	FlagZero = 1 << 0 // all zeros: no data follows
	FlagZstd = 1 << 1 // the data is compressed
)

// Block is the head of a block; the data fills up the frame.
type Block struct {
	Index  uint32
	Flags  uint8
	Number int64
	Size   int // of the data, uncompressed
	Hash   tree.Hash
}

// Put writes the head into the first BlockHeadSize bytes of b.
func (h *Block) Put(b []byte) {
	binary.BigEndian.PutUint32(b, h.Index)
	b[4] = h.Flags
	binary.BigEndian.PutUint64(b[5:], uint64(h.Number))
	binary.BigEndian.PutUint32(b[13:], uint32(h.Size))
	copy(b[17:BlockHeadSize], h.Hash[:])
}

// ParseBlock takes the head of a block apart, in whose frame data bytes follow.
func ParseBlock(head []byte, data int) (h Block, err error) {
	d := decoder{b: head}
	h = Block{Index: d.u32(), Flags: d.u8(), Number: d.count(), Size: int(d.u32()), Hash: d.hash()}
	fits := false
	switch h.Flags {
	case 0:
		fits = data == h.Size
	case FlagZero:
		fits = data == 0
	case FlagZstd:
		fits = 0 < data && data < h.Size
	}
	if d.bad || !fits || h.Size < 1 || h.Size > tree.BlockSize || h.Number > manifest.MaxBytes/tree.BlockSize {
		return h, fault.Protocol("block is malformed")
	}
	return h, nil
}

// File says that all blocks of a file were sent or are there.
type File struct {
	Index uint32
	Size  int64
	Root  tree.Hash
}

// Append appends the body.
func (f *File) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, f.Index)
	b = binary.BigEndian.AppendUint64(b, uint64(f.Size))
	return append(b, f.Root[:]...)
}

// ParseFile is the opposite of Append.
func ParseFile(body []byte) (f File, err error) {
	d := decoder{b: body}
	f = File{Index: d.u32(), Size: d.count(), Root: d.hash()}
	return f, d.end(FileKind)
}

// Ack says how far the receiver is. All numbers are those of this connection's transfer,
// from its beginning, and never become smaller.
type Ack struct {
	Settled int   // the first entries that are in place or have failed
	Frames  int64 // blocks that have been dealt with
	Bytes   int64 // of data in them, uncompressed
	Prefix  int64 // of a stream: the first blocks that need not be sent again
}

// Append appends the body.
func (a *Ack) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(a.Settled))
	b = binary.BigEndian.AppendUint64(b, uint64(a.Frames))
	b = binary.BigEndian.AppendUint64(b, uint64(a.Bytes))
	return binary.BigEndian.AppendUint64(b, uint64(a.Prefix))
}

// ParseAck is the opposite of Append.
func ParseAck(body []byte) (a Ack, err error) {
	d := decoder{b: body}
	a = Ack{Settled: int(d.u32()), Frames: d.count(), Bytes: d.count(), Prefix: d.count()}
	return a, d.end(AckKind)
}

// SizeOf is how large block n of a file is. Of a stream all but the last are full, and
// that one is counted as if it were.
func SizeOf(e *manifest.Entry, n int64) int64 {
	if e.Type == manifest.Stream {
		return tree.BlockSize
	}
	return tree.SizeOf(e.Size, n)
}
