//go:build !linux

package store

import (
	"errors"
	"io/fs"
	"os"
	"time"
)

func createEmpty(h *handle, name string, mode fs.FileMode, t time.Time) error {
	f, err := h.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	err = f.Close()
	if !t.IsZero() {
		_ = setTime(h, name, nil, t)
	}
	return err
}

func setTime(h *handle, name string, _ *os.File, t time.Time) error {
	return h.root.Chtimes(name, time.Time{}, t)
}

const syncsAll = false

func syncAll(*handle) error { return errors.ErrUnsupported }

// dataSync is none: it may do harm. On Windows who writes by the same handle has to wait,
// and what macOS does in little time leaves the data in the drive's cache.
func dataSync(*os.File) func() error { return nil }

func punch(*os.File, int64, int64) bool { return false }
