package receiver

import (
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/limit"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/wire"
)

// inFile is a file of several blocks, or one that was asked for, or a stream.
type inFile struct {
	index    uint32
	e        manifest.Entry
	blocks   int64 // in all; of a stream -1 until its end is known
	have     int64 // the first ones that may be there
	asked    int64 // the first ones that were asked for
	answered int64 // of these, those with a verdict
	gap      bool  // a stream: one of those was missing
	next     int64 // the first one that has neither come nor been found there
	ahead    map[int64]tree.Hash
	merger   tree.Merger // of all before next
	stored   int64       // how many are in place
	inOrder  sequence    // a stream: those stored
	short    int64       // a stream: its size, once a block came that was not full; else -1
	root     *tree.Hash
	size     int64 // with root
	begun    bool  // Trace.File was called
	over     bool  // complete, or given up
	kept     *keptBlocks
}

// sequence counts how many come from the first one on, whatever their order.
type sequence struct {
	next  int64
	ahead map[int64]bool
}

func (s *sequence) add(n int64) {
	if n != s.next {
		if s.ahead == nil {
			s.ahead = make(map[int64]bool)
		}
		s.ahead[n] = true
		return
	}
	for s.next++; s.ahead[s.next]; s.next++ {
		delete(s.ahead, s.next)
	}
}

// come notes that a block has come.
func (f *inFile) come(h *wire.Block, t *task) error {
	n := h.Number
	short := f.e.Type == manifest.Stream && h.Size < tree.BlockSize
	switch {
	case f.over || f.root != nil && n >= f.blocks:
		return fault.Protocol("a block of a file that is complete")
	case n >= f.answered && n < f.asked:
		return fault.Protocol("a block that was asked for, before the answer")
	case f.short >= 0 && (short || n >= f.short/tree.BlockSize), short && f.beyond(n):
		return fault.Protocol("a block behind the last one")
	}
	t.look = t.look && n >= f.asked
	if short {
		f.short = n*tree.BlockSize + int64(h.Size)
	}
	return f.know(n, h.Hash)
}

// beyond reports whether a block after n has come.
func (f *inFile) beyond(n int64) bool {
	if f.next > n+1 {
		return true
	}
	for m := range f.ahead {
		if m > n {
			return true
		}
	}
	return false
}

// know takes the hash of a block that has come or was found there, once.
func (f *inFile) know(n int64, h tree.Hash) error {
	_, twice := f.ahead[n]
	switch {
	case n < f.next || twice:
		return fault.Protocol("a block that comes twice")
	case n > f.next+limit.Ahead:
		return fault.Protocol("a block too far ahead")
	case n > f.next:
		if f.ahead == nil {
			f.ahead = make(map[int64]tree.Hash)
		}
		f.ahead[n] = h
		return nil
	}
	for ok := true; ok; h, ok = f.ahead[f.next] {
		delete(f.ahead, f.next)
		f.merger.Add(h)
		f.next++
	}
	return nil
}
