package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	sampleEvery = 100 * time.Millisecond // at least, between samples of a series
	readSize    = 256 << 10
	// drainTime is how long what was sent may take to arrive after the time is over: a
	// deep queue before a slow link.
	drainTime = 30 * time.Second
)

// A load is a step in which data flows one way.
type load struct {
	r     *runner
	step  Step
	conns []net.Conn
	rtt   time.Duration           // of the idle connection
	count func() (Counters, bool) // of all connections together
	began time.Time
	abort context.CancelCauseFunc

	total atomic.Int64 // bytes received: this side's own count
	inner atomic.Int64 // those within the time
	first atomic.Int64 // when the time began, since began; 0 when it has not
	last  atomic.Int64 // when the last came, since began, or its stream ended
}

// load has data flow for the agreed time.
func (r *runner) load(t Transport, o offer, conns []net.Conn, rtt time.Duration, sends bool) (Direction, error) {
	l := &load{r: r, conns: conns, rtt: rtt, step: Step{Transport: o.Name, Streams: o.Streams, Phase: PhaseReceive, Time: r.plan.time}}
	part := l.receive
	if sends {
		l.step.Phase, part = PhaseSend, l.send
		if r.data == nil {
			r.data = newSource()
		}
	}
	l.count = func() (Counters, bool) { return addUp(conns, t.Counters) }
	limit := r.plan.time + drainTime + r.opt.Stall
	mine, theirs, err := r.step(l.step, limit, func(ctx context.Context) (done, error) { return l.run(ctx, part) })
	if err != nil {
		return unknown(), err
	}
	return r.direction(mine, theirs, sends), nil
}

// run does this side's part, with the round trips and the counts beside it.
func (l *load) run(ctx context.Context, part func(context.Context, *done) error) (done, error) {
	ctx, l.abort = context.WithCancelCause(ctx)
	defer l.abort(nil)
	defer closing(ctx, l.conns...)()
	d := nothing()
	l.r.link.count.Store(0)
	before, counted := l.count()
	cpu, cpuKnown := cpuTime()
	l.began = time.Now()
	beside, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	if l.r.plan.controller {
		p := newPinger(l.r.link)
		wg.Go(func() { d.Pings = p.run(beside, max(loadedEvery, l.step.Time/(maxSamples/2))) })
	}
	wg.Go(func() { l.watch(beside, &d) })
	err := part(ctx, &d)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	if now, ok := cpuTime(); ok && cpuKnown {
		d.CPU = micros(now - cpu)
	}
	stop()
	wg.Wait()
	after, ok := l.count()
	if l.step.Phase == PhaseSend && counted && ok {
		d.Retransmits, d.Packets, d.Congestion = after.Retransmits-before.Retransmits, after.Packets-before.Packets, after.Congestion
	}
	return d, err
}

// all does f for every connection at once. The first error closes all, which ends the
// others.
func (l *load) all(f func(int, net.Conn) error) error {
	var wg sync.WaitGroup
	var once sync.Once
	var first error
	for i, c := range l.conns {
		wg.Go(func() {
			if err := f(i, c); err != nil {
				once.Do(func() { first = err })
				closeAll(l.conns)
			}
		})
	}
	wg.Wait()
	return first
}

// send writes for the time, and waits until all has arrived.
func (l *load) send(ctx context.Context, _ *done) error {
	end := l.began.Add(l.step.Time)
	return l.all(func(i int, c net.Conn) error {
		for n := i * 7; time.Now().Before(end) && ctx.Err() == nil; n++ {
			if _, err := c.Write(l.r.data.block(n)); err != nil {
				return broke(err)
			}
		}
		if _, err := c.Write(appendFrame(nil, kindEnd, nil)); err != nil {
			return broke(err)
		}
		var h [headerSize]byte
		if _, err := io.ReadFull(c, h[:]); err != nil {
			return broke(err)
		}
		if k, _, err := parseHeader(h[:]); err != nil || k != kindEnd {
			return violation("%s instead of END", kind(h[0]))
		}
		return nil
	})
}

