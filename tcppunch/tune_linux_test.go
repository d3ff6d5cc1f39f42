package tcppunch

import (
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// TestConnLongPath: a Conn that begins with CUBIC has BBR after it has lost
// packets on a long path, and keeps CUBIC on a short one.
func TestConnLongPath(t *testing.T) {
	for want, delay := range map[string]time.Duration{"bbr": 30 * time.Millisecond, "cubic": time.Millisecond} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			link := natlab.Link{Delay: delay, Rate: 20e6, Loss: 0.01}
			lab := natlab.New(t, natlab.Topology{Hosts: []natlab.Host{{Name: "a", Link: link}, {Name: "b"}}})
			ln, err := lab.Host("b").Listen("tcp4", ":7070")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			var a net.Conn
			if err := lab.Host("a").Do(func() (err error) {
				d := net.Dialer{Control: cubic}
				d.SetMultipathTCP(false)
				a, err = d.DialContext(t.Context(), "tcp4", fmt.Sprint(lab.Host("b").Addr(), ":7070"))
				return err
			}); err != nil {
				t.Skip(err)
			}
			b, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			ca, cb := connPair(t, a, b)
			go func() {
				for buf := make([]byte, 1<<16); ; {
					if _, err := cb.Read(buf); err != nil {
						return
					}
				}
			}()
			ca.SetDeadline(time.Now().Add(3 * time.Second)) //nolint:errcheck // a test
			var info TCPInfo
			for err == nil && info.CongestionControl != "bbr" {
				_, err = ca.Write(make([]byte, lookEvery/4))
				info, _ = ca.TCPInfo()
			}
			if info.CongestionControl != want || info.Retransmits == 0 {
				t.Errorf("got %+v, want %s", info, want)
			}
			t.Logf("%+v", info)
		})
	}
}

// cubic makes a socket what it is on most systems.
func cubic(_, _ string, c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) {
		for _, name := range []string{"bbr", "cubic"} { // both must be here for the test
			if err == nil {
				err = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, name)
			}
		}
	}); cerr != nil {
		return cerr
	}
	return err
}
