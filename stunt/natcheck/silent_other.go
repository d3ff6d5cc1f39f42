//go:build !linux

package natcheck

import (
	"errors"
	"fmt"
	"syscall"
)

// silencable says that this system has no ports that do not answer.
const silencable = false

// errICMP is told apart from a RST on Linux only.
var errICMP = errors.New("an ICMP error came back")

func silence(_, _ string, _ syscall.RawConn) error {
	return fmt.Errorf("making a port silent: %w", errors.ErrUnsupported)
}
