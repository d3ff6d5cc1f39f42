package main

import (
	"context"
	"flag"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// Two flows on one narrow link; scripts/bench share runs them.
var shareRun = flag.Bool("share", false, "measure UDP alone, and beside TCP, on a narrow link with a short queue")

const (
	shareRate   = 20e6
	shareQueue  = 64 << 10
	shareTime   = 10 * time.Second
	shareWindow = 6 * time.Second // over which TCP's least speed is taken
	shareTick   = 100 * time.Millisecond
)

// TestShare measures UDP on a link of 20 Mbit/s with a queue of 64 KiB, alone and
// beside a TCP flow with CUBIC in the same direction. Neither may get less than a
// quarter of the link.
func TestShare(t *testing.T) {
	if !*shareRun {
		t.Skip("figures, not a test: run scripts/bench share")
	}
	for _, rtt := range []time.Duration{10 * time.Millisecond, 40 * time.Millisecond, 100 * time.Millisecond} {
		top := twoNATs(natlab.NAT{}, natlab.NAT{})
		top.NATs[0].Link = natlab.Link{Rate: shareRate, Queue: shareQueue, Delay: rtt / 4}
		top.NATs[1].Link.Delay = rtt / 4
		p := newMeetingPlaceIn(t, top)
		alone := p.sendByUDP(t)
		stop := p.sendByCUBIC(t)
		time.Sleep(3 * time.Second) // it has the link to itself
		beside := p.sendByUDP(t)
		least := stop()
		t.Logf("%v: UDP alone %.1f of %d Mbit/s; beside CUBIC UDP %.1f; CUBIC, in its worst %v, %.1f", rtt, alone, int(shareRate/1e6), beside, shareWindow, least)
		if quarter := shareRate / 4e6; alone < 3*quarter || beside < quarter || least < quarter {
			t.Errorf("%v: want no collapse, and a quarter for each", rtt)
		}
	}
}

// sendByUDP returns the speed from a to b in Mbit/s.
func (p *meetingPlace) sendByUDP(t *testing.T) float64 {
	t.Helper()
	how := []string{"bench", "--via=kcp", "--time", shareTime.String(), "--timeout=60s"}
	a := p.a.start(how...)
	b := p.b.start(append(how, a.code())...)
	if a.status() != 0 || b.status() != 0 {
		t.Fatalf("bench failed: %s\n%s", a.Stderr, b.Stderr)
	}
	return a.results()["kcp send"].Mbit
}

// sendByCUBIC has a send to the server until stop, which returns the lowest speed in
// Mbit/s over shareWindow.
func (p *meetingPlace) sendByCUBIC(t *testing.T) (stop func() float64) {
	t.Helper()
	ln, err := p.server.host.Listen("tcp4", ":9000")
	if err != nil {
		t.Fatal(err)
	}
	var got atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := conn.Read(buf)
			if got.Add(int64(n)); err != nil {
				return
			}
		}
	}()
	var conn net.Conn
	err = p.a.host.Do(func() (err error) {
		d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
			c.Control(func(fd uintptr) { //nolint:errcheck // the socket is new
				err = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, "cubic")
			})
			return err
		}}
		conn, err = d.DialContext(ctx, "tcp4", serverAddr+":9000")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	go io.Copy(conn, endless{}) //nolint:errcheck // until it is closed
	lowest := make(chan float64, 1)
	go func() {
		var counts []int64
		for ctx.Err() == nil {
			counts = append(counts, got.Load())
			time.Sleep(shareTick)
		}
		least, n := shareRate, int(shareWindow/shareTick)
		for i := n; i < len(counts); i++ {
			least = min(least, float64(counts[i]-counts[i-n])*8/shareWindow.Seconds())
		}
		lowest <- least / 1e6
	}()
	return func() float64 {
		cancel()
		conn.Close()
		ln.Close()
		return <-lowest
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }
