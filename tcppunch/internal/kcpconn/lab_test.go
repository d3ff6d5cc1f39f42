//go:build linux

package kcpconn_test

import (
	"flag"
	"fmt"
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

var grid = flag.Bool("kcp.grid", false, "measure over a grid of links, which takes half an hour")

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

// run is one measurement in the lab.
type run struct {
	mbits    float64
	rtt, min time.Duration // largest smoothed RTT and shortest RTT, of KCP only
}

// measure fills the link from a to b with one flow, of "kcp" or a TCP congestion control.
func measure(t testing.TB, k natlab.Link, kind string, warm, length time.Duration) (r run) {
	t.Helper()
	lab := labPair(t, k)
	begin := time.Now().Add(warm)
	stop := begin.Add(length)
	if kind != "kcp" {
		a, b := tcpPair(t, lab, kind)
		r.mbits = start(a, b, begin, stop).mbits(length)
		t.Logf("%s: %.1f Mbit/s", kind, r.mbits)
		return r
	}
	a, b := kcpPair(t, lab)
	f := start(a, b, begin, stop)
	r.rtt = <-rtts(a, begin, stop)
	r.mbits = f.mbits(length)
	r.min = a.Stats().MinRTT
	t.Logf("%s: %.1f Mbit/s, RTT up to %v, %+v", kind, r.mbits, r.rtt, a.Stats())
	return r
}

// KCP fills a long path, with and without losses, does not fill its queue, and
// is much faster than CUBIC where packets are lost.
func TestFillsLink(t *testing.T) {
	clean := natlab.Link{Rate: 100e6, Delay: 50 * time.Millisecond}
	lossy := clean
	lossy.Loss = 0.01
	const warm, length = 2 * time.Second, 4 * time.Second
	attempt(t, func() error {
		r := measure(t, clean, "kcp", warm, length)
		if r.mbits < 90 || r.rtt > 2*r.min {
			return fmt.Errorf("%.1f Mbit/s on a clean link; the queue takes %v on a path of %v", r.mbits, r.rtt-r.min, r.min)
		}
		return nil
	})
	attempt(t, func() error {
		r, cubic := measure(t, lossy, "kcp", warm, length), measure(t, lossy, "cubic", warm, length)
		measure(t, lossy, "bbr", warm, length)
		if r.mbits < 70 || r.mbits < 3*cubic.mbits {
			return fmt.Errorf("%.1f Mbit/s where 1 %% is lost, CUBIC %.1f", r.mbits, cubic.mbits)
		}
		return nil
	})
}

// attempt tries three times: the machine may be busy. What the race detector
// slows down is not measured.
func attempt(t *testing.T, f func() error) {
	t.Helper()
	if kcpconn.RaceEnabled || testing.Short() {
		t.Skip("speed is not measured")
	}
	var err error
	for range 3 {
		if err = f(); err == nil {
			return
		}
		t.Log("again: ", err)
	}
	t.Error(err)
}

// share sends a TCP flow and a KCP flow over one link and returns the share of KCP.
func share(t testing.TB, k natlab.Link, algorithm string, warm, length time.Duration) float64 {
	t.Helper()
	lab := labPair(t, k)
	ta, tb := tcpPair(t, lab, algorithm)
	ka, kb := kcpPair(t, lab)
	begin := time.Now().Add(warm)
	stop := begin.Add(length)
	tcp := start(ta, tb, begin, stop)
	time.Sleep(500 * time.Millisecond) // TCP is there first
	kcp := start(ka, kb, begin, stop)
	x, y := tcp.mbits(length), kcp.mbits(length)
	t.Logf("%s %.1f Mbit/s, KCP %.1f Mbit/s, %+v", algorithm, x, y, ka.Stats())
	return y / (x + y)
}

// Neither KCP nor CUBIC starves beside the other.
func TestShares(t *testing.T) {
	k := natlab.Link{Rate: 20e6, Delay: 20 * time.Millisecond, Queue: 64 << 10}
	attempt(t, func() error {
		if got := share(t, k, "cubic", 4*time.Second, 12*time.Second); got < 0.25 || got > 0.75 {
			return fmt.Errorf("KCP has %.0f %% of the link", 100*got)
		}
		return nil
	})
}

// TestGrid measures what the others only check, when it is asked to.
func TestGrid(t *testing.T) {
	if !*grid {
		t.Skip("only with -kcp.grid")
	}
	for _, rate := range []int64{20e6, 100e6, 500e6} {
		for _, rtt := range []time.Duration{10, 50, 100, 200} {
			for _, loss := range []float64{0, 0.001, 0.01, 0.03} {
				for _, kind := range []string{"kcp", "cubic", "bbr"} {
					t.Run(fmt.Sprintf("%d Mbit %d ms %g %% %s", rate/1e6, rtt, 100*loss, kind), func(t *testing.T) {
						measure(t, natlab.Link{Rate: rate, Delay: rtt * time.Millisecond / 2, Loss: loss}, kind, 3*time.Second, 6*time.Second)
					})
				}
			}
		}
	}
	for _, k := range []natlab.Link{
		{Rate: 20e6, Delay: 5 * time.Millisecond, Queue: 64 << 10},
		{Rate: 20e6, Delay: 20 * time.Millisecond, Queue: 64 << 10},
		{Rate: 20e6, Delay: 50 * time.Millisecond, Queue: 64 << 10},
		{Rate: 20e6, Delay: 20 * time.Millisecond},
		{Rate: 100e6, Delay: 50 * time.Millisecond},
	} {
		for _, algorithm := range []string{"cubic", "bbr"} {
			t.Run(fmt.Sprintf("beside %s: %d Mbit %v %d", algorithm, k.Rate/1e6, 2*k.Delay, k.Queue), func(t *testing.T) {
				t.Logf("KCP has %.0f %%", 100*share(t, k, algorithm, 5*time.Second, 25*time.Second))
			})
		}
	}
}

// A NAT that restarts gives the peer a new port; the stream goes on.
func TestNATRestarts(t *testing.T) {
	lab := natlab.New(t, natlab.Topology{
		NATs:  []natlab.NAT{{Name: "home", Ports: natlab.Random, Link: natlab.Link{Delay: 10 * time.Millisecond}}},
		Hosts: []natlab.Host{{Name: "a", Behind: "home"}, {Name: "b"}},
	})
	accepted := make(chan *kcpconn.Conn, 1)
	h := &datagram.Handler{Data: func(s *datagram.Socket, _ []byte, from netip.AddrPort) {
		accepted <- kcpconn.New(s, from, &kcpconn.Config{ID: 7, Key: []byte("k")})
	}}
	var s [2]*datagram.Socket
	for i, host := range lab.Hosts() {
		if err := host.Do(func() (err error) {
			s[i], err = datagram.Listen(t.Context(), "udp4", 7070, h)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		defer s[i].Close()
	}
	a := kcpconn.New(s[0], netip.AddrPortFrom(lab.Host("b").Addr(), 7070), &kcpconn.Config{ID: 7, Key: []byte("k"), Client: true})
	defer a.Discard()
	buf := make([]byte, 5)
	var b *kcpconn.Conn
	for i := range 3 {
		if _, err := a.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if b == nil {
			b = <-accepted
			defer b.Discard()
		}
		b.SetReadDeadline(time.Now().Add(5 * time.Second)) //nolint:errcheck // never fails
		if _, err := io.ReadFull(b, buf); err != nil {
			t.Fatalf("after %d restarts: %v", i, err)
		}
		before := b.RemoteAddr().String()
		b.Write([]byte("world")) //nolint:errcheck // Read tells
		if _, err := io.ReadFull(a, buf); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			t.Logf("the peer is at %s", before)
		}
		if err := lab.NAT("home").Reboot(); err != nil {
			t.Fatal(err)
		}
	}
}
