//go:build !linux

package sock

import (
	"errors"
	"net"
	"time"
)

// Only Linux lets an ordinary program choose its congestion control and see
// how a connection does. FreeBSD has TCP_CONGESTION too, mostly with CUBIC as
// the only choice; Windows and macOS keep theirs to themselves. So the
// defaults stay there. This was built for the other systems, and not run.

// A Tuner fits a connection to its path. Here it leaves it as it is.
type Tuner struct{}

// Tune does nothing.
func Tune(*net.TCPConn, time.Duration) *Tuner { return &Tuner{} }

// Look does nothing, and needs no repetition.
func (*Tuner) Look() (more bool) { return false }

// Choose cannot.
func Choose(*net.TCPConn, string) error { return errors.ErrUnsupported }

// InfoOf knows nothing.
func InfoOf(*net.TCPConn) (Info, bool) { return Info{}, false }
