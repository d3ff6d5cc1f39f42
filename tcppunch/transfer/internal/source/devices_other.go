//go:build !linux

package source

import "io/fs"

type devices struct{}

func (devices) generated(string, fs.FileInfo) bool { return false }
