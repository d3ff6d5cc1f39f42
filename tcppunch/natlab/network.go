package natlab

import (
	"container/heap"
	"sync"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab/internal/ip"
)

// network is the emulated part of a lab: everything between the devices of its namespaces. It has no goroutine of its
// own; packets enter by inject and due ones move on in advance, both of which return what is to be written to devices.
type network struct {
	began time.Time
	free  ip.Pool
	tap   func(Capture)

	mu    sync.Mutex
	clock clock
	now   int64 // nanoseconds since began, read once per entry
	queue eventQueue
	seq   uint64
	armed int64 // when the clock will ring, or 0
	out   []delivery
}

// A clock calls back at a set time; setting it again replaces the time.
type clock interface {
	// set makes it ring after the given time. It must not block.
	set(after time.Duration)
}

// sink is anything that takes a packet, and with it the duty to recycle it. It runs under network.mu.
type sink interface {
	accept(p *ip.Packet)
}

// delivery is a packet that is to be written to a device once network.mu is free.
type delivery struct {
	to *station
	p  *ip.Packet
}

// event is a packet that reaches a place later.
type event struct {
	at  int64
	seq uint64 // keeps equal times in order
	to  sink
	p   *ip.Packet
}

type eventQueue []event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *eventQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = event{}
	*q = old[:len(old)-1]
	return e
}

// enter takes the lock and the time. scratch is reused for the deliveries.
func (n *network) enter(scratch []delivery) {
	n.mu.Lock()
	n.now = int64(time.Since(n.began))
	n.out = scratch[:0]
}

// leave sets the clock, gives the lock back and returns the deliveries.
func (n *network) leave() []delivery {
	if len(n.queue) > 0 && n.clock != nil && (n.armed == 0 || n.queue[0].at < n.armed) {
		n.armed = n.queue[0].at
		n.clock.set(max(1, time.Duration(n.armed-n.now)))
	}
	out := n.out
	n.out = nil
	n.mu.Unlock()
	return out
}

// inject brings a packet that a device sent into the network.
func (n *network) inject(to sink, p *ip.Packet, scratch []delivery) []delivery {
	n.enter(scratch)
	to.accept(p)
	return n.leave()
}

// advance moves on everything that is due.
func (n *network) advance(scratch []delivery) []delivery {
	n.enter(scratch)
	n.armed = 0
	for len(n.queue) > 0 && n.queue[0].at <= n.now {
		e := heap.Pop(&n.queue).(event)
		e.to.accept(e.p)
	}
	return n.leave()
}

// after hands p to the sink at the given time, or at once when that is now.
func (n *network) after(at int64, to sink, p *ip.Packet) {
	if at <= n.now {
		to.accept(p)
		return
	}
	n.seq++
	heap.Push(&n.queue, event{at, n.seq, to, p})
}

func (n *network) drop(p *ip.Packet) { n.free.Put(p) }

// station is a network device inside a namespace, seen from the network.
type station struct {
	net  *network
	name string
	side Side
	dev  device
	up   sink // where packets of the namespace go

	count *uint64 // of packets that go into the namespace
	flows *flows  // at the outside of a Linux NAT, else nil
}

// device is the other end of a network interface.
type device interface {
	// Read reads one Ethernet frame.
	Read(frame []byte) (int, error)
	// Write writes one Ethernet frame.
	Write(frame []byte) (int, error)
	// address is the hardware address of the interface.
	address() [6]byte
	Close() error
}

// accept queues a packet for the namespace.
func (s *station) accept(p *ip.Packet) {
	*s.count++
	if s.flows != nil {
		s.flows.came()
	}
	s.net.observe(s.name, s.side, s.side == AtHost || s.side == Outside, p)
	s.net.out = append(s.net.out, delivery{s, p})
}

// sent takes a packet that the namespace has sent.
func (s *station) sent(p *ip.Packet) {
	s.net.observe(s.name, s.side, s.side == Inside, p)
	if s.flows != nil {
		s.flows.went(p)
	}
	s.up.accept(p)
}

// sender makes sent a sink.
type sender struct{ *station }

func (s sender) accept(p *ip.Packet) { s.sent(p) }
