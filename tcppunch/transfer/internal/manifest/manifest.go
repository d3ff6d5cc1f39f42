// Package manifest is the list of what is sent: files, folders and links, in pages.
//
// The sender puts it together, the receiver takes it apart as the pages come:
//
//	var b manifest.Builder
//	err := b.Add(manifest.Entry{Type: manifest.Dir, Path: "photos", Mode: 0o755, ModTime: t})
//	err = b.Add(manifest.Entry{Path: "photos/a.jpg", Size: 12345, Mode: 0o644, ModTime: t})
//	send(b.Totals(), b.Digest(), b.Pages())
//
//	r := manifest.NewReader(totals) // as announced
//	entries, err := r.Page(page)    // of each page, in order
//	ok := r.Complete() && r.Digest() == digest
//
// # Order
//
// Depth first: a folder comes before what is in it, and siblings ascend strictly in the
// order of Compare. So a Reader that remembers one path finds everything that is listed
// twice, that is listed without its folder, or that is in a file or a link; and names that
// differ only in case, one file on many disks, are next to each other.
//
//	photos            depth 0   Dir
//	photos/2025       depth 1   Dir
//	photos/2025/a     depth 2   File
//	photos/b          depth 1   File
//	readme            depth 0   File
//
// # Encoding
//
// A page is one entry or more, one behind the other, 64 KiB at most. An entry is
//
//	uvarint   4*depth + type       File 0, Dir 1, Symlink 2, Stream 3
//	uvarint   length of the name
//	bytes     the name             one path element
//	uvarint   permission bits
//	varint    seconds of the modification time, less those of the entry before
//	uvarint   nanoseconds of it
//	uvarint   size                 of a File only
//	uvarint   length of the target, and the target: of a Symlink only
//
// The depth says how many leading elements of the path before stay, and the name goes
// behind them. Every number is written in the fewest bytes, or the page is refused: one
// list has one encoding, wherever its pages end, and the digest is that of the list.
package manifest

import (
	"cmp"
	"fmt"
	"io/fs"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/name"
)

// What a Builder does not take and a Reader refuses to read.
const (
	MaxEntries = 1 << 24
	MaxBytes   = 1 << 62 // of all files together
	MaxPath    = 4096    // bytes of a path
	MaxDepth   = 128     // elements of a path
	MaxTarget  = 4095    // bytes of the target of a link

	MaxPage        = 64 << 10  // bytes of a page
	MaxPageEntries = 4096      // entries in a page
	MaxPagePaths   = 512 << 10 // bytes of the paths in a page: shared folders are short in it and long in memory

	// MinTime and MaxTime bound modification times, in seconds since 1970: the years
	// 1 to 9999, all that RFC 3339 can write.
	MinTime = -62135596800
	MaxTime = 253402300799
)

// Type is the kind of an entry.
type Type uint8

// The zero Type is that of a regular file.
const (
	File    Type = iota
	Dir          // a folder; what is in it follows
	Symlink      // a symbolic link that stays one
	Stream       // a stream of unknown length, alone in its manifest
)

