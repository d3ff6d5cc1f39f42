//go:build !linux && !darwin && !freebsd && !windows

package store

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

const plain = 0

func renameExclusive(int, string, string) error { return errors.ErrUnsupported }

func syncLight(f *os.File) error { return f.Sync() }

func lock(*os.File) error { return nil }

func own(*os.File, fs.FileInfo, *handle) bool { return true }

func identify(fs.FileInfo) (device uint64, owner uint32) { return 0, 0 }

func freeSpace(*handle) (uint64, bool) { return 0, false }

func isNoSpace(err error) bool { return errors.Is(err, syscall.ENOSPC) }
