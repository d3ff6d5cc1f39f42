//go:build !linux

package transfer

import "os"

func renameNew(root *os.Root, from, to string) error { return linkNew(root, from, to) }
