//go:build linux

package tcppunch

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// within is long enough for what must happen, on a machine with much to do.
const within = 20 * time.Second

// inOneRoundTrip checks that what a try does takes one round trip. It may try
// again, on a machine with much to do: waiting for a SYN that is sent again
// takes a second every time.
func inOneRoundTrip(t *testing.T, try func(n int) time.Duration) {
	t.Helper()
	var took time.Duration
	for n := range 5 {
		if took = try(n); t.Failed() || took < labRTT*95/100 {
			break
		}
		if took < 9*labRTT {
			return
		}
	}
	t.Errorf("connected after %v, want one round trip of %v", took, labRTT)
}

// A plain is a TCP socket in connect as any program makes one. The facts about
// techniques that are not the engine's are shown with it.
type plain struct {
	fd int
	v6 bool
}

// options are socket options of the IP level, or of IPv6's.
type options map[int]int

// errPending is the outcome of a connect that has none yet.
var errPending = errors.New("still connecting")

// connectFrom begins to connect from a port of a lab's host. The port may be
// shared with other sockets.
func connectFrom(m *natlab.Machine, port int, to netip.AddrPort, o options) (*plain, error) {
	p := &plain{v6: to.Addr().Is6()}
	err := m.Do(func() (err error) {
		family, local := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: port})
		remote := unix.Sockaddr(&unix.SockaddrInet4{Port: int(to.Port())})
		if p.v6 {
			family, local = unix.AF_INET6, &unix.SockaddrInet6{Port: port}
			remote = &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
		} else {
			remote.(*unix.SockaddrInet4).Addr = to.Addr().As4()
		}
		if p.fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if err := errors.Join(shareFD(p.fd), p.set(o), unix.Bind(p.fd, local)); err != nil {
			return err
		}
		if err := unix.Connect(p.fd, remote); !errors.Is(err, unix.EINPROGRESS) {
			return err
		}
		return nil
	})
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// mustConnect is connectFrom where beginning to connect cannot fail.
func mustConnect(t *testing.T, m *natlab.Machine, port int, to netip.AddrPort, o options) *plain {
	t.Helper()
	p, err := connectFrom(m, port, to, o)
	if err != nil {
		t.Fatalf("connecting from %s, port %d: %v", m.Name(), port, err)
	}
	t.Cleanup(p.close)
	return p
}

func shareFD(fd int) error {
	return errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
}

func (p *plain) set(o options) error {
	level := unix.IPPROTO_IP
	if p.v6 {
		level = unix.IPPROTO_IPV6
	}
	for name, value := range o {
		if err := unix.SetsockoptInt(p.fd, level, name, value); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	return nil
}

// outcome waits until the socket is connected or has failed, and returns
// errPending when it is neither in time.
func (p *plain) outcome(limit time.Duration) error {
	fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLOUT}}
	for end := time.Now().Add(limit); ; {
		n, err := unix.Poll(fds, max(0, int(time.Until(end).Milliseconds())))
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		case n == 0:
			return errPending
		}
		code, err := unix.GetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 {
			err = unix.Errno(code)
		}
		return err
	}
}

// greet exchanges a byte over a connected socket.
func (p *plain) greet(limit time.Duration) error {
	f := os.NewFile(uintptr(p.fd), "tcp")
	p.fd = 0
	conn, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(limit)) //nolint:errcheck // the reading tells
	if _, err := conn.Write([]byte{'!'}); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1))
	return err
}

func (p *plain) close() {
	if p.fd > 0 {
		unix.Close(p.fd) //nolint:errcheck // nothing was written
		p.fd = 0
	}
}

// wantConnected checks that both ends of a connection are connected, and that a
// byte passes each way.
func wantConnected(t *testing.T, ends ...*plain) {
	t.Helper()
	var wg sync.WaitGroup
	for _, p := range ends {
		wg.Go(func() {
			err := p.outcome(within)
			if err == nil {
				err = p.greet(within)
			}
			if err != nil {
				t.Errorf("connecting: %v", err)
			}
		})
	}
	wg.Wait()
}

