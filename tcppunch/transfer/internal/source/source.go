// Package source is what a sender sends: files and folders as they were when they were
// listed, or a stream.
//
//	t, err := source.Scan(ctx, []string{"photos", "notes.txt"}, nil)
//	for _, f := range t.Refused() { … } // these cannot be sent, the rest can
//	send(t.Totals(), t.Pages())         // package manifest reads them
//	f, err := t.Open(entry)             // an error if it is not what it was
//	n, err := f.ReadBlock(0, buf)
//	err = f.Unchanged()                 // and it stayed so while it was read
//	f.Close()
//
// A Tree keeps the pages of the manifest and nothing for each file, so that 200,000 of them
// cost a few megabytes. It holds no file open and may be used by any number of goroutines.
//
// # What is listed
//
// A path that was asked for is listed under its last element: a/b/c as "c", and "." as the
// folder's own name; if it is a link, what that points to is sent under the name of the link.
// Links further down stay links if manifest.CheckTarget lets them; targets such as ./a or
// a/ are written a, which means the same. With Options.Follow, what they point to is sent
// in their place.
//
// What is wrong with a path that was asked for is an error. What is wrong further down is
// refused by name, and the rest is sent: names that are not allowed, sockets, devices and
// pipes, links that lead out of the folder, folders that cannot be listed, and the files of
// /proc and its like, whose length nobody knows before they are read. A folder that is
// refused counts once, and nothing that is in it is looked at.
//
// # Exclude
//
// Options.Exclude has patterns as of path.Match, with / between folders on every system:
//
//	*.o          every file, folder or link with such a name, anywhere
//	cache/       every folder called cache
//	photos/raw   raw in photos, which was asked for; /photos/raw is the same
//	*/*.tmp      such names one level down
//
// A pattern with a slash, but for the one at its end, is matched with the whole path as it is
// listed, any other one with the last element. Case matters, and ** means no more than *.
// What is in an excluded folder is excluded too, and so is a path that was asked for.
package source

import (
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/limit"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
)

const (
	maxRefused = limit.LeftOut // that are kept; the others are counted
	maxFirst   = 64
)

// Options are for Scan. The zero value leaves nothing out and keeps links as links.
type Options struct {
	Exclude []string // see the package comment
	Follow  bool     // send what links point to in their place
}

// Tree is what Scan found. It does not change.
type Tree struct {
	list
	roots   map[string]string // the folder that each top-level entry is in, with a separator at its end
	follow  bool
	refused []*fault.Failure
	count   int // of those refused
}

// Refused are the first 1000 of those that cannot be sent, in the order of the list.
func (t *Tree) Refused() []*fault.Failure { return t.refused }

// RefusedCount is how many cannot be sent. A folder counts once.
func (t *Tree) RefusedCount() int { return t.count }

func (t *Tree) refuse(f *fault.Failure) {
	t.count++
	if len(t.refused) < maxRefused {
		t.refused = append(t.refused, f)
	}
}

// list is a manifest that is finished.
type list struct {
	pages  [][]byte
	totals manifest.Totals
	digest [32]byte
	first  []manifest.Entry
}

func newList(b *manifest.Builder, first []manifest.Entry) list {
	return list{pages: b.Pages(), totals: b.Totals(), digest: b.Digest(), first: first}
}

// Pages are those of the manifest. They must not be changed.
func (l *list) Pages() [][]byte { return l.pages }

// Totals are what the manifest adds up to.
func (l *list) Totals() manifest.Totals { return l.totals }

// Digest is that of the manifest.
func (l *list) Digest() [32]byte { return l.digest }

// First are the first n top-level entries, and at most 64.
func (l *list) First(n int) []manifest.Entry { return l.first[:min(n, len(l.first))] }
