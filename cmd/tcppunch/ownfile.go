package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// maxOwnFile bounds the files of this user that are read as a whole.
const maxOwnFile = 1 << 20

// readOwn reads a file on which others must not have the given permissions.
func readOwn(path string, others fs.FileMode) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, &failure{statusFailed, "identity", fmt.Errorf("%s is not a file", path), "move it away"}
	case runtime.GOOS != "windows" && info.Mode()&others != 0:
		return nil, &failure{statusFailed, "identity",
			fmt.Errorf("other users of this machine have access to %s (mode %#o)", path, info.Mode().Perm()),
			"if none of them has made use of it: chmod 600 " + shellWord(path) + "; else remove it"}
	}
	b, err := io.ReadAll(io.LimitReader(f, maxOwnFile+1))
	if err == nil && len(b) > maxOwnFile {
		err = fmt.Errorf("%s is too large", path)
	}
	return b, err
}

// writeAtomically replaces a file by one that only this user can read.
func writeAtomically(path string, b []byte) error {
	next := path + "-new"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err = fill(f, b); err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		os.Remove(next)
	}
	return err
}

// writeOnce makes a file that only this user can read, as a whole or not at all, unless there
// is one.
func writeOnce(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := fill(f, b); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return os.Rename(f.Name(), path) // a disk without links
	}
	return nil
}

// fill writes a file, makes it last, and closes it.
func fill(f *os.File, b []byte) error {
	_, err := f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
