package sock

import (
	"math"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Measured on Linux 6.18, whose BBR is the first version.

// A Tuner fits a connection to its path, as far as the kernel allows it. Its
// methods must be called one at a time.
type Tuner struct {
	conn           *net.TCPConn
	usual          string // the connection's congestion control by default
	other          string // the one for a long path
	choice         choice
	choosing       bool // the choice is not final
	auto, settable int  // limits of send buffers
	growing        bool // the buffer may have to grow
}

// Tune begins to fit a connection to its path, whose round trip the caller has
// measured. What it needs is seen only while it sends: see Look.
func Tune(c *net.TCPConn, rtt time.Duration) *Tuner {
	t := &Tuner{conn: c, other: forLongPaths, choice: choice{rtt: rtt}}
	t.auto, t.settable = bufferLimits()
	t.growing = t.settable > t.auto
	control(c, func(fd int) {
		name, err := congestionControl(fd)
		t.usual, t.choosing = name, err == nil && replaceable(name)
	})
	return t
}

// Look asks for BBR once the default gets slow on a long path by losses that
// are no sign of a full queue, and takes that back where others fill one. Where
// the kernel does not have BBR, or keeps it from unprivileged programs
// (net.ipv4.tcp_allowed_congestion_control), the default stays. Look also raises
// the send buffer where the path needs more than the kernel gives by itself,
// and more is allowed.
//
// It returns false when no later look can do anything. A look costs a system
// call or two: one in 64 KiB written is enough.
func (t *Tuner) Look() (more bool) {
	if !t.choosing && !t.growing {
		return false
	}
	control(t.conn, func(fd int) {
		info, err := tcpInfo(fd)
		if err != nil {
			return
		}
		if t.choosing {
			t.choosing = t.choose(fd, info)
		}
		if t.growing {
			t.growing = t.growBuffer(fd, info)
		}
		more = t.choosing || t.growing
	})
	return more
}

// Choose asks for a congestion control by its name. What the kernel does not have,
// or does not allow, is an error, and the default stays.
func Choose(c *net.TCPConn, name string) error {
	err := net.ErrClosed
	control(c, func(fd int) { err = ask(fd, name) })
	return err
}

// undisturbed is the state of a connection that does not recover from a loss
// (TCP_CA_Open).
const undisturbed = 0

func (t *Tuner) choose(fd int, info *unix.TCPInfo) (more bool) {
	switch t.choice.next(figures{
		rtt:        micros(info.Rtt),
		least:      least(info),
		busy:       time.Duration(info.Busy_time) * time.Microsecond,
		lost:       info.Total_retrans > 0,
		recovering: info.Ca_state != undisturbed,
	}) {
	case leave:
		return ask(fd, t.other) == nil
	case back:
		_ = ask(fd, t.usual) // it was allowed before
		return false
	case done:
		return false
	}
	return true
}

func (t *Tuner) growBuffer(fd int, info *unix.TCPInfo) (more bool) {
	size, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		return false
	}
	mss := int(info.Snd_mss)
	s := sending{
		buffer: size, auto: t.auto, settable: t.settable, rate: info.Delivery_rate, least: least(info),
		flight: int(info.Unacked) * mss, unsent: int(info.Notsent_bytes), window: int(info.Snd_cwnd) * mss,
	}
	size, more = s.grown()
	if size > 0 { // the kernel doubles what it is asked for
		more = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, size/2) == nil
	}
	return more
}

// bufferLimits returns up to how many bytes the kernel raises a send buffer by
// itself, and up to how many a program may raise it; 0 and 0 where that is not
// known.
func bufferLimits() (auto, settable int) {
	auto, err := lastNumber("/proc/sys/net/ipv4/tcp_wmem")
	if err != nil {
		return 0, 0
	}
	most, err := lastNumber("/proc/sys/net/core/wmem_max")
	if err != nil {
		return 0, 0
	}
	return auto, 2 * most
}

func lastNumber(file string) (int, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	s := strings.TrimSpace(string(b))
	return strconv.Atoi(s[strings.LastIndexAny(s, " \t")+1:])
}

// InfoOf returns what the kernel says of a connection, and false after its end.
func InfoOf(c *net.TCPConn) (i Info, ok bool) {
	control(c, func(fd int) {
		info, err := tcpInfo(fd)
		if err != nil {
			return
		}
		name, err := congestionControl(fd)
		if err != nil {
			return
		}
		ok = true
		i = Info{
			CongestionControl: name,
			Retransmits:       uint64(info.Total_retrans),
			BytesSent:         info.Bytes_sent,
			RTT:               micros(info.Rtt),
			MinRTT:            least(info),
			Window:            int(info.Snd_cwnd) * int(info.Snd_mss),
			DeliveryRate:      info.Delivery_rate,
			Busy:              time.Duration(info.Busy_time) * time.Microsecond,
			ReceiverLimited:   time.Duration(info.Rwnd_limited) * time.Microsecond,
			Unsent:            int(info.Notsent_bytes),
		}
	})
	return i, ok
}

func tcpInfo(fd int) (*unix.TCPInfo, error) {
	return unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
}

func congestionControl(fd int) (string, error) {
	return unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION)
}

func ask(fd int, name string) error {
	return unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, name)
}

func micros(n uint32) time.Duration { return time.Duration(n) * time.Microsecond }

// least is the least round trip, 0 before one is known.
func least(info *unix.TCPInfo) time.Duration {
	if info.Min_rtt == math.MaxUint32 {
		return 0
	}
	return micros(info.Min_rtt)
}

// control runs f with the connection's descriptor, unless it is closed.
func control(c *net.TCPConn, f func(fd int)) {
	if raw, err := c.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { f(int(fd)) })
	}
}
