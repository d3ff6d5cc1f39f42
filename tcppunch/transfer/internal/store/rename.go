package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"unicode/utf8"
)

// renameNew renames within a folder unless the new name is taken, in one step where the
// system can.
func renameNew(h *handle, from, to string) error {
	err := renameExclusive(h.fd, from, to)
	if err == nil || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return linkNew(h.root, from, to) // an older kernel, or a file system that cannot
}

// linkNew gives the file its new name, and fails if something has that name: a hard
// link never replaces. Where there are no hard links (FAT, some network drives) it
// looks first; between the look and the rename another program could slip in.
func linkNew(root *os.Root, from, to string) error {
	err := root.Link(from, to)
	if err == nil {
		return root.Remove(from)
	}
	if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := root.Lstat(to); err == nil {
		return fs.ErrExist
	}
	return root.Rename(from, to)
}

const (
	maxName   = 255   // bytes
	maxNumber = 10000 // what is "name (10000)" is nobody's wish
)

// numbered puts a number into a name, before its extension, and makes it no longer
// than names may be.
func numbered(name string, number int) string {
	ext := path.Ext(name)
	stem := strings.TrimSuffix(name, ext)
	if before, ok := strings.CutSuffix(stem, ".tar"); ok {
		stem, ext = before, ".tar"+ext
	}
	if stem == "" || strings.ContainsRune(ext, ' ') || len(ext) > maxName/2 {
		stem, ext = name, "" // a hidden file, or a dot somewhere in a sentence
	}
	tail := fmt.Sprintf(" (%d)%s", number, ext)
	for len(stem)+len(tail) > maxName {
		_, n := utf8.DecodeLastRuneInString(stem)
		stem = stem[:len(stem)-n]
	}
	return stem + tail
}
