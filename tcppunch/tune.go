package tcppunch

import (
	"net"
	"sync"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/internal/sock"
)

// TCPInfo is what the kernel says of a TCP connection at one moment, this
// side's view of what it sends.
type TCPInfo struct {
	// CongestionControl is the name of the algorithm that is at work, such as
	// "cubic" or "bbr". On a long path it changes while the connection is used.
	CongestionControl string
	// Retransmits is the number of segments sent again since the connection
	// began.
	Retransmits uint64
	// BytesSent is the number of bytes sent since it began, of TLS and with those
	// sent again.
	BytesSent uint64
	// RTT is the smoothed round trip, queues included.
	RTT time.Duration
	// MinRTT is the least round trip of the last minutes, which is about that of
	// the path without queues. It is 0 where none is known yet.
	MinRTT time.Duration
	// Window is the congestion window, in bytes: what may be under way at once.
	Window int
	// DeliveryRate is the rate at which bytes have lately arrived, in bytes per
	// second.
	DeliveryRate uint64
	// Busy is how long there was something to send, or to be acknowledged, since the
	// connection began, and ReceiverLimited how long of that the peer had no room.
	Busy, ReceiverLimited time.Duration
	// Unsent is the number of bytes that were written and could not be sent yet.
	Unsent int
}

// TCPInfo returns what the kernel says of the connection. It returns false on
// systems other than Linux, where the connection is not TCP, and after its end.
func (c *Conn) TCPInfo() (TCPInfo, bool) {
	tcp, ok := c.NetConn().(*net.TCPConn)
	if !ok {
		return TCPInfo{}, false
	}
	info, ok := sock.InfoOf(tcp)
	return TCPInfo(info), ok
}

// lookEvery is how many bytes are written between two looks at how the
// connection does: few enough for a slow one, and beside the encryption of as
// many a look costs next to nothing.
const lookEvery = 64 << 10

// tuning fits a TCP connection to its path while bytes are written to it.
type tuning struct {
	mu    sync.Mutex
	tuner *sock.Tuner // nil when there is nothing to do, or nothing any more
	bytes int         // written since the last look
}

func newTuning(c net.Conn, rtt time.Duration, congestion string) *tuning {
	t := &tuning{}
	tcp, ok := c.(*net.TCPConn)
	switch {
	case !ok:
	case congestion != "":
		sock.Choose(tcp, congestion) //nolint:errcheck // where it is not to be had, TCPInfo tells what is
	default:
		t.tuner = sock.Tune(tcp, rtt)
	}
	return t
}

func (t *tuning) wrote(n int) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tuner == nil {
		return
	}
	if t.bytes += n; t.bytes < lookEvery {
		return
	}
	t.bytes = 0
	if !t.tuner.Look() {
		t.tuner = nil
	}
}
