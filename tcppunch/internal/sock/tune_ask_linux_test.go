package sock

import (
	"errors"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func controls(t *testing.T, which string) []string {
	t.Helper()
	b, err := os.ReadFile("/proc/sys/net/ipv4/tcp_" + which + "_congestion_control")
	if err != nil {
		t.Skip(err)
	}
	return strings.Fields(string(b))
}

// An unprivileged program may not have every congestion control. The default
// stays then, without an error, and is not asked about again.
func TestTuneUnprivileged(t *testing.T) {
	restricted := "none-of-this-name"
	allowed := controls(t, "allowed")
	for _, name := range controls(t, "available") {
		if !slices.Contains(allowed, name) {
			restricted = name
		}
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp4", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tuner := Tune(c.(*net.TCPConn), 100*ms)
	tuner.usual, tuner.other = "reno", restricted // reno is always there, and for all
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // and not unlocked: the thread ends, with what it may
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			t.Error(err)
			return
		}
		control(tuner.conn, func(fd int) {
			if err := ask(fd, tuner.usual); err != nil {
				t.Error(err)
			}
			if err := ask(fd, restricted); !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOENT) {
				t.Errorf("%s is for all: %v", restricted, err)
			}
			lossy := &unix.TCPInfo{Rtt: 100e3, Min_rtt: 100e3, Total_retrans: 1}
			if tuner.choose(fd, lossy) || !tuner.choice.bbr {
				t.Error("does not ask, or would ask again")
			}
		})
	}()
	<-ended
	if i, ok := InfoOf(tuner.conn); !ok || i.CongestionControl != tuner.usual {
		t.Errorf("got %q, %v, want the default, %s", i.CongestionControl, ok, tuner.usual)
	}
}

func TestInfoAfterClose(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp4", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	tcp := c.(*net.TCPConn)
	tuner := Tune(tcp, 100*ms)
	if i, ok := InfoOf(tcp); !ok || i.CongestionControl == "" || i.Window == 0 || i.MinRTT > 10e9 {
		t.Errorf("got %+v, %v", i, ok)
	}
	c.Close()
	if i, ok := InfoOf(tcp); ok {
		t.Errorf("after Close: %+v", i)
	}
	if tuner.Look() {
		t.Error("after Close: there is more to look at")
	}
}
