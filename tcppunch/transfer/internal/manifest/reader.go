package manifest

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"time"

	"github.com/zeebo/blake3"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/name"
)

// A Reader takes the pages of a manifest apart. They come from somebody who may be
// hostile: what it returns has passed every check that is possible without the disk. It
// remembers the last path and nothing more, however long the list is.
type Reader struct {
	announced Totals
	totals    Totals
	at        cursor
	hash      *blake3.Hasher
	err       error
}

// NewReader expects a manifest that adds up to what was announced.
func NewReader(announced Totals) *Reader {
	return &Reader{announced: announced, hash: blake3.New(), err: announced.Check()}
}

// Page takes the next page and returns its entries, at least one and at most
// MaxPageEntries. The error wraps ErrProtocol, ErrName or ErrLink, and is the same for ever
// after: a sender of this protocol makes no such page, so nothing more is believed.
func (r *Reader) Page(b []byte) ([]Entry, error) {
	if r.err != nil {
		return nil, r.err
	}
	entries, err := r.page(b)
	if err != nil {
		r.err = err
		return nil, err
	}
	_, _ = r.hash.Write(b) // never fails
	return entries, nil
}

func (r *Reader) page(b []byte) ([]Entry, error) {
	if len(b) == 0 || len(b) > MaxPage {
		return nil, fault.Protocol(fmt.Sprintf("a manifest page of %d bytes", len(b)))
	}
	entries := make([]Entry, 0, min(r.announced.Entries-r.totals.Entries, len(b)/16+1))
	paths := 0
	d := decoder{b: b}
	for len(d.b) > 0 {
		if len(entries) == MaxPageEntries {
			return nil, fault.Protocol("too many files in a manifest page")
		}
		e, err := r.entry(&d)
		if err != nil {
			return nil, err
		}
		if paths += len(e.Path); paths > MaxPagePaths {
			return nil, fault.Protocol("the paths in a manifest page are too long")
		}
		entries = append(entries, e)
	}
	if r.Complete() && r.totals != r.announced {
		return nil, fault.Protocol(fmt.Sprintf("%d files and %d bytes announced, but the list has %d and %d",
			r.announced.Files, r.announced.Bytes, r.totals.Files, r.totals.Bytes))
	}
	return entries, nil
}

// entry decodes one entry and makes it the last one.
func (r *Reader) entry(d *decoder) (Entry, error) {
	head := d.uvarint(MaxDepth<<2 - 1)
	depth := int(head >> 2)
	elem := d.bytes(MaxPath)
	e := Entry{Type: Type(head & 3), Mode: fs.FileMode(d.uvarint(uint64(fs.ModePerm)))}
	sec := r.at.sec + d.varint()
	e.ModTime = time.Unix(sec, int64(d.uvarint(1e9-1)))
	switch e.Type {
	case File:
		e.Size = int64(d.uvarint(MaxBytes))
	case Stream:
		e.Size = -1
	case Symlink:
		e.Target = string(d.bytes(MaxTarget))
	}
	if d.bad {
		return e, fault.Protocol("a manifest entry that is malformed")
	}
	if sec < MinTime || sec > MaxTime {
		return e, fault.Protocol("a file of an impossible modification time")
	}
	return e, r.place(&e, depth, string(elem))
}

// place gives e its path and counts it, if it may be where it is.
func (r *Reader) place(e *Entry, depth int, elem string) error {
	if r.Complete() {
		return fault.Protocol("more files than announced")
	}
	if err := name.Check(elem); err != nil {
		return err
	}
	twin, why := r.at.problem(depth, elem)
	if why != "" {
		return fault.Protocol("manifest: " + why)
	}
	e.Path, e.Twin = elem, twin
	if depth > 0 {
		e.Path = r.at.path[:r.at.ends[depth-1]] + "/" + elem
	}
	if e.Type == Symlink {
		if err := CheckTarget(e.Path, e.Target); err != nil {
			return err
		}
	}
	totals, why := r.totals.plus(e)
	switch a := r.announced; {
	case why != "":
		return fault.Protocol("manifest: " + why)
	case totals.Files > a.Files || (e.Type == Stream) != (a.Bytes == -1):
		return fault.Protocol("manifest: other files than announced")
	case totals.Bytes > a.Bytes:
		return fault.Protocol("manifest: more bytes than announced")
	}
	r.totals = totals
	r.at.move(e, depth)
	return nil
}

// Complete reports whether all that was announced has come, and nothing was wrong.
func (r *Reader) Complete() bool { return r.err == nil && r.totals.Entries == r.announced.Entries }

// Digest is that of the entries so far: what Builder.Digest said when it had no more.
func (r *Reader) Digest() (sum [32]byte) {
	r.hash.Sum(sum[:0])
	return sum
}

// decoder takes a page apart. Once something was wrong, all it returns is zero or empty,
// and bad stays set.
type decoder struct {
	b   []byte
	bad bool
}

// uvarint returns a number that is at most limit and as short as it can be.
func (d *decoder) uvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(d.b)
	if !d.took(n) || v > limit {
		d.bad = true
		return 0
	}
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if !d.took(n) {
		return 0
	}
	return v
}

// took drops the n bytes of a number; with a zero at the end it had a shorter form.
func (d *decoder) took(n int) bool {
	if d.bad || n <= 0 || n > 1 && d.b[n-1] == 0 {
		d.bad = true
		return false
	}
	d.b = d.b[n:]
	return true
}

// bytes returns a length of at most limit and then as many bytes, which are still those
// of the page.
func (d *decoder) bytes(limit uint64) []byte {
	n := int(d.uvarint(limit))
	if d.bad || n > len(d.b) {
		d.bad = true
		return nil
	}
	p := d.b[:n]
	d.b = d.b[n:]
	return p
}
