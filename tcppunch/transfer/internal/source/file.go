package source

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
)

// File is an open file of a Tree.
type File struct {
	f      *os.File
	entry  manifest.Entry
	sparse bool // there may be holes
}

// Open opens a File of the list. The error is a *fault.Failure that names it. It wraps
// ErrSourceChanged if the file has vanished, is something else now, or has another size or
// modification time than it had. It never waits, as opening a pipe would.
func (t *Tree) Open(e manifest.Entry) (*File, error) {
	root, _, _ := strings.Cut(e.Path, "/")
	prefix, ok := t.roots[root]
	if !ok || e.Type != manifest.File {
		return nil, &fault.Failure{Name: e.Path, Text: "not a file of this list"}
	}
	f, err := openFile(prefix+e.Path, t.follow || root == e.Path)
	if err != nil {
		fail := &fault.Failure{Name: e.Path, Cause: err}
		if gone(err) {
			fail.Kind = fault.ErrSourceChanged
		}
		return nil, fail
	}
	file := &File{f: f, entry: e}
	info, err := file.unchanged()
	if err != nil {
		f.Close()
		return nil, err
	}
	file.sparse = sparse(f, info)
	return file, nil
}

// Unchanged looks whether the file still has the size and the modification time of the
// list. Asked after the last block, it tells of most of what was written meanwhile; what is
// written within one tick of the file system's clock cannot be told.
func (f *File) Unchanged() error {
	_, err := f.unchanged()
	return err
}

func (f *File) unchanged() (fs.FileInfo, error) {
	info, err := f.f.Stat()
	if err != nil {
		return nil, &fault.Failure{Name: f.entry.Path, Cause: err}
	}
	if !info.Mode().IsRegular() || info.Size() != f.entry.Size || !modTime(info).Equal(f.entry.ModTime) {
		return nil, &fault.Failure{Kind: fault.ErrSourceChanged, Name: f.entry.Path}
	}
	return info, nil
}

// ReadBlock reads block n into buf, which must have room for tree.BlockSize bytes, or for
// what the block has, and returns how many bytes it has. All have a whole block but the last
// one. The error wraps ErrSourceChanged if the file has become shorter. Blocks may be read in
// any order and by several goroutines.
func (f *File) ReadBlock(n int64, buf []byte) (int, error) {
	if n < 0 || n >= tree.Blocks(f.entry.Size) {
		return 0, &fault.Failure{Name: f.entry.Path, Text: "it has no such block"}
	}
	size := int(tree.SizeOf(f.entry.Size, n))
	if len(buf) < size {
		return 0, &fault.Failure{Name: f.entry.Path, Cause: io.ErrShortBuffer}
	}
	if f.sparse && hole(f.f, n*tree.BlockSize, int64(size)) {
		clear(buf[:size])
		return size, nil
	}
	got, err := f.f.ReadAt(buf[:size], n*tree.BlockSize)
	switch {
	case got == size:
		return size, nil
	case errors.Is(err, io.EOF):
		return 0, &fault.Failure{Kind: fault.ErrSourceChanged, Name: f.entry.Path, Text: "it is shorter than it was"}
	}
	return 0, &fault.Failure{Name: f.entry.Path, Cause: err}
}

// Close closes the file.
func (f *File) Close() error { return f.f.Close() }

// gone reports an error that says that the file is not what and where it was.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || isLoop(err)
}
