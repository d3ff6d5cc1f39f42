// Package limit has the bounds that both sides of a transfer know: a sender keeps to
// them, a receiver insists on them. They bound what the receiver has to remember, and what
// the sender does.
package limit

import "github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"

const (
	Unplanned = 4    // pages without a plan
	Unsettled = 8    // pages with entries that are neither in place nor given up
	Checks    = 64   // without a verdict
	Asked     = 4096 // hashes in these

	// Ahead is how many blocks of a file a block may be ahead of the first one that is
	// missing. The sender stops at half of that.
	Ahead = 8192

	// LeftOut is how many losses may be told that are not in the list.
	LeftOut = 1000

	// Kept bounds the hashes of blocks that either side keeps for the files under way, 32
	// bytes for each 1 MiB: what is beyond has to be read again after a break.
	Kept = 1 << 20
)

// Set is a set of entries.
type Set []uint64

// NewSet makes room for so many entries.
func NewSet(entries int) Set { return make(Set, (entries+63)/64) }

// Has reports whether i is in the set. Any i may be asked for.
func (s Set) Has(i uint32) bool { return int64(i/64) < int64(len(s)) && s[i/64]>>(i%64)&1 == 1 }

// Set adds i, for which there must be room.
func (s Set) Set(i uint32) { s[i/64] |= 1 << (i % 64) }

// Gone is the set of the entries that were given up, each counted once.
type Gone struct {
	Set
	Count int
	Files int
	Bytes int64
}

// Add adds an entry that is not in the set.
func (g *Gone) Add(i uint32, e *manifest.Entry) {
	g.Set.Set(i)
	g.Count++
	if e.Type == manifest.File || e.Type == manifest.Stream {
		g.Files++
		g.Bytes += max(e.Size, 0)
	}
}
