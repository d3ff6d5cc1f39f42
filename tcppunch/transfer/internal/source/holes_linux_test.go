package source

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
)

// What is read of a file with holes is what is in it, wherever they are.
func TestReadHoles(t *testing.T) {
	const size = 8*tree.BlockSize + 100
	const far = 6 * tree.BlockSize // where a hole reaches to the end
	want := make([]byte, size)
	path := filepath.Join(t.TempDir(), "f")
	w, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for _, p := range []struct{ off, n int }{
		{tree.BlockSize + 5, 10},                 // in the midst of a block
		{4*tree.BlockSize - 1, 1},                // its last byte
		{5 * tree.BlockSize, tree.BlockSize / 2}, // half of one
	} {
		part := bytes.Repeat([]byte{7}, p.n)
		copy(want[p.off:], part)
		if _, err := w.WriteAt(part, int64(p.off)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Truncate(size); err != nil {
		t.Fatal(err)
	}
	tr, e := scanFile(t, path)
	f, err := tr.Open(e)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := bytes.Repeat([]byte{1}, tree.BlockSize)
	for n := range tree.Blocks(size) {
		m, err := f.ReadBlock(n, buf)
		if off := int(n) * tree.BlockSize; err != nil || !bytes.Equal(buf[:m], want[off:min(off+tree.BlockSize, size)]) {
			t.Errorf("block %d: %d bytes, %v, or others than are there", n, m, err)
		}
	}
	if !f.sparse {
		t.Skip("this file system is not asked for its holes")
	}
	if !hole(f.f, 2*tree.BlockSize, tree.BlockSize) || !hole(f.f, far, size-far) || hole(f.f, tree.BlockSize, tree.BlockSize) {
		t.Error("the holes are not found")
	}
	// A hole that is gone with the end of the file is not one of zeros.
	if err := w.Truncate(size - 1); err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadBlock(8, buf); !errors.Is(err, fault.ErrSourceChanged) {
		t.Errorf("of a file that became shorter: %v", err)
	}
}
