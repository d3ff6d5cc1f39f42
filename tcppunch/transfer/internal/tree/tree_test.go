package tree

import (
	"slices"
	"testing"
)

// hash is what the package is for, block after block.
func hash(b []byte) Hash {
	var m Merger
	for part := range slices.Chunk(b, BlockSize) {
		m.Add(Block(part))
	}
	return m.Root()
}

// TestRoot has two vectors of BLAKE3's authors, and one that keeps the format: whoever
// changes that breaks what older versions have kept.
func TestRoot(t *testing.T) {
	for n, want := range map[int]string{
		0:                "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
		1024:             "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
		2*BlockSize + 10: "3b0ce17b57bd44a6d5cd880f9017e595beb770e0da3632e833661d267d1dac07",
	} {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(i % 251)
		}
		if got := hash(b).String(); got != want {
			t.Errorf("%d bytes: %s, want %s", n, got, want)
		}
	}
}

func TestMerger(t *testing.T) {
	a, b := Block([]byte("a")), Block([]byte("b"))
	roots := map[Hash]string{}
	for name, hs := range map[string][]Hash{"": nil, "a": {a}, "b": {b}, "ab": {a, b}, "ba": {b, a}, "aa": {a, a}, "aab": {a, a, b}} {
		var m Merger
		for _, h := range hs {
			m.Root() // harmless in between
			m.Add(h)
		}
		if m.Blocks() != int64(len(hs)) {
			t.Errorf("%s: %d blocks", name, m.Blocks())
		}
		if other, twice := roots[m.Root()]; twice {
			t.Errorf("%q and %q have one hash", name, other)
		}
		roots[m.Root()] = name
	}
	if long, short := hash(make([]byte, 2*BlockSize)), Block(append(a[:], b[:]...)); long == short {
		t.Error("no way to tell a file of hashes")
	}
}

func TestBlocks(t *testing.T) {
	for size, want := range map[int64]int64{0: 0, 1: 1, BlockSize: 1, BlockSize + 1: 2, 1<<62 + 1: 1<<42 + 1} {
		if got := Blocks(size); got != want {
			t.Errorf("%d bytes are %d blocks, want %d", size, got, want)
		}
	}
}

func BenchmarkBlock(b *testing.B) {
	d := make([]byte, BlockSize)
	b.SetBytes(BlockSize)
	for b.Loop() {
		Block(d)
	}
}
