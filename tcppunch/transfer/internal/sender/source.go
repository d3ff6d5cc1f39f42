package sender

import (
	"context"
	"crypto/rand"
	"io"
	"slices"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/limit"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/source"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/wire"
)

// fresh is how long the list of files counts as what is on the disk.
const fresh = 10 * time.Second

// Source is what is sent, and what is remembered of it from one Run to the next.
type Source struct {
	Tree   *source.Tree   // or:
	Stream *source.Stream // one of the two
	failed error          // why there is neither

	id      [16]byte
	paths   []string
	opt     source.Options
	scanned time.Time
	offered bool

	kept   map[uint32]*keptHashes // of the files that the receiver may not have yet
	budget int                    // how many more hashes may be kept
}

// keptHashes are those of the first blocks of a file.
type keptHashes struct {
	hashes []tree.Hash
	size   int64 // of a stream that has ended; else -1
}

// Files lists paths.
func Files(ctx context.Context, paths []string, opt source.Options) (*Source, error) {
	s := newSource()
	s.paths, s.opt = slices.Clone(paths), opt
	if err := s.scan(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Reader is the Source of what r yields. A bad name makes Run fail.
func Reader(r io.Reader, name string) *Source {
	s := newSource()
	s.Stream, s.failed = source.NewStream(r, name)
	return s
}

func newSource() *Source {
	s := &Source{kept: make(map[uint32]*keptHashes), budget: limit.Kept}
	_, _ = rand.Read(s.id[:]) // never fails
	return s
}

func (s *Source) scan(ctx context.Context) (err error) {
	s.Tree, err = source.Scan(ctx, s.paths, &s.opt)
	s.scanned = time.Now()
	return err
}

// refresh looks at the files again if nobody has been told of them yet.
func (s *Source) refresh(ctx context.Context) error {
	if s.failed != nil {
		return s.failed
	}
	if s.Tree != nil && !s.offered && time.Since(s.scanned) > fresh {
		return s.scan(ctx)
	}
	return nil
}

// list is what is sent.
func (s *Source) list() interface {
	Pages() [][]byte
	Totals() manifest.Totals
	Digest() [32]byte
	First(n int) []manifest.Entry
} {
	if s.Stream != nil {
		return s.Stream
	}
	return s.Tree
}

// Offer is what Run would offer now: nothing, if it would fail.
func (s *Source) Offer() *wire.Offer {
	if s.failed != nil {
		return &wire.Offer{}
	}
	l := s.list()
	return &wire.Offer{ID: s.id, Digest: l.Digest(), Totals: l.Totals(), First: l.First(wire.MaxFirst)}
}

// Refused is what was left out: the first ones, and how many.
func (s *Source) Refused() (list []*fault.Failure, count int) {
	if s.Tree == nil {
		return nil, 0
	}
	return s.Tree.Refused(), s.Tree.RefusedCount()
}

// file is what blocks are read from.
type file interface {
	ReadBlock(n int64, buf []byte) (int, error)
	Unchanged() error
	Close() error
}

// keep is where the hashes of a file are, while it may have to be sent again.
func (s *Source) keep(index uint32) *keptHashes {
	k := s.kept[index]
	if k == nil {
		k = &keptHashes{size: -1}
		s.kept[index] = k
	}
	return k
}

// add keeps the hash of block n, if it is the next one and there is room.
func (s *Source) add(k *keptHashes, n int64, h tree.Hash) {
	if n == int64(len(k.hashes)) && s.budget > 0 {
		k.hashes = append(k.hashes, h)
		s.budget--
	}
}

// forget drops the hashes of files before an index: the receiver has them in place.
func (s *Source) forget(before uint32) {
	if s.Stream != nil && before != wire.NoIndex {
		return // its size is needed until the result is known
	}
	for i, k := range s.kept {
		if i < before {
			s.budget += len(k.hashes)
			delete(s.kept, i)
		}
	}
}

// hash is that of block n, if it is known; nothing is of a nil k.
func (k *keptHashes) hash(n int64) (tree.Hash, bool) {
	if k == nil || n >= int64(len(k.hashes)) {
		return tree.Hash{}, false
	}
	return k.hashes[n], true
}

// changed is the failure of a file that is not what it was.
func changed(e *manifest.Entry) error {
	return &fault.Failure{Kind: fault.ErrSourceChanged, Name: e.Path}
}
