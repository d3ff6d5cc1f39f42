//go:build !linux

package source

import (
	"io/fs"
	"os"
)

func sparse(*os.File, fs.FileInfo) bool { return false }

func hole(*os.File, int64, int64) bool { return false }