// listenShared listens on a port of a lab's host that other sockets share.
func listenShared(t *testing.T, m *natlab.Machine, port int) *net.TCPListener {
	t.Helper()
	var ln net.Listener
	err := m.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), "tcp")
		defer f.Close()
		if err := errors.Join(shareFD(fd), unix.Bind(fd, &unix.SockaddrInet4{Port: port}), unix.Listen(fd, 16)); err != nil {
			return err
		}
		ln, err = net.FileListener(f)
		return err
	})
	if err != nil {
		t.Fatalf("listening on %s, port %d: %v", m.Name(), port, err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.(*net.TCPListener)
}

// lateness begins to watch how late this process is, and so the lab in it, when
// it wants to be on time. What it returns ends that and tells the worst.
func lateness() func() time.Duration {
	stop, worst := make(chan struct{}), make(chan time.Duration)
	go func() {
		var most time.Duration
		for {
			due := time.Now().Add(2 * time.Millisecond)
			select {
			case <-stop:
				worst <- most
				return
			case <-time.After(2 * time.Millisecond):
				most = max(most, time.Since(due))
			}
		}
	}()
	return func() time.Duration {
		close(stop)
		return <-worst
	}
}

// A redialler is one side of two that dial each other again and again.
type redialler struct {
	host *natlab.Machine
	port int
	to   netip.AddrPort
	// pause is how long to wait after a refusal, or, where it is negative, how
	// long to hold a socket before another takes its place.
	pause func() time.Duration
}

// run dials until a byte has passed each way. It reports whether one did.
func (r *redialler) run(ctx context.Context) bool {
	for ctx.Err() == nil {
		end, _ := ctx.Deadline()
		hold, pause := time.Until(end), r.pause()
		if pause < 0 {
			hold, pause = -pause, 0
		}
		p, err := connectFrom(r.host, r.port, r.to, nil)
		if err == nil {
			err = p.outcome(hold)
			if err == nil && p.greet(2*time.Second) == nil {
				return true
			}
			p.close()
		}
		_ = sleep(ctx, pause) //nolint:errcheck // the loop looks
	}
	return false
}

// meetAgain runs pairs of rediallers, each on a port of its own, the second of
// each pair later by its skew, and returns how many met in time.
func meetAgain(lab *natlab.Lab, first int, skews []time.Duration, limit time.Duration, pause func() time.Duration) int {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var wg sync.WaitGroup
	met := make([][2]bool, len(skews))
	begin := time.Now().Add(50 * time.Millisecond)
	for i, skew := range skews {
		port := uint16(first + i)
		for side, name := range []string{"a", "b"} {
			r := redialler{lab.Host(name), int(port), netip.AddrPortFrom(lab.NAT([]string{"office", "home"}[side]).Addr(), port), pause}
			wg.Go(func() {
				if sleep(ctx, time.Until(begin.Add(time.Duration(side)*skew))) == nil {
					met[i][side] = r.run(ctx)
				}
			})
		}
	}
	wg.Wait()
	n := 0
	for _, m := range met {
		if m[0] && m[1] {
			n++
		}
	}
	return n
}

// wire collects what a lab's tap sees.
type wire struct {
	mu  sync.Mutex
	all []natlab.Capture
}

func (w *wire) add(c natlab.Capture) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c.Data = append([]byte(nil), c.Data...)
	w.all = append(w.all, c)
}

// segments returns the TCP segments with just these flags that a node sent
// towards the core, or that came from there.
func (w *wire) segments(where string, inbound bool, flags string) []natlab.Capture {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []natlab.Capture
	for _, c := range w.all {
		if c.Where == where && c.Inbound == inbound && c.Side != natlab.Inside && c.Protocol() == natlab.TCP && c.Flags() == flags {
			found = append(found, c)
		}
	}
	return found
}

// protocol returns the packets of a protocol that have come to a host.
func (w *wire) protocol(host string, proto natlab.Protocol) []natlab.Capture {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []natlab.Capture
	for _, c := range w.all {
		if c.Where == host && c.Inbound && c.Protocol() == proto {
			found = append(found, c)
		}
	}
	return found
}

// wait waits until there are so many such segments.
func (w *wire) wait(t *testing.T, where string, inbound bool, flags string, n int) {
	t.Helper()
	for end := time.Now().Add(within); len(w.segments(where, inbound, flags)) < n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %d segments %q at %s", n, flags, where)
		}
	}
}
