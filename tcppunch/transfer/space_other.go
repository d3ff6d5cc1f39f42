//go:build !linux && !darwin && !freebsd && !windows

package transfer

import (
	"errors"
	"os"
	"syscall"
)

func freeSpace(*os.Root) (uint64, bool) { return 0, false }

func isNoSpace(err error) bool { return errors.Is(err, syscall.ENOSPC) }
