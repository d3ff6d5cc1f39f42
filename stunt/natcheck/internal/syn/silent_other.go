//go:build !linux

package syn

import (
	"errors"
	"fmt"
	"syscall"
)

// CanSilence says that this system has no ports that do not answer.
const CanSilence = false

// ErrICMP is told apart from a RST on Linux only.
var ErrICMP = errors.New("an ICMP error came back")

// Silence is for Linux only.
func Silence(_, _ string, _ syscall.RawConn) error {
	return fmt.Errorf("making a port silent: %w", errors.ErrUnsupported)
}
