package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	idlePings = 20
	idleEvery = 25 * time.Millisecond
	// pingTime bounds the idle round trips.
	pingTime = 10 * time.Second

	loadedEvery = 50 * time.Millisecond // at least, between pings under load
	pongTime    = 2 * time.Second       // how long those last sent are waited for after it
)

// roundTrips measures the idle connection.
func (r *runner) roundTrips(o offer, conn net.Conn) (Latency, error) {
	part := answer
	if r.plan.controller {
		part = ask
	}
	s := Step{Transport: o.Name, Streams: o.Streams, Phase: PhasePing, Time: idlePings * idleEvery}
	mine, theirs, err := r.step(s, pingTime, func(ctx context.Context) (done, error) {
		defer closing(ctx, conn)()
		d := nothing()
		var err error
		d.RTTs, err = part(ctx, conn)
		return d, err
	})
	if err != nil {
		return Latency{}, err
	}
	if !r.plan.controller {
		mine = theirs
	}
	var rtts []time.Duration
	for _, us := range mine.RTTs {
		rtts = append(rtts, fromMicros(us))
	}
	return latency(rtts), nil
}

// ask sends pings at a steady pace, whatever the round trip, and then END, to which
// the other side answers with END when it has answered all.
func ask(ctx context.Context, conn net.Conn) ([]int64, error) {
	sent := make([]time.Time, idlePings)
	var mu sync.Mutex // guards sent
	writing := make(chan error, 1)
	go func() {
		writing <- func() error {
			t := time.NewTicker(idleEvery)
			defer t.Stop()
			for i := range sent {
				mu.Lock()
				sent[i] = time.Now()
				mu.Unlock()
				if _, err := conn.Write(appendFrame(nil, kindPing, binary.BigEndian.AppendUint64(nil, uint64(i)))); err != nil {
					return err
				}
				select {
				case <-t.C:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
			_, err := conn.Write(appendFrame(nil, kindEnd, nil))
			return err
		}()
	}()
	rtts, err := func() ([]int64, error) {
		var rtts []int64
		in := bufio.NewReader(conn)
		for {
			k, body, err := readFrame(in)
			switch {
			case err != nil:
				return nil, broke(err)
			case k == kindEnd && len(rtts) == idlePings && in.Buffered() == 0:
				return rtts, nil
			case k != kindPong || binary.BigEndian.Uint64(body) != uint64(len(rtts)) || len(rtts) == idlePings:
				return nil, violation("%s among the answers to pings", k)
			}
			mu.Lock()
			at := sent[len(rtts)]
			mu.Unlock()
			if at.IsZero() {
				return nil, violation("PONG before its PING")
			}
			rtts = append(rtts, micros(time.Since(at)))
		}
	}()
	if err != nil {
		conn.Close() // ends the writer too
	}
	if werr := <-writing; err == nil {
		err = werr
	}
	return rtts, err
}

// answer returns each ping, until END.
func answer(_ context.Context, conn net.Conn) ([]int64, error) {
	in := bufio.NewReader(conn)
	for n := 0; ; n++ {
		k, body, err := readFrame(in)
		switch {
		case err != nil:
			return nil, broke(err)
		case k == kindEnd:
			_, err := conn.Write(appendFrame(nil, kindEnd, nil))
			return nil, err
		case k != kindPing || n == idlePings:
			return nil, violation("%s among pings", k)
		}
		if _, err := conn.Write(appendFrame(nil, kindPong, body)); err != nil {
			return nil, broke(err)
		}
	}
}

// broke is for errors of a connection that is measured.
func broke(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the connection ended too soon")
	}
	if errors.Is(err, ErrProtocol) {
		return err
	}
	return fmt.Errorf("the connection broke: %w", err)
}

// A pinger measures round trips on the control connection while something else is
// under way.
type pinger struct {
	link  *link
	began time.Time

	mu   sync.Mutex
	sent map[uint64]time.Time // not answered yet; guarded by mu
	got  []Ping               // guarded by mu
	all  chan struct{}        // gets a token when an answer has come
}

func newPinger(l *link) *pinger {
	p := &pinger{link: l, began: time.Now(), sent: map[uint64]time.Time{}, all: make(chan struct{}, 1)}
	l.pongs.Store(p.answered)
	return p
}

// run pings until ctx ends, and then waits a little for the answers.
func (p *pinger) run(ctx context.Context, every time.Duration) [][2]int64 {
	defer p.link.pongs.Store(func(uint64) {})
	t := time.NewTicker(every)
	defer t.Stop()
	for seq := uint64(1); ctx.Err() == nil && seq <= maxSamples; seq++ {
		p.mu.Lock()
		p.sent[seq] = time.Now()
		p.mu.Unlock()
		p.link.ping(seq)
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
	late := time.NewTimer(pongTime)
	defer late.Stop()
	for {
		p.mu.Lock()
		left := len(p.sent)
		p.mu.Unlock()
		if left == 0 {
			break
		}
		select {
		case <-p.all:
			continue
		case <-late.C:
		case <-p.link.ctx.Done():
		}
		break
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var pings [][2]int64
	for _, g := range p.got {
		pings = append(pings, [2]int64{micros(g.At), micros(g.RTT)})
	}
	return pings
}

// answered is called by the link's reader.
func (p *pinger) answered(seq uint64) {
	now := time.Now()
	p.mu.Lock()
	if at, ok := p.sent[seq]; ok {
		delete(p.sent, seq)
		p.got = append(p.got, Ping{At: at.Sub(p.began), RTT: now.Sub(at)})
	}
	p.mu.Unlock()
	select {
	case p.all <- struct{}{}:
	default:
	}
}
