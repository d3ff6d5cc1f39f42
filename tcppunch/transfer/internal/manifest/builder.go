package manifest

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/zeebo/blake3"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/name"
)

// A Builder puts a manifest together. The zero value is an empty one. It keeps the pages
// and nothing else, so its memory is that of the names.
type Builder struct {
	at     cursor
	totals Totals
	full   [][]byte
	page   []byte // not full yet; its memory is used again
	count  int    // entries in page
	paths  int    // bytes of their paths
}

// Add takes the next entry. An error says why it cannot be in a manifest, or not behind
// the last one; it changes nothing, and another entry may be added instead.
func (b *Builder) Add(e Entry) error {
	depth := e.Depth()
	why := e.problem()
	totals := b.totals
	if why == "" {
		totals, why = b.totals.plus(&e)
	}
	if why == "" {
		why = b.placeProblem(&e, depth)
	}
	if why != "" {
		return &fault.Failure{Name: e.Path, Text: why}
	}
	if err := name.Check(e.Name()); err != nil {
		return err
	}
	if e.Type == Symlink {
		if err := CheckTarget(e.Path, e.Target); err != nil {
			return err
		}
	}
	b.encode(&e, depth)
	b.at.move(&e, depth)
	b.totals = totals
	return nil
}

// placeProblem says why e cannot come behind the last entry.
func (b *Builder) placeProblem(e *Entry, depth int) string {
	if n := len(e.Path) - len(e.Name()); depth > len(b.at.ends) || !strings.HasPrefix(b.at.path, strings.TrimSuffix(e.Path[:n], "/")) ||
		n != b.at.prefix(depth) {
		return "a file without its folder"
	}
	_, why := b.at.problem(depth, e.Name())
	return why
}

// encode appends e to the page, or to a new one if it does not fit.
func (b *Builder) encode(e *Entry, depth int) {
	start := len(b.page)
	p := appendEntry(b.page, e, depth, b.at.sec)
	if len(p) > MaxPage || b.count == MaxPageEntries || b.paths+len(e.Path) > MaxPagePaths {
		b.full = append(b.full, slices.Clone(p[:start]))
		p = append(p[:0], p[start:]...)
		b.count, b.paths = 0, 0
	}
	b.page = p
	b.count++
	b.paths += len(e.Path)
}

func appendEntry(p []byte, e *Entry, depth int, lastSec int64) []byte {
	elem := e.Name()
	p = binary.AppendUvarint(p, uint64(depth)<<2|uint64(e.Type))
	p = binary.AppendUvarint(p, uint64(len(elem)))
	p = append(p, elem...)
	p = binary.AppendUvarint(p, uint64(e.Mode))
	p = binary.AppendVarint(p, e.ModTime.Unix()-lastSec)
	p = binary.AppendUvarint(p, uint64(e.ModTime.Nanosecond()))
	switch e.Type {
	case File:
		p = binary.AppendUvarint(p, uint64(e.Size))
	case Symlink:
		p = binary.AppendUvarint(p, uint64(len(e.Target)))
		p = append(p, e.Target...)
	}
	return p
}

// Pages are those of all entries so far, of at least one entry each. Add changes none of
// them; the caller must not either.
func (b *Builder) Pages() [][]byte {
	pages := slices.Clone(b.full)
	if len(b.page) > 0 {
		pages = append(pages, slices.Clone(b.page))
	}
	return pages
}

// Totals are those of all entries so far.
func (b *Builder) Totals() Totals { return b.totals }

// Digest is the hash of the entries so far: of all pages, one behind the other.
func (b *Builder) Digest() (sum [32]byte) {
	h := blake3.New()
	for _, p := range b.full {
		_, _ = h.Write(p) // never fails
	}
	_, _ = h.Write(b.page)
	h.Sum(sum[:0])
	return sum
}
