package sock_test

import (
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcppunch/tcppunch/tcppunch/internal/sock"
	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// usual is what most systems have by default. It is set by socket, because a
// namespace's default can only be what the machine allows to everybody.
const usual = "cubic"

func setUsual(_, _ string, c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, usual)
	}); cerr != nil {
		return cerr
	}
	return err
}

// flow is a TCP connection from host a to host b of a lab.
type flow struct {
	from, to *net.TCPConn
	tuner    *sock.Tuner // nil: it is as the kernel makes it
}

// apart is two hosts with a link between them.
func apart(t *testing.T, k natlab.Link) *natlab.Lab {
	return natlab.New(t, natlab.Topology{Hosts: []natlab.Host{{Name: "a", Link: k}, {Name: "b"}}})
}

func newFlow(t *testing.T, lab *natlab.Lab, tuned bool) (f flow) {
	t.Helper()
	ln, err := lab.Host("b").Listen("tcp4", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	to := net.TCPAddr{IP: lab.Host("b").Addr().AsSlice(), Port: ln.Addr().(*net.TCPAddr).Port}
	if err := lab.Host("a").Do(func() error {
		d := net.Dialer{Control: setUsual}
		d.SetMultipathTCP(false)
		began := time.Now()
		c, err := d.DialContext(t.Context(), "tcp4", to.String())
		if err != nil {
			return err
		}
		f.from = c.(*net.TCPConn)
		if tuned {
			f.tuner = sock.Tune(f.from, time.Since(began))
		}
		return nil
	}); err != nil {
		t.Skipf("no %s here: %v", usual, err)
	}
	t.Cleanup(func() { sock.Discard(f.from) })
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	f.to = c.(*net.TCPConn)
	t.Cleanup(func() { sock.Discard(f.to) })
	return f
}

// run sends as much as it can until the time is over, or enough says so. It
// returns how many Mbit/s arrived.
func (f flow) run(d time.Duration, enough func() bool) float64 {
	began := time.Now()
	f.from.SetWriteDeadline(began.Add(d)) //nolint:errcheck // a test
	f.to.SetReadDeadline(began.Add(d))    //nolint:errcheck // a test
	got := make(chan int64)
	go func() {
		var sum int64
		for b := make([]byte, 1<<18); ; {
			n, err := f.to.Read(b)
			sum += int64(n)
			if err != nil {
				got <- sum
				return
			}
		}
	}()
	more := f.tuner != nil
	for b, sum := make([]byte, 16<<10), 0; ; {
		n, err := f.from.Write(b)
		if err != nil {
			break
		}
		if sum += n; sum >= 64<<10 {
			sum = 0
			more = more && f.tuner.Look()
			if enough != nil && enough() {
				f.to.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // a test
				break
			}
		}
	}
	return float64(<-got) * 8 / 1e6 / time.Since(began).Seconds()
}

func (f flow) control() string {
	i, _ := sock.InfoOf(f.from)
	return i.CongestionControl
}

func needBBR(t *testing.T) {
	t.Helper()
	lab := apart(t, natlab.Link{})
	f := newFlow(t, lab, false)
	raw, err := f.from.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { //nolint:errcheck // a test
		err = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, "bbr")
	})
	if err != nil {
		t.Skipf("no BBR here: %v", err)
	}
}

// BBR is asked for on a long path that loses packets, and not on a short one.
func TestTunePath(t *testing.T) {
	needBBR(t)
	tests := []struct {
		name string
		link natlab.Link
		want string
	}{
		{"long", natlab.Link{Delay: 30 * time.Millisecond, Rate: 20e6, Loss: 0.01}, "bbr"},
		{"long, a short queue", natlab.Link{Delay: 30 * time.Millisecond, Rate: 20e6, Queue: 40000}, "bbr"},
		{"short", natlab.Link{Delay: 2 * time.Millisecond, Rate: 20e6, Loss: 0.01}, usual},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFlow(t, apart(t, tt.link), true)
			f.run(4*time.Second, func() bool { return f.control() == "bbr" })
			if got := f.control(); got != tt.want {
				i, _ := sock.InfoOf(f.from)
				t.Errorf("got %s, want %s: %+v", got, tt.want, i)
			}
		})
	}
}

// A send buffer grows where the kernel stops too early for the path, if the
// machine allows more.
func TestTuneBuffer(t *testing.T) {
	var rates, buffers []float64
	for _, tuned := range []bool{false, true} {
		lab := apart(t, natlab.Link{Delay: 50 * time.Millisecond, Rate: 40e6, Queue: 1 << 20})
		if err := lab.Host("a").Do(func() error {
			return os.WriteFile("/proc/sys/net/ipv4/tcp_wmem", []byte("4096 16384 131072"), 0)
		}); err != nil {
			t.Skip(err)
		}
		f := newFlow(t, lab, tuned)
		rates = append(rates, f.run(3*time.Second, nil))
		raw, err := f.from.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) { //nolint:errcheck // a test
			size, _ := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF)
			buffers = append(buffers, float64(size))
		})
	}
	t.Logf("%.1f Mbit/s with %.0f bytes, %.1f with %.0f", rates[0], buffers[0], rates[1], buffers[1])
	if slices.Max(buffers) != buffers[1] || buffers[1] <= 131072 || rates[1] < 1.5*rates[0] {
		t.Error("the buffer that held back the sender did not grow, or did not help")
	}
}