// receive counts what comes, and says so when that was all.
func (l *load) receive(ctx context.Context, d *done) error {
	err := l.all(func(_ int, c net.Conn) error {
		var p parser
		b := make([]byte, readSize)
		for !p.ended {
			n, err := c.Read(b)
			data, bad := p.feed(b[:n])
			l.arrived(data)
			if err = errors.Join(bad, err); err != nil && !p.ended || bad != nil {
				return broke(err)
			}
		}
		_, err := c.Write(appendFrame(nil, kindEnd, nil))
		return err
	})
	d.Bytes, d.Carried = l.inner.Load(), l.total.Load()
	if d.Bytes > 0 {
		d.Elapsed = max(1, micros(min(l.step.Time, time.Duration(l.last.Load()-l.first.Load()))))
	}
	return err
}

// arrived counts bytes. Those after the time are only part of the total. The time
// begins with the first, which should not need more than a round trip.
func (l *load) arrived(n int) {
	if n == 0 {
		return
	}
	now := max(1, int64(time.Since(l.began)))
	l.first.CompareAndSwap(0, max(1, min(now, int64(l.rtt))))
	l.total.Add(int64(n))
	l.last.Store(now)
	if now-l.first.Load() <= int64(l.step.Time) {
		l.inner.Add(int64(n))
	}
}

// watch takes the samples, tells both people of them, and stops what has stalled.
func (l *load) watch(ctx context.Context, d *done) {
	receives := l.step.Phase == PhaseReceive
	t := time.NewTicker(max(sampleEvery, l.step.Time/(maxSamples/2)))
	defer t.Stop()
	var last int64
	moved := l.began
	for {
		over := false
		select {
		case <-t.C:
		case <-ctx.Done():
			over = true
		}
		since, bytes := time.Since(l.began), l.r.link.count.Load()
		if receives {
			bytes = l.total.Load()
			if len(d.Series) < maxSamples {
				d.Series = append(d.Series, [2]int64{micros(since), bytes})
			}
			l.r.link.writeSoon(kindCount, binary.BigEndian.AppendUint64(nil, uint64(bytes)))
		}
		if f := l.r.opt.Trace.Progress; f != nil {
			f(l.step, since, bytes)
		}
		if over {
			return
		}
		if bytes != last {
			last, moved = bytes, time.Now()
		}
		if receives && time.Since(moved) > l.r.opt.Stall {
			l.abort(fmt.Errorf("nothing has arrived for %v", l.r.opt.Stall))
			receives = false
		}
	}
}

// direction puts together what both sides have measured.
func (r *runner) direction(mine, theirs done, sends bool) Direction {
	from, to, leads := theirs, mine, theirs
	if sends {
		from, to = mine, theirs
	}
	if r.plan.controller {
		leads = mine
	}
	d := Direction{
		Bytes: to.Bytes, Elapsed: fromMicros(to.Elapsed), Carried: to.Carried,
		Retransmits: from.Retransmits, Packets: from.Packets, Congestion: from.Congestion,
		CPU: cpuOf(mine), PeerCPU: cpuOf(theirs),
	}
	for _, s := range to.Series {
		d.Series = append(d.Series, Sample{At: fromMicros(s[0]), Bytes: s[1]})
	}
	var rtts []time.Duration
	for _, p := range leads.Pings {
		d.Pings = append(d.Pings, Ping{At: fromMicros(p[0]), RTT: fromMicros(p[1])})
		rtts = append(rtts, fromMicros(p[1]))
	}
	d.Loaded = latency(rtts)
	return d
}

func cpuOf(d done) time.Duration {
	if d.CPU < 0 {
		return -1
	}
	return fromMicros(d.CPU)
}

// addUp adds what is known of each connection.
func addUp(conns []net.Conn, of func(net.Conn) (Counters, bool)) (Counters, bool) {
	var sum Counters
	for _, conn := range conns {
		c, ok := of(conn)
		if !ok {
			return Counters{}, false
		}
		sum.Retransmits += c.Retransmits
		sum.Packets += c.Packets
		sum.Congestion = c.Congestion
	}
	return sum, true
}
