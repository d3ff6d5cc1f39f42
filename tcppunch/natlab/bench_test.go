//go:build linux

package natlab_test

import (
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// BenchmarkThroughput sends one TCP flow from a host through two emulated NATs and the core to another host.
func BenchmarkThroughput(b *testing.B) {
	for _, delay := range []time.Duration{0, time.Millisecond, 12500 * time.Microsecond, 25 * time.Millisecond} {
		b.Run(delay.String(), func(b *testing.B) {
			link := natlab.Link{Delay: delay}
			lab := natlab.New(b, natlab.Topology{
				NATs:  []natlab.NAT{{Name: "home", Link: link}, {Name: "office", Filtering: natlab.EndpointIndependent, Link: link}},
				Hosts: []natlab.Host{{Name: "a", Behind: "home"}, {Name: "b", Behind: "office"}, {Name: "s"}},
			})
			for _, name := range []string{"a", "b"} {
				if err := lab.Host(name).Do(bigWindows); err != nil {
					b.Fatal(err)
				}
			}
			flood(b, lab)
		})
	}
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

// flood opens a mapping at b's NAT and sends from a to it.
func flood(b *testing.B, lab *natlab.Lab) {
	far, err := lab.Host("s").Listen("tcp4", ":7070")
	if err != nil {
		b.Fatal(err)
	}
	defer far.Close()
	ln := client{b, lab.Host("b")}.listen(7070)
	hole, err := client{b, lab.Host("b")}.tcp(7070, netip.AddrPortFrom(lab.Host("s").Addr(), 7070))
	if err != nil {
		b.Fatal(err)
	}
	defer hole.Close()
	got := make(chan net.Conn, 1)
	go func() {
		c, err := ln.Accept()
		if err == nil {
			got <- c
		}
	}()
	c, err := lab.Host("a").Dial(b.Context(), "tcp", netip.AddrPortFrom(lab.NAT("office").Addr(), 7070).String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	sink := <-got
	defer sink.Close()
	const chunk = 1 << 20
	// Slow start is not what is measured.
	transfer(b, c, sink, 256*chunk)
	b.SetBytes(chunk)
	b.ResetTimer()
	begin := time.Now()
	transfer(b, c, sink, int64(b.N)*chunk)
	b.ReportMetric(float64(b.N)*chunk*8/1e6/time.Since(begin).Seconds(), "Mbit/s")
}

func transfer(b *testing.B, from io.Writer, to io.Reader, n int64) {
	go func() {
		buf := make([]byte, 64<<10)
		for left := n; left > 0; {
			m, err := from.Write(buf[:min(left, int64(len(buf)))])
			if err != nil {
				return
			}
			left -= int64(m)
		}
	}()
	if _, err := io.CopyN(io.Discard, to, n); err != nil {
		b.Error(err)
	}
}