func (t Type) String() string {
	switch t {
	case File:
		return "file"
	case Dir:
		return "folder"
	case Symlink:
		return "link"
	case Stream:
		return "stream"
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// Entry is one file, folder, link or stream.
type Entry struct {
	Type Type
	// Path is relative and slash-separated; each element passes name.Check.
	Path string
	// Size is in bytes: 0 for all but a File, and -1 for a Stream.
	Size int64
	// Mode is permission bits only, as the sender has them.
	Mode fs.FileMode
	// ModTime keeps nanoseconds and no time zone. See MinTime and MaxTime.
	ModTime time.Time
	// Target is that of a Symlink, and passes CheckTarget; "" for all else.
	Target string
	// Twin is set by a Reader if the path is that of an earlier entry but for the case of
	// the last element: a disk that ignores case cannot hold both. A Builder ignores it.
	Twin bool
}

// Name is the last element of the path.
func (e *Entry) Name() string { return e.Path[strings.LastIndexByte(e.Path, '/')+1:] }

// Depth is the number of folders that the entry is in.
func (e *Entry) Depth() int { return strings.Count(e.Path, "/") }

// problem says what is wrong with an entry, apart from its path and its target.
func (e *Entry) problem() string {
	sec := e.ModTime.Unix()
	switch {
	case e.Type > Stream:
		return "an entry of unknown type"
	case e.Type == Stream && e.Size != -1, e.Type == File && e.Size < 0, (e.Type == Dir || e.Type == Symlink) && e.Size != 0,
		e.Size > MaxBytes:
		return "an impossible size"
	case e.Mode&^fs.ModePerm != 0:
		return "impossible permissions"
	case sec < MinTime || sec > MaxTime:
		return "an impossible modification time"
	case e.Type != Symlink && e.Target != "":
		return "the target of a link, and it is none"
	}
	return ""
}

// Totals are what a manifest adds up to.
type Totals struct {
	Entries int   // files, folders and links
	Files   int   // those that are a File or a Stream
	Bytes   int64 // in these files, or -1: a Stream, whose length nobody knows
}

// Check says whether a manifest can add up to that; the error wraps ErrProtocol.
func (t Totals) Check() error {
	stream := t.Bytes == -1 && t.Entries == 1 && t.Files == 1
	if t.Entries < 1 || t.Entries > MaxEntries || t.Files < 0 || t.Files > t.Entries ||
		!stream && (t.Bytes < 0 || t.Bytes > MaxBytes || t.Files == 0 && t.Bytes > 0) {
		return fault.Protocol(fmt.Sprintf("%d entries, %d files and %d bytes cannot be", t.Entries, t.Files, t.Bytes))
	}
	return nil
}

// plus is the totals with one entry more, or the reason why there cannot be one.
func (t Totals) plus(e *Entry) (Totals, string) {
	switch {
	case t.Entries >= MaxEntries:
		return t, fmt.Sprintf("more than %d files and folders at once", MaxEntries)
	case t.Bytes == -1, e.Type == Stream && t.Entries > 0:
		return t, "a stream that is not alone"
	case e.Type == Stream:
		return Totals{Entries: 1, Files: 1, Bytes: -1}, ""
	case e.Size > MaxBytes-t.Bytes:
		return t, "too many bytes at once"
	}
	t.Entries++
	t.Bytes += e.Size
	if e.Type == File {
		t.Files++
	}
	return t, ""
}

// Compare is the order of siblings, negative if a comes before b: first without regard to
// case, as by name.Fold, and then by bytes.
func Compare(a, b string) int {
	if c := compareFold(a, b); c != 0 {
		return c
	}
	return cmp.Compare(a, b)
}

// compareFold compares what name.Fold makes of both. Folders are sorted by it, and most
// names are ASCII, so those cost no allocation.
func compareFold(a, b string) int {
	for i := range min(len(a), len(b)) {
		x, y := a[i], b[i]
		if x >= utf8.RuneSelf || y >= utf8.RuneSelf {
			return cmp.Compare(name.Fold(a[i:]), name.Fold(b[i:]))
		}
		if x, y = lower(x), lower(y); x != y {
			return cmp.Compare(x, y)
		}
	}
	return cmp.Compare(len(a), len(b))
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// cursor is where in the tree the last entry was. The zero value is before the first.
type cursor struct {
	path string
	ends []int // where each element of path ends
	dir  bool  // the last entry is a folder
	sec  int64 // its modification time
}

// problem says why an entry called elem cannot come next, behind so many elements of the
// path of the last one; twin, whether only case tells it from its sibling.
func (c *cursor) problem(depth int, elem string) (twin bool, why string) {
	switch {
	case depth > len(c.ends):
		return false, "a file without its folder"
	case depth == len(c.ends) && depth > 0 && !c.dir:
		return false, "a file in something that is not a folder"
	case depth >= MaxDepth:
		return false, fmt.Sprintf("more than %d folders in each other", MaxDepth)
	case len(elem)+c.prefix(depth) > MaxPath:
		return false, fmt.Sprintf("a path of more than %d bytes", MaxPath)
	}
	if depth == len(c.ends) {
		return false, ""
	}
	sibling := c.path[c.prefix(depth):c.ends[depth]]
	order := compareFold(sibling, elem)
	twin = order == 0
	if twin {
		order = cmp.Compare(sibling, elem)
	}
	switch {
	case order == 0:
		return false, "a file that is listed twice"
	case order > 0:
		return false, "a file that is out of order"
	}
	return twin, ""
}

// prefix is the length of so many elements and their slashes.
func (c *cursor) prefix(depth int) int {
	if depth == 0 {
		return 0
	}
	return c.ends[depth-1] + 1
}

func (c *cursor) move(e *Entry, depth int) {
	c.path, c.dir, c.sec = e.Path, e.Type == Dir, e.ModTime.Unix()
	c.ends = append(c.ends[:depth], len(e.Path))
}
