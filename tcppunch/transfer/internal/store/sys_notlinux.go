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

func syncData(f *os.File) error { return syncLight(f) }

func punch(*os.File, int64, int64) bool { return false }
