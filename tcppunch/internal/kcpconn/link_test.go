package kcpconn

import (
	"container/heap"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/internal/datagram"
)

// link is what a simulated path does to datagrams, alike in both directions.
type link struct {
	delay     time.Duration
	rate      float64 // bytes per second; 0: no limit
	queue     int     // bytes that may wait for it
	loss      float64
	reorder   float64       // share of datagrams that take late longer
	late      time.Duration // default: delay/2
	duplicate float64
	mtu       int // larger ones vanish; 0: no limit
	down      bool
}

// path is a simulated network with two ends, in the time of a synctest bubble.
type path struct {
	mu    sync.Mutex
	link  link
	rng   *rand.Rand
	ends  [2]*end
	depth time.Duration // longest wait in the queue since it was cleared
	drops int           // for want of room
}

const ipOverhead = 28

// end is one end of a path, a carrier for one stream.
type end struct {
	p      *path
	addr   netip.AddrPort
	alias  netip.AddrPort // that the other end sees
	other  *end
	busy   time.Time // when the link has sent what waits
	mu     sync.Mutex
	stream datagram.Stream
	inbox  inbox
	wake   chan struct{}
	closed chan struct{}
	done   chan struct{}
	count  int // datagrams sent
}

type parcel struct {
	at   time.Time
	nth  int
	b    []byte
	from netip.AddrPort
}

type inbox []parcel

func (h inbox) Len() int { return len(h) }
func (h inbox) Less(i, j int) bool {
	return h[i].at.Before(h[j].at) || h[i].at.Equal(h[j].at) && h[i].nth < h[j].nth
}
func (h inbox) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *inbox) Push(x any)   { *h = append(*h, x.(parcel)) }
func (h *inbox) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

func newPath(t testing.TB, k link) *path {
	t.Helper()
	p := &path{link: k, rng: rand.New(rand.NewPCG(1, 2))}
	for i := range p.ends {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), 7070)
		p.ends[i] = &end{p: p, addr: addr, alias: addr, wake: make(chan struct{}, 1), closed: make(chan struct{}), done: make(chan struct{})}
	}
	for i, e := range p.ends {
		e.other = p.ends[1-i]
		go e.run()
	}
	t.Cleanup(func() {
		for _, e := range p.ends {
			close(e.closed)
			<-e.done
		}
	})
	return p
}

// streams makes a stream over the path.
func (p *path) streams() (a, b *Conn) {
	a = newConn(p.ends[0], p.ends[1].addr, &Config{ID: 7, Key: []byte("k"), Client: true})
	b = newConn(p.ends[1], p.ends[0].addr, &Config{ID: 7, Key: []byte("k")})
	return a, b
}

func (p *path) set(change func(k *link)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.link)
}

// queued returns the longest wait in the queue since it was last asked.
func (p *path) queued() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.depth
	p.depth = 0
	return d
}

func (e *end) Local() netip.AddrPort { return e.addr }

func (e *end) Attach(st datagram.Stream, _ netip.AddrPort, _ ...uint32) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stream = st
}

func (e *end) Detach(datagram.Stream, netip.AddrPort, ...uint32) {}

func (e *end) Move(datagram.Stream, netip.AddrPort, netip.AddrPort) {}

func (e *end) SendBatch(b *datagram.Batch, to netip.AddrPort) error {
	for i := range b.Len() {
		if err := e.Send(b.Datagram(i), to); err != nil {
			return err
		}
	}
	return nil
}

func (e *end) Send(b []byte, to netip.AddrPort) error {
	p := e.p
	p.mu.Lock()
	defer p.mu.Unlock()
	e.count++
	k := &p.link
	if k.down || to != e.other.alias || k.mtu > 0 && len(b) > k.mtu || p.rng.Float64() < k.loss {
		return nil
	}
	now := time.Now()
	at := now
	if k.rate > 0 {
		wait := max(e.busy.Sub(now), 0)
		if int(wait.Seconds()*k.rate)+len(b) > k.queue {
			p.drops++
			return nil
		}
		e.busy = now.Add(wait + time.Duration(float64(len(b)+ipOverhead)/k.rate*1e9))
		at = e.busy
		p.depth = max(p.depth, wait)
	}
	at = at.Add(k.delay)
	if p.rng.Float64() < k.reorder {
		late := k.late
		if late == 0 {
			late = k.delay / 2
		}
		at = at.Add(late)
	}
	e.other.receive(b, e.alias, at)
	if p.rng.Float64() < k.duplicate {
		e.other.receive(b, e.alias, at.Add(time.Millisecond))
	}
	return nil
}

func (e *end) receive(b []byte, from netip.AddrPort, at time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	heap.Push(&e.inbox, parcel{at, e.other.count, append([]byte(nil), b...), from})
	token(e.wake)
}

// run delivers what has arrived, all of one moment as one batch.
func (e *end) run() {
	defer close(e.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		e.mu.Lock()
		st := e.stream
		var batch []parcel
		for now := time.Now(); len(e.inbox) > 0 && !e.inbox[0].at.After(now); {
			batch = append(batch, heap.Pop(&e.inbox).(parcel))
		}
		if len(e.inbox) > 0 {
			timer.Reset(time.Until(e.inbox[0].at))
		}
		e.mu.Unlock()
		for _, d := range batch {
			if st != nil {
				st.Input(d.b, d.from)
			}
		}
		if len(batch) > 0 {
			if st != nil {
				st.Flush()
			}
			continue
		}
		select {
		case <-e.wake:
		case <-timer.C:
		case <-e.closed:
			return
		}
	}
}
