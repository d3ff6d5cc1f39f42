package natlab

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
)

// box is a namespace to be made, with its interfaces and rules.
type box struct {
	name    string
	ports   []boxPort
	sysctls []string // pairs of name and value
	rules   string   // for nft(8)
	ns      *namespace
	packets uint64 // that came in, under network.mu
	flows   *flows // of a Linux NAT
}

// iface is an interface to be made and configured.
type iface struct {
	name     string
	addrs    []netip.Prefix
	routes   []string // what follows "route add"
	mac      [6]byte
	wireName string
}

// boxPort is an interface of a box and the station that it becomes.
type boxPort struct {
	iface
	station *station
}

// builder makes the emulated network of a plan, and the list of namespaces that belong to it.
type builder struct {
	lab   *Lab
	net   *network
	plan  *plan
	core  *segment
	lans  map[string]*segment // by NAT or LAN name
	boxes []*box
	wires int
	ports int
}

func newBuilder(l *Lab) *builder {
	b := &builder{lab: l, net: l.net, plan: l.plan, lans: make(map[string]*segment)}
	b.core = b.segment(netip.Prefix{})
	b.core.core = true
	return b
}

func (b *builder) segment(prefix netip.Prefix) *segment {
	return &segment{net: b.net, prefix: prefix, members: make(map[netip.Addr]*member)}
}

func (b *builder) build() []*box {
	for i := range b.plan.nats {
		n := &b.plan.nats[i]
		b.lans[n.Name] = b.segment(n.lan)
	}
	for _, l := range b.plan.lans {
		b.lans[l.Name] = b.segment(l.prefix)
	}
	for i := range b.plan.nats {
		b.nat(&b.plan.nats[i])
	}
	for i := range b.plan.hosts {
		b.host(&b.plan.hosts[i])
	}
	return b.boxes
}

// wire makes the link of the named node and attaches it to the network that the node is behind.
func (b *builder) wire(name, behind string, k Link, routes []netip.Prefix, addrs ...netip.Addr) *wire {
	w := &wire{net: b.net, link: k, rng: b.random()}
	for i := range k.Hops {
		w.routers = append(w.routers, b.plan.routerAddrs(b.wires, i+1, behind != ""))
	}
	seg := b.core
	if behind != "" {
		seg = b.lans[behind]
	}
	m := seg.join(w, addrs...)
	for _, to := range routes {
		seg.routes = append(seg.routes, route{to, m})
	}
	b.wires++
	b.lab.wires[name] = w
	return w
}

func (b *builder) random() *rand.Rand {
	return rand.New(rand.NewPCG(b.plan.seed, uint64(b.wires)))
}

func (b *builder) nat(n *natPlan) {
	w := b.wire(n.Name, n.Behind, n.Link, n.inner6, n.outside, n.out6)
	g := &Gateway{lab: b.lab, plan: *n}
	b.lab.gateways[n.Name] = g
	lan := b.lans[n.Name]
	inner := b.routers(n, w) // what the NAT's outside is joined to
	if n.Linux {
		g.sys = b.linuxNAT(n, lan, inner)
		return
	}
	x := &natBox{net: b.net, cfg: n.NAT, addr: n.outside, addr6: n.out6, lan4: n.inside, lan6: n.in6, site6: n.inner6, lan: lan}
	x.up = inner.up
	x.table = newMappings(n.NAT, n.outside, b.random())
	lan.gateway = natInside{x}
	*inner.down = natOutside{x}
	g.box = x
}

// joint is the place where a NAT's outside is attached.
type joint struct {
	up   sink  // takes what the NAT sends
	down *sink // to be set to what takes packets for the NAT
}

// routers puts n.Routers Linux kernels between a NAT and its wire.
func (b *builder) routers(n *natPlan, w *wire) joint {
	at := joint{up: wireEnd{w, up}, down: &w.ends[down]}
	for i := n.Routers; i > 0; i-- {
		x := b.linuxRouter(n, i)
		outside, inside := x.ports[0].station, x.ports[1].station
		outside.up = at.up
		*at.down = outside
		at = joint{up: inside, down: &inside.up}
	}
	return at
}

// port adds an interface to a box.
func (b *builder) port(x *box, side Side, name string, addrs ...netip.Prefix) *boxPort {
	b.ports++
	f := iface{name: name, wireName: fmt.Sprintf("w%d", b.ports), mac: [6]byte{2, 0, 0, 0, byte(b.ports >> 8), byte(b.ports)}}
	for _, a := range addrs {
		if a.IsValid() {
			f.addrs = append(f.addrs, a)
		}
	}
	s := &station{net: b.net, name: x.name, side: side, count: &x.packets}
	x.ports = append(x.ports, boxPort{f, s})
	return &x.ports[len(x.ports)-1]
}

func (b *builder) box(name string) *box {
	// A new namespace has the IPv4 settings of the first one, which may be a router's.
	x := &box{name: name, sysctls: []string{"net/ipv4/ip_forward", "0", "net/ipv4/conf/all/rp_filter", "0", "net/ipv4/conf/default/rp_filter", "0"}}
	b.boxes = append(b.boxes, x)
	return x
}

func (b *builder) host(h *hostPlan) {
	w := b.wire(h.Name, h.Behind, h.Link, nil, h.addr, h.addr6, h.Also)
	x := b.box(h.Name)
	p := b.port(x, AtHost, "eth0", withBits(h.addr, h.bits), withBits(h.addr6, h.bits6), withBits(h.Also, 32))
	switch {
	case h.gateway.IsValid():
		p.routes = b.defaults(h.gateway, h.gateway6)
	case h.Behind == "":
		p.routes = b.defaults(netip.Addr{}, netip.Addr{})
	default:
		p.routes = []string{"224.0.0.0/4", "255.255.255.255"}
	}
	p.station.up = wireEnd{w, up}
	w.ends[down] = p.station
	x.rules = hostRules(h.Firewall)
	b.lab.machines[h.Name] = &Machine{lab: b.lab, plan: *h, box: x}
}

// withBits is like netip.PrefixFrom, and invalid when a is.
func withBits(a netip.Addr, bits int) netip.Prefix {
	if !a.IsValid() {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a, bits)
}

// defaults are the default routes, through gateways where they are valid.
func (b *builder) defaults(gateway, gateway6 netip.Addr) []string {
	r := []string{"default"}
	if gateway.IsValid() {
		r[0] += " via " + gateway.String()
	}
	if b.plan.ipv6 {
		r = append(r, "::/0")
		if gateway6.IsValid() {
			r[1] += " via " + gateway6.String()
		}
	}
	return r
}
