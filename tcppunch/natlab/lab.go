package natlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// ErrUnsupported is what Start and Support return, wrapped with the reason, where labs cannot run: on systems other
// than Linux, and without the right to make network namespaces.
var ErrUnsupported = errors.New("labs cannot run here")

// Options are for the rare case; nil means the defaults.
type Options struct {
	// Device is what hosts are wired with. The default is Auto.
	Device Device
	// Tap is called for every packet at every host and NAT. Calls come one at a time, and the lab waits for them: it must be
	// quick and must not call the lab.
	Tap func(Capture)
}

// Device is the kind of network interface that joins hosts to the lab.
type Device int

const (
	// Auto takes Tun where /dev/net/tun may be opened, else Veth.
	Auto Device = iota
	// Tun is an Ethernet interface of /dev/net/tun.
	Tun
	// Veth is a pair of virtual Ethernet interfaces with a packet socket on one end.
	Veth
)

// Lab is a running topology.
type Lab struct {
	plan     *plan
	net      *network
	machines map[string]*Machine
	gateways map[string]*Gateway
	wires    map[string]*wire
	sys      system
	tb       TB

	ctx     context.Context
	cancel  context.CancelFunc
	readers sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	programs map[*Cmd]bool
}

// Start brings a topology up. The context bounds the start only; the lab runs until Close. It returns an error that
// wraps ErrUnsupported where labs cannot run, and one that names every mistake when the topology has any.
func Start(ctx context.Context, t Topology, o *Options) (*Lab, error) {
	if o == nil {
		o = &Options{}
	}
	p, err := makePlan(t)
	if err != nil {
		return nil, err
	}
	l := &Lab{
		plan:     p,
		net:      &network{began: time.Now(), tap: o.Tap},
		machines: make(map[string]*Machine),
		gateways: make(map[string]*Gateway),
		wires:    make(map[string]*wire),
		programs: make(map[*Cmd]bool),
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	boxes := newBuilder(l).build()
	if err := l.sys.start(ctx, l, boxes, o.Device); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Close kills every program in the lab, takes the network down and waits until all of it is gone.
func (l *Lab) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return net.ErrClosed
	}
	l.closed = true
	var running []*Cmd
	for c := range l.programs {
		running = append(running, c)
	}
	l.mu.Unlock()
	l.cancel()
	for _, c := range running {
		c.Kill()
	}
	l.sys.killAll() // and what they started, which may hold their output open
	for _, c := range running {
		_ = c.Wait() // it was killed: how it ended says nothing
	}
	return l.sys.stop(l)
}

// Host returns the running host with that name. An unknown name fails the test, or panics when there is none.
func (l *Lab) Host(name string) *Machine {
	m := l.machines[name]
	if m == nil {
		l.fatalf("natlab: no host is named %q", name)
	}
	return m
}

// NAT returns the running NAT with that name. An unknown name fails the test, or panics when there is none.
func (l *Lab) NAT(name string) *Gateway {
	g := l.gateways[name]
	if g == nil {
		l.fatalf("natlab: no NAT is named %q", name)
	}
	return g
}

// Hosts returns all running hosts in the order of the topology.
func (l *Lab) Hosts() []*Machine {
	var all []*Machine
	for _, h := range l.plan.hosts {
		all = append(all, l.machines[h.Name])
	}
	return all
}

// NATs returns all running NATs in the order of the topology.
func (l *Lab) NATs() []*Gateway {
	var all []*Gateway
	for _, n := range l.plan.nats {
		all = append(all, l.gateways[n.Name])
	}
	return all
}

func (l *Lab) fatalf(format string, args ...any) {
	if l.tb == nil {
		panic(fmt.Sprintf(format, args...))
	}
	l.tb.Helper()
	l.tb.Fatalf(format, args...)
}

// SetLink changes the link of a host or a NAT from the next packet on. Hops stay as they are.
func (l *Lab) SetLink(name string, k Link) error {
	if err := k.check(); err != nil {
		return fmt.Errorf("setting link of %q: %w", name, err)
	}
	w := l.wires[name]
	if w == nil {
		return fmt.Errorf("setting link of %q: no such host or NAT", name)
	}
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	k.Hops = w.link.Hops
	w.link = k
	return nil
}

// Link returns the present link of a host or a NAT, or the zero Link when there is none of that name.
func (l *Lab) Link(name string) Link {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	if w := l.wires[name]; w != nil {
		return w.link
	}
	return Link{}
}

// Gateway is a running NAT.
type Gateway struct {
	lab  *Lab
	plan natPlan
	box  *natBox // nil when it is a Linux kernel
	sys  *box    // its namespace, when it is a Linux kernel
}

// Name returns its name in the topology.
func (g *Gateway) Name() string { return g.plan.Name }

// Addr returns its outside IPv4 address.
func (g *Gateway) Addr() netip.Addr { return g.plan.outside }

// Behind returns the name of the NAT in front of it, or "" on the core.
func (g *Gateway) Behind() string { return g.plan.Behind }

// LAN returns its inside IPv4 network.
func (g *Gateway) LAN() netip.Prefix { return g.plan.lan }

// InsideAddr returns its IPv4 address on its own LAN.
func (g *Gateway) InsideAddr() netip.Addr { return g.plan.inside }

// Reboot makes it forget all mappings. Connections through it then are as unknown as after a power cut.
func (g *Gateway) Reboot() error {
	if g.box == nil {
		return g.sys.forget()
	}
	g.lab.net.mu.Lock()
	defer g.lab.net.mu.Unlock()
	g.box.table.clear()
	return nil
}
