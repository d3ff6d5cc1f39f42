// Package tree hashes a file block by block, on any number of cores and in any order,
// so that each block can be checked by itself, and makes one hash of the file from them.
//
//	h := tree.Block(data)  // of every block
//	var m tree.Merger
//	m.Add(h)               // in their order
//	sum := m.Root()
//
// The hash of a block is its BLAKE3 hash. That of a file of one block, or of none, is
// BLAKE3 too, the one that b3sum prints; that of a longer file is BLAKE3, in the
// derivation mode for the context below, over the hashes of its blocks, 32 bytes each.
// (Taking the inner nodes of BLAKE3's own tree instead would give b3sum's hash for long
// files too, but the one library that lets others at them took half as long again.)
package tree

import (
	"bytes"
	"encoding/hex"
	"sync"

	"github.com/zeebo/blake3"
)

// BlockSize is the size of every block but the last one, in bytes.
const BlockSize = 1 << 20

// context keeps the hash of a long file apart from that of a short one that
// consists of hashes.
const context = "tcppunch 2026-11-25 file of several blocks"

// A Hash is that of a block or of a file.
type Hash [32]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Blocks is how many blocks a file of so many bytes has. An empty one has none.
func Blocks(size int64) int64 {
	return size/BlockSize + min(size%BlockSize, 1)
}

// SizeOf is how many bytes block n of a file of so many bytes has.
func SizeOf(size, n int64) int64 { return min(BlockSize, size-n*BlockSize) }

// IsZero reports whether b is nothing but zeros, one at least.
func IsZero(b []byte) bool {
	return len(b) > 0 && b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1])
}

// Block hashes one block.
func Block(data []byte) Hash { return blake3.Sum256(data) }

// A Merger makes the hash of a file from the hashes of its blocks. The zero value has
// no block.
type Merger struct {
	first Hash
	count int64
	rest  *blake3.Hasher
}

// Add takes the hash of the next block.
func (m *Merger) Add(h Hash) {
	m.count++
	switch m.count {
	case 1:
		m.first = h
		return
	case 2:
		m.rest = blake3.NewDeriveKey(context)
		_, _ = m.rest.Write(m.first[:]) // never fails
	}
	_, _ = m.rest.Write(h[:])
}

// Blocks is how many blocks were added.
func (m *Merger) Blocks() int64 { return m.count }

// Root is the hash of a file of the blocks that were added; more may be added after it.
func (m *Merger) Root() (h Hash) {
	switch m.count {
	case 0:
		return Block(nil)
	case 1:
		return m.first
	}
	m.rest.Sum(h[:0])
	return h
}

// ZeroBlock is the hash of a whole block of zeros.
var ZeroBlock = sync.OnceValue(func() Hash { return Block(make([]byte, BlockSize)) })
