package natcheck

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcppunch/tcppunch/stunt/natcheck/internal/syn"
)

// The wait for routers that do not answer: as long as it takes on most paths, or three times as long as the slowest
// answer took.
const (
	routersTime    = 300 * time.Millisecond
	maxRoutersTime = 1500 * time.Millisecond
)

// The ports that the packets go to: those of traceroute, of which nobody listens on any.
const traceroutePort = 33434

// Routers counts the routers between this host and the public side of its network: those which the path to the given
// public address crosses before it leaves private (RFC 1918), shared (RFC 6598) and link-local address space. It is 0
// on a host with a public address, 1 behind a home router, 2 behind one that is behind a carrier's NAT. A packet needs
// a TTL of one more to get out.
//
// It sends eight UDP datagrams with TTLs from 1 to 8 at once, and reads the routers' addresses from the ICMP errors
// that come back. No privilege is needed. It waits no longer than until the answer is clear, and 300 ms at most, or three
// times as long as the slowest answer took; with none from the public side by then, the error is [ErrNoAnswer], for how
// many routers are silent cannot be known. Only Linux and IPv4 are supported: else it is errors.ErrUnsupported.
func Routers(ctx context.Context, to netip.Addr) (n int, err error) {
	to = to.Unmap()
	if !to.Is4() {
		return 0, fmt.Errorf("counting routers to %v: %w", to, errors.ErrUnsupported)
	}
	ctx, cancel := context.WithTimeout(ctx, maxRoutersTime)
	defer cancel()
	if n, err = countRouters(ctx, to); err != nil {
		return 0, fmt.Errorf("counting routers to %v: %w", to, err)
	}
	return n, nil
}

func countRouters(ctx context.Context, to netip.Addr) (int, error) {
	pc, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return 0, err
	}
	defer pc.Close()
	raw, err := pc.SyscallConn()
	if err != nil {
		return 0, err
	}
	var path [maxHops]netip.Addr
	for i := range path {
		if err := sendWithTTL(raw, i+1, netip.AddrPortFrom(to, traceroutePort+uint16(i))); err != nil {
			return 0, err
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = pc.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	began := time.Now()
	late := began.Add(routersTime)
	for {
		if n, clear := inside(path[:], false); clear {
			return n, nil
		}
		if err := pc.SetReadDeadline(late); err != nil {
			return 0, err
		}
		if err := ctx.Err(); err != nil && !errors.Is(err, context.DeadlineExceeded) { // the deadline just set may have hidden it
			return 0, err
		}
		hop, from, err := readHop(raw)
		if errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(ctx.Err(), context.Canceled) {
			break
		}
		if err != nil {
			return 0, err
		}
		if hop >= 0 && hop < maxHops {
			path[hop] = from
			if slow := began.Add(min(3*time.Since(began), maxRoutersTime)); slow.After(late) {
				late = slow
			}
		}
	}
	n, clear := inside(path[:], true)
	if !clear {
		return 0, ErrNoAnswer
	}
	return n, nil
}

type rawConn interface {
	Control(func(uintptr)) error
	Read(func(uintptr) bool) error
}

func sendWithTTL(raw rawConn, ttl int, to netip.AddrPort) error {
	var err error
	sa := &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	cerr := raw.Control(func(fd uintptr) {
		if err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVERR, 1); err != nil {
			return
		}
		if err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, ttl); err != nil {
			return
		}
		// An error may be that of an earlier packet, which is about to be read.
		for range maxHops {
			if err = unix.Sendto(int(fd), nil, 0, sa); err == nil || !icmpErrno(err) {
				return
			}
		}
	})
	return errors.Join(cerr, err)
}

// icmpErrno reports whether a send failed because of an ICMP error that came for another packet.
func icmpErrno(err error) bool {
	return errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENETUNREACH)
}

// readHop waits for an ICMP error. It returns which packet it is about, counted from 0, or -1 if it is about none, and
// who sent it.
func readHop(raw rawConn) (hop int, from netip.Addr, err error) {
	hop = -1
	oob := make([]byte, 512)
	rerr := raw.Read(func(fd uintptr) bool {
		_, n, _, about, e := unix.Recvmsg(int(fd), make([]byte, 64), oob, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if errors.Is(e, unix.EAGAIN) {
			// Nothing: wait for more, after throwing away what strangers may have sent.
			_, _, e = unix.Recvfrom(int(fd), make([]byte, 64), unix.MSG_DONTWAIT)
			return e != nil && !errors.Is(e, unix.EAGAIN) && !icmpErrno(e)
		}
		if err = e; e != nil {
			return true
		}
		to, ok := about.(*unix.SockaddrInet4) // where the packet was sent
		if ee, known := syn.ParseExtendedError(oob[:n]); known && ok && ee.Origin == unix.SO_EE_ORIGIN_ICMP {
			hop, from = to.Port-traceroutePort, ee.Offender
		}
		return true
	})
	return hop, from, errors.Join(rerr, err)
}
