package receiver

import (
	"context"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/limit"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/store"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/wire"
)

// Sink is what a Dest writes to: a store.Store or a store.Pipe.
type Sink interface {
	Reset(ctx context.Context, opt *store.Options) error
	Free() (uint64, bool)
	Resumable(e manifest.Entry) int64
	Place(ctx context.Context, i int, e manifest.Entry) (store.Plan, error)
	File(i int) (*store.File, error)
	Drop(i int) error
	Flush(ctx context.Context) error
	Close() error
}

// Dest is where things go, and what is remembered of them from one Run to the next.
type Dest struct {
	Sink Sink
	Pipe bool // the Sink takes one file or stream, in order

	accepted bool
	id       [16]byte // of the offer that was accepted
	digest   [32]byte
	result   *wire.Result // all of that offer is in place, and the sender may not know
	kept     map[uint32]*keptBlocks
	budget   int // how many more hashes may be kept
}

// NewDest makes a Dest.
func NewDest(s Sink, pipe bool) *Dest {
	return &Dest{Sink: s, Pipe: pipe, kept: make(map[uint32]*keptBlocks), budget: limit.Kept}
}

// keptBlocks are blocks of a file that are in its partial file, and were verified.
type keptBlocks struct {
	hashes []tree.Hash
	there  limit.Set
}

func (k *keptBlocks) has(n int64, h tree.Hash) bool {
	return n < int64(len(k.hashes)) && k.there.Has(uint32(n)) && k.hashes[n] == h
}

// keep is where the blocks of a file under way are.
func (d *Dest) keep(index uint32) *keptBlocks {
	k := d.kept[index]
	if k == nil {
		k = &keptBlocks{}
		d.kept[index] = k
	}
	return k
}

// add keeps a block, if there is room for all up to it.
func (d *Dest) add(k *keptBlocks, n int64, h tree.Hash) {
	if more := n + 1 - int64(len(k.hashes)); more > 0 {
		if more > int64(d.budget) {
			return
		}
		d.budget -= int(more)
		k.hashes = append(k.hashes, make([]tree.Hash, more)...)
		for int64(len(k.there))*64 <= n {
			k.there = append(k.there, 0)
		}
	}
	k.hashes[n] = h
	k.there.Set(uint32(n))
}

// forget drops what is kept of a file: it is in place, or given up.
func (d *Dest) forget(index uint32) {
	if k := d.kept[index]; k != nil {
		d.budget += len(k.hashes)
		delete(d.kept, index)
	}
}

// agree compares an offer with the one that was accepted before, and reports whether it
// is the same.
func (d *Dest) agree(o *wire.Offer) (bool, error) {
	if !d.accepted || d.id != o.ID {
		d.result = nil
		for i := range d.kept { // of another offer
			d.forget(i)
		}
		return false, nil
	}
	if d.digest != o.Digest {
		return false, fault.Protocol("the same offer with other files")
	}
	return true, nil
}
