//go:build !linux

package natcheck

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
)

// Routers counts the routers between this host and the public side of its network, on Linux. Elsewhere the error is
// errors.ErrUnsupported.
func Routers(_ context.Context, to netip.Addr) (n int, err error) {
	return 0, fmt.Errorf("counting routers to %v: %w", to, errors.ErrUnsupported)
}
