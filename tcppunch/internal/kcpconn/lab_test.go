//go:build linux

package kcpconn_test

import (
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcppunch/tcppunch/tcppunch/internal/datagram"
	"github.com/tcppunch/tcppunch/tcppunch/internal/kcpconn"
	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// labPair makes two hosts with the link between them.
func labPair(t testing.TB, k natlab.Link) *natlab.Lab {
	t.Helper()
	k.Hops = -1
	lab := natlab.New(t, natlab.Topology{
		Hosts: []natlab.Host{{Name: "a", Link: k}, {Name: "b", Link: natlab.Link{Hops: -1}}},
	})
	for _, h := range lab.Hosts() {
		if err := h.Do(bigWindows); err != nil {
			t.Fatal(err)
		}
	}
	return lab
}

// bigWindows lets TCP have windows that fill a long path.
func bigWindows() error {
	for _, name := range []string{"tcp_rmem", "tcp_wmem"} {
		if err := os.WriteFile("/proc/sys/net/ipv4/"+name, []byte("4096 131072 67108864"), 0); err != nil {
			return err
		}
	}
	return nil
}

// kcpPair makes a stream from a to b.
func kcpPair(t testing.TB, lab *natlab.Lab) (a, b *kcpconn.Conn) {
	t.Helper()
	var s [2]*datagram.Socket
	for i, h := range lab.Hosts() {
		if err := h.Do(func() (err error) {
			s[i], err = datagram.Listen(t.Context(), "udp4", 7070, nil)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s[i].Close() })
	}
	at := func(i int) netip.AddrPort { return netip.AddrPortFrom(lab.Hosts()[i].Addr(), 7070) }
	a = kcpconn.New(s[0], at(1), &kcpconn.Config{ID: 7, Key: []byte("k"), Client: true})
	b = kcpconn.New(s[1], at(0), &kcpconn.Config{ID: 7, Key: []byte("k")})
	t.Cleanup(a.Discard)
	t.Cleanup(b.Discard)
	return a, b
}

// tcpPair makes a TCP connection from a to b with a congestion control.
func tcpPair(t testing.TB, lab *natlab.Lab, algorithm string) (a, b net.Conn) {
	t.Helper()
	ln, err := lab.Host("b").Listen("tcp4", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		cerr := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, algorithm)
		})
		if err == nil {
			err = cerr
		}
		return err
	}}
	d.SetMultipathTCP(false)
	if err := lab.Host("a").Do(func() (err error) {
		port := strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
		a, err = d.DialContext(t.Context(), "tcp4", lab.Host("b").Addr().String()+":"+port)
		return err
	}); err != nil {
		t.Skipf("TCP with %s: %v", algorithm, err)
	}
	if b, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// flow is a stream that is kept full, and counted at the far end.
type flow struct {
	total chan int64
	stop  time.Time
}

// start pours data from one end to the other until stop, and counts from begin on.
func start(from, to net.Conn, begin, stop time.Time) *flow {
	f := &flow{total: make(chan int64, 1), stop: stop}
	go func() {
		buf := make([]byte, 64<<10)
		from.SetWriteDeadline(stop) //nolint:errcheck // a test
		for {
			if _, err := from.Write(buf); err != nil {
				return
			}
		}
	}()
	go func() {
		buf := make([]byte, 256<<10)
		total := int64(0)
		to.SetReadDeadline(stop) //nolint:errcheck // a test
		for {
			n, err := to.Read(buf)
			if now := time.Now(); now.After(begin) {
				total += int64(n)
			}
			if err != nil {
				f.total <- total
				return
			}
		}
	}()
	return f
}

// mbits waits for the end and returns Mbit/s.
func (f *flow) mbits(d time.Duration) float64 { return float64(<-f.total) * 8 / 1e6 / d.Seconds() }

// rtts samples the smoothed RTT of a stream until stop, and returns the largest.
func rtts(c *kcpconn.Conn, begin, stop time.Time) <-chan time.Duration {
	out := make(chan time.Duration, 1)
	go func() {
		var most time.Duration
		for time.Now().Before(stop) {
			time.Sleep(20 * time.Millisecond)
			if time.Now().After(begin) {
				most = max(most, c.Stats().RTT)
			}
		}
		out <- most
	}()
	return out
}

func TestLabShare(t *testing.T) {
	for _, tt := range []struct {
		name string
		link natlab.Link
		algo string
	}{
		{"20M 40ms 64K", natlab.Link{Rate: 20e6, Delay: 20 * time.Millisecond, Queue: 64 << 10}, "cubic"},
		{"20M 10ms 64K", natlab.Link{Rate: 20e6, Delay: 5 * time.Millisecond, Queue: 64 << 10}, "cubic"},
		{"20M 100ms 64K", natlab.Link{Rate: 20e6, Delay: 50 * time.Millisecond, Queue: 64 << 10}, "cubic"},
		{"20M 40ms 250K", natlab.Link{Rate: 20e6, Delay: 20 * time.Millisecond, Queue: 250000}, "cubic"},
		{"20M 40ms 64K", natlab.Link{Rate: 20e6, Delay: 20 * time.Millisecond, Queue: 64 << 10}, "bbr"},
	} {
		t.Run(tt.name+" "+tt.algo, func(t *testing.T) {
			lab := labPair(t, tt.link)
			ta, tb := tcpPair(t, lab, tt.algo)
			ka, kb := kcpPair(t, lab)
			const length = 25 * time.Second
			begin := time.Now().Add(5 * time.Second)
			stop := begin.Add(length)
			tcp := start(ta, tb, begin, stop)
			time.Sleep(time.Second)
			k := start(ka, kb, begin, stop)
			x, y := tcp.mbits(length), k.mbits(length)
			t.Logf("TCP %.1f, KCP %.1f Mbit/s, share of KCP %.0f %% %+v", x, y, 100*y/(x+y), ka.Stats())
		})
	}
}

func TestLabSpeed(t *testing.T) {
	for _, tt := range []struct {
		name string
		link natlab.Link
	}{
		{"0", natlab.Link{Rate: 100e6, Delay: 50 * time.Millisecond}},
		{"1", natlab.Link{Rate: 100e6, Delay: 50 * time.Millisecond, Loss: 0.01}},
	} {
		for _, kind := range []string{"kcp", "cubic", "bbr"} {
			t.Run(tt.name+" "+kind, func(t *testing.T) {
				lab := labPair(t, tt.link)
				const length = 8 * time.Second
				begin := time.Now().Add(3 * time.Second)
				stop := begin.Add(length)
				var a, b net.Conn
				if kind == "kcp" {
					a, b = kcpPair(t, lab)
				} else {
					a, b = tcpPair(t, lab, kind)
				}
				f := start(a, b, begin, stop)
				if k, ok := a.(*kcpconn.Conn); ok {
					most := <-rtts(k, begin, stop)
					t.Logf("largest RTT %v, %+v", most, k.Stats())
				}
				t.Logf("%s: %.1f Mbit/s", kind, f.mbits(length))
			})
		}
	}
}

var _ = io.EOF
