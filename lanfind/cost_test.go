package lanfind

import (
	"context"
	"maps"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tcppunch/tcppunch/lanfind/internal/dnssd"
	"github.com/tcppunch/tcppunch/lanfind/internal/sock"
)

// cable is a network without losses, delay and firewalls, for nodes in a bubble of virtual time.
type cable struct {
	mu   sync.Mutex
	ends []*end // guarded by mu, like what they count
}

// An end is a node on a cable, at work.
type end struct {
	on      *cable
	addr    netip.Addr
	packets chan sock.Packet
	peers   int
	sent    map[string]int // since it was last looked at
}

func (c *cable) join(ctx context.Context, t testing.TB, s *Service, o Options) *end {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	a := netip.AddrFrom4([4]byte{10, 0, 1, byte(len(c.ends) + 1)})
	e := &end{on: c, addr: a, packets: make(chan sock.Packet, 1000), sent: make(map[string]int)}
	c.ends = append(c.ends, e)
	o.Trace = &Trace{Sent: func(to netip.AddrPort, _, _ int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		e.sent[way(to)]++
	}}
	if s != nil {
		var err error
		if s, err = s.checked(); err != nil {
			t.Fatal(err)
		}
		o.Announce = s
	}
	n := newNode(&o, time.Now())
	eth := Interface{Name: "eth0", Index: 2, Multicast: true, Addrs: []netip.Prefix{netip.PrefixFrom(a, 24)}}
	n.system = system{
		func() ([]Interface, error) { return []Interface{eth}, nil }, func() ([]Neighbour, error) { return nil, nil },
	}
	n.wire, n.packets, n.sockets = e, e.packets, sock.New(ctx)
	n.links[2] = &link{Interface: eth, since: n.began}
	if s != nil {
		n.self = dnssd.New(s.claims(n.began))
	}
	go n.run(ctx)
	go func() {
		for {
			select {
			case v := <-n.events:
				e.note(v)
			case <-ctx.Done():
				return
			}
		}
	}()
	return e
}

func (e *end) note(v Event) {
	e.on.mu.Lock()
	defer e.on.mu.Unlock()
	switch v.Kind {
	case Found:
		e.peers++
	case Gone:
		e.peers--
	}
}

// way says by which way a packet goes.
func way(to netip.AddrPort) string {
	switch {
	case to.Addr().IsMulticast() && to.Addr().Is4():
		return "IPv4"
	case to.Addr().IsMulticast():
		return "IPv6"
	case to.Port() == sock.MulticastPort:
		return "legacy"
	}
	return "datagram"
}

func (e *end) deliver(to *end, port uint16, group bool, b []byte) {
	if to != e {
		to.packets <- sock.Packet{Data: b, From: netip.AddrPortFrom(e.addr, port), Index: 2, Group: group}
	}
}

func (e *end) Multicast(_ int, _ string, b []byte) ([]netip.AddrPort, error) {
	e.on.mu.Lock()
	defer e.on.mu.Unlock()
	for _, to := range e.on.ends {
		e.deliver(to, sock.MulticastPort, true, b)
	}
	return []netip.AddrPort{netip.MustParseAddrPort("224.0.0.251:5353")}, nil
}

func (e *end) Reply(int, netip.AddrPort, []byte) error { return nil }

func (e *end) Send(to netip.Addr, _ int, b []byte) error {
	e.on.mu.Lock()
	defer e.on.mu.Unlock()
	for _, x := range e.on.ends {
		if x.addr == to {
			e.deliver(x, DefaultPort, false, b)
		}
	}
	return nil
}

// minutes lets n minutes of virtual time pass and returns what was sent in one of them on average, by each way.
func (e *end) minutes(n int) map[string]int {
	before := e.count()
	time.Sleep(time.Duration(n) * time.Minute)
	synctest.Wait()
	sent := e.count()
	for way := range sent {
		sent[way] = (sent[way] - before[way] + n - 1) / n
	}
	return sent
}

func (e *end) count() map[string]int {
	e.on.mu.Lock()
	defer e.on.mu.Unlock()
	return maps.Clone(e.sent)
}

// What the package comment says of the cost is so. -cost has it measured in the lab.
func TestCost(t *testing.T) {
	me := &Service{Name: "anna", Room: "4821", Port: 7070}
	for _, tt := range []struct {
		name   string
		me     *Service
		o      Options
		others int
		// The most that goes out in the first minute, the second, and one after ten minutes, by multicast of each
		// family and by datagram.
		multicast, datagrams [3]int
	}{
		{"searching in vain", me, Options{}, 0, [3]int{10, 2, 2}, [3]int{1530, 765, 140}},
		{"waiting, no sweeps", me, Options{Sweep: SweepOff}, 0, [3]int{10, 2, 2}, [3]int{}},
		{"looking, nobody there", nil, Options{}, 0, [3]int{7, 2, 2}, [3]int{1530, 765, 140}},
		{"one of a pair", me, Options{}, 1, [3]int{16, 4, 4}, [3]int{4, 2, 2}},
		{"looking at one", nil, Options{}, 1, [3]int{7, 2, 2}, [3]int{4, 2, 2}},
		{"one of ten", me, Options{}, 9, [3]int{16, 4, 4}, [3]int{36, 18, 12}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				var c cable
				e := c.join(ctx, t, tt.me, tt.o)
				for range tt.others {
					c.join(ctx, t, me, Options{})
				}
				first, second := e.minutes(1), e.minutes(1)
				e.minutes(8)
				for i, sent := range []map[string]int{first, second, e.minutes(6)} {
					when := []string{"in the first minute", "in the second", "a minute, later"}[i]
					t.Logf("%s: %v", when, sent)
					if sent["IPv4"] > tt.multicast[i] || sent["IPv4"] < 2 || sent["datagram"] > tt.datagrams[i] || sent["datagram"] < tt.datagrams[i]/4 {
						t.Errorf("%v %s, want at most %d by multicast, %d datagrams", sent, when, tt.multicast[i], tt.datagrams[i])
					}
				}
				c.mu.Lock()
				if e.peers != tt.others {
					t.Errorf("%d peers, want %d", e.peers, tt.others)
				}
				c.mu.Unlock()
				cancel()
				synctest.Wait()
			})
		})
	}
}
