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

// KCP fills a link and not its queue. This is in simulated time.
func TestSpeed(t *testing.T) {
	tests := []struct {
		link  link
		want  float64       // share of the link's rate
		queue time.Duration // longest wait in it
	}{
		{link{rate: 20 * mbit, delay: 50 * time.Millisecond, queue: 250000}, 0.9, 50 * time.Millisecond},
		{link{rate: 20 * mbit, delay: 50 * time.Millisecond, queue: 250000, loss: 0.01}, 0.7, 50 * time.Millisecond},
		{link{rate: 20 * mbit, delay: 50 * time.Millisecond, queue: 250000, loss: 0.03}, 0.65, 50 * time.Millisecond},
		{link{rate: 20 * mbit, delay: 50 * time.Millisecond, queue: 64 << 10}, 0.85, time.Second},
		{link{rate: 20 * mbit, delay: 10 * time.Millisecond, queue: 64 << 10}, 0.85, 20 * time.Millisecond},
		{link{rate: 20 * mbit, delay: 10 * time.Millisecond, queue: 16 << 10}, 0.7, time.Second},
		{link{rate: 20 * mbit, delay: 5 * time.Millisecond, queue: 250000}, 0.85, 10 * time.Millisecond},
		{link{rate: 1 * mbit, delay: 100 * time.Millisecond, queue: 32 << 10}, 0.8, 200 * time.Millisecond},
		{link{rate: 20 * mbit, delay: 50 * time.Millisecond, queue: 250000, reorder: 0.02, late: 10 * time.Millisecond, duplicate: 0.02}, 0.85, 100 * time.Millisecond},
		{link{rate: 20 * mbit, delay: 50 * time.Millisecond, queue: 250000, reorder: 0.02, late: 60 * time.Millisecond}, 0.8, 100 * time.Millisecond},
	}
	if !raceEnabled && !testing.Short() {
		for _, loss := range []float64{0, 0.01, 0.03} {
			tests = append(tests, tests[0])
			k := &tests[len(tests)-1]
			k.link = link{rate: 100 * mbit, delay: 50 * time.Millisecond, queue: 1250000, loss: loss}
			k.want, k.queue = []float64{0.9, 0.7, 0.6}[min(int(loss*100), 2)], 100*time.Millisecond
		}
		tests = append(tests, tests[0])
		k := &tests[len(tests)-1]
		k.link = link{rate: 500 * mbit, delay: 100 * time.Millisecond, queue: 6250000, loss: 0.01}
		k.want, k.queue = 0.7, 200*time.Millisecond
	}
	for _, tt := range tests {
		k := tt.link
		t.Run(fmt.Sprintf("%gMbit,%v,%d,%g%%,r%g", k.rate/mbit, 2*k.delay, k.queue, k.loss*100, k.reorder), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPath(t, k)
				a, b := p.streams()
				go func() {
					time.Sleep(4 * time.Second)
					p.queued() // what startup did is not what is judged
				}()
				got := pour(t, a, b, 4*time.Second, 14*time.Second) / k.rate
				queue := p.queued()
				t.Logf("%.1f %% of the link, queue up to %v, %+v", got*100, queue, a.Stats())
				if got < tt.want {
					t.Errorf("got %.3f of the link, want %.3f", got, tt.want)
				}
				if queue > tt.queue {
					t.Errorf("the queue takes %v, want at most %v", queue, tt.queue)
				}
				a.Discard()
				b.Discard()
			})
		})
	}
}
