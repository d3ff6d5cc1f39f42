package kcpconn

import (
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

const mbit = 1e6 / 8

// pour writes until the time is over and returns what the other end read per
// second after the first warm seconds.
func pour(t *testing.T, from, to *Conn, warm, whole time.Duration) float64 {
	t.Helper()
	stop := time.Now().Add(whole)
	go func() {
		buf := make([]byte, 64<<10)
		for time.Now().Before(stop) {
			if _, err := from.Write(buf); err != nil {
				return
			}
		}
	}()
	begin, got := time.Now(), 0
	buf := make([]byte, 256<<10)
	to.SetReadDeadline(stop) //nolint:errcheck // never fails
	for {
		n, err := to.Read(buf)
		if time.Since(begin) > warm {
			got += n
		}
		if err != nil {
			break
		}
	}
	to.SetReadDeadline(time.Time{}) //nolint:errcheck // never fails
	go io.Copy(io.Discard, to)      //nolint:errcheck // what is still on its way
	return float64(got) / (whole - warm).Seconds()
}

func TestSpeed(t *testing.T) {
	tests := []struct {
		link link
		want float64 // share of the link's rate
	}{
		{link{rate: 100 * mbit, delay: 50 * time.Millisecond, queue: 1250000}, 0.9},
		{link{rate: 100 * mbit, delay: 50 * time.Millisecond, queue: 1250000, loss: 0.01}, 0.7},
		{link{rate: 100 * mbit, delay: 50 * time.Millisecond, queue: 1250000, loss: 0.03}, 0.7},
		{link{rate: 20 * mbit, delay: 50 * time.Millisecond, queue: 64 << 10}, 0.8},
		{link{rate: 20 * mbit, delay: 10 * time.Millisecond, queue: 64 << 10}, 0.8},
		{link{rate: 20 * mbit, delay: 5 * time.Millisecond, queue: 250000}, 0.8},
		{link{rate: 500 * mbit, delay: 100 * time.Millisecond, queue: 6250000}, 0.8},
		{link{rate: 500 * mbit, delay: 100 * time.Millisecond, queue: 6250000, loss: 0.01}, 0.7},
		{link{rate: 1 * mbit, delay: 100 * time.Millisecond, queue: 32 << 10}, 0.7},
		{link{rate: 20 * mbit, delay: 50 * time.Millisecond, queue: 250000, reorder: 0.02, late: 10 * time.Millisecond, duplicate: 0.01}, 0.8},
		{link{rate: 20 * mbit, delay: 50 * time.Millisecond, queue: 250000, reorder: 0.02, late: 60 * time.Millisecond}, 0.8},
	}
	for _, tt := range tests {
		k := tt.link
		t.Run(fmt.Sprintf("%gMbit,%v,%d,%g%%,r%g", k.rate/mbit, 2*k.delay, k.queue, k.loss*100, k.reorder), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPath(t, k)
				a, b := p.streams()
				go func() {
					time.Sleep(3 * time.Second)
					p.queued()
				}()
				begin := time.Now()
				got := pour(t, a, b, 3*time.Second, 15*time.Second) / k.rate
				s := a.Stats()
				t.Logf("%.1f %%, queue %v, %d drops, sent %d, again %d, lost %d, spurious %d, rtt %v min %v, %s, rate %.1f", got*100, p.queued(), p.drops, s.Sent, s.Retransmitted, s.Lost, s.Spurious, s.RTT, s.MinRTT, s.Phase, s.Rate/mbit)
				if got < tt.want {
					t.Errorf("got %.3f of the link, want %.3f", got, tt.want)
				}
				_ = begin
				a.Discard()
				b.Discard()
			})
		})
	}
}
