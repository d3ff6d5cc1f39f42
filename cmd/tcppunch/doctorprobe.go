package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tcppunch/tcppunch/lanfind"
)

const (
	doctorLooks = 4 * time.Second // to ask by multicast three times, and every address of a /24 by datagram
	doctorTries = time.Second     // to connect to hosts that are there
	mostTried   = 16              // of them
)

// A lanReport is what tests of the local network gave. It has no opinion.
type lanReport struct {
	Interfaces []lanSeen
	Default    string // the interface of the default route, or ""
	Port       error  // why datagrams have no port, or nil
	Forbidden  int    // packets that the system refused to send
	Trouble    []error
	Peers      int // that were found
	ByDatagram int // of those, by datagrams alone
}

// lanSeen is what was seen on one interface.
type lanSeen struct {
	lanfind.Interface
	Asked     [2]int       // questions sent by multicast, of IPv4 and IPv6
	Echoed    [2]int       // packets by multicast that came to us from this host
	Voices    []netip.Addr // other hosts of our networks that were heard by multicast
	Strangers []netip.Addr // IPv4 hosts that were heard and are on no network of ours
	Swept     int          // addresses asked by datagram
	Table     bool         // whether the system tells who answers ARP
	Hosts     []netip.Addr // who does, but for the gateway
	Gateway   netip.Addr   // if it does
	Tried     int          // of Hosts, by TCP
	Reached   int          // of those: they accepted, or refused in so many words
	Detours   []detour
}

// A detour is an address of an interface's own network to which another one leads.
type detour struct {
	To     netip.Addr
	Via    string // name of the interface, or "" when there is no way at all
	Tunnel bool
}

// examine makes the tests. They send nothing outside the networks of this host.
func examine(ctx context.Context, out *output) (*lanReport, error) {
	all, err := lanfind.Interfaces()
	if err != nil {
		return nil, err
	}
	w := &witness{byIndex: make(map[int]*lanSeen), swept: make(map[netip.Addr]bool), own: make(map[netip.Addr]string)}
	for _, i := range all {
		for _, p := range i.Addrs {
			w.own[p.Addr()] = i.Name
		}
		if i.Unfit != "loopback" {
			w.r.Interfaces = append(w.r.Interfaces, lanSeen{Interface: i})
		}
	}
	for i := range w.r.Interfaces {
		w.byIndex[w.r.Interfaces[i].Index] = &w.r.Interfaces[i]
	}
	looking, cancel := context.WithTimeout(ctx, doctorLooks)
	defer cancel()
	peers := make(peerList)
	for e, err := range lanfind.Browse(looking, &lanfind.Options{Sweep: lanfind.SweepOn, Survey: true, Trace: w.trace(out)}) {
		if err != nil {
			w.r.Trouble = append(w.r.Trouble, err)
			break
		}
		peers.apply(e)
	}
	if ctx.Err() != nil {
		return nil, interrupted(context.Cause(ctx))
	}
	w.r.Peers = len(peers)
	for _, p := range peers {
		if p.Via == lanfind.Datagram {
			w.r.ByDatagram++
		}
	}
	w.r.Default = w.leads(netip.MustParseAddr("192.0.2.1")) // nobody has it, and no packet is sent
	w.neighbours()
	for i := range w.r.Interfaces {
		if s := &w.r.Interfaces[i]; s.Unfit == "" {
			w.routes(s)
			s.reach(ctx)
		}
	}
	return &w.r, nil
}

// A witness makes a report of what discovery does.
type witness struct {
	r       lanReport
	byIndex map[int]*lanSeen
	swept   map[netip.Addr]bool
	own     map[netip.Addr]string // interfaces by address
}

// trace has hooks that are called one at a time, and no longer when Browse has ended.
func (w *witness) trace(out *output) *lanfind.Trace {
	t := out.lanTrace()
	tell := t.Problem
	t.Problem = func(err error) {
		tell(err)
		switch {
		case errors.Is(err, lanfind.ErrPort):
			w.r.Port = err
		case errors.Is(err, net.ErrClosed): // it has been told why
		case errors.Is(err, fs.ErrPermission):
			w.r.Forbidden++
		case len(w.r.Trouble) < 8:
			w.r.Trouble = append(w.r.Trouble, err)
		}
	}
	t.Sent = func(to netip.AddrPort, index, _ int) {
		s := w.byIndex[index]
		switch a := to.Addr(); {
		case s == nil:
		case a.IsMulticast():
			s.Asked[family(a)]++
		case !w.swept[a] && w.own[a] == "":
			w.swept[a] = true
			s.Swept++
		}
	}
	t.Heard = w.heard
	return t
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// heard notes where a packet came from.
func (w *witness) heard(from netip.AddrPort, index int, via lanfind.Via, _ int) {
	s, a := w.byIndex[index], from.Addr().WithZone("")
	if s == nil {
		return
	}
	_, own := w.own[a]
	within := a.Is6() || slices.ContainsFunc(s.Addrs, func(p netip.Prefix) bool { return p.Contains(a) })
	switch {
	case own && via == lanfind.Multicast:
		s.Echoed[family(a)]++
	case own:
	case !within:
		s.Strangers = note(s.Strangers, a)
	case via == lanfind.Multicast:
		s.Voices = note(s.Voices, a)
	}
}

// note adds an address, of not too many.
func note(all []netip.Addr, a netip.Addr) []netip.Addr {
	if len(all) < 256 && !slices.Contains(all, a) {
		return append(all, a)
	}
	return all
}

// leads returns the interface to which the system would send what goes to an address.
func (w *witness) leads(to netip.Addr) string {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 9)))
	if err != nil {
		return ""
	}
	defer c.Close()
	return w.own[c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()]
}

// routes looks where addresses of an interface's own networks lead: one in each quarter,
// since VPNs take halves, and hosts that are there.
func (w *witness) routes(s *lanSeen) {
	for _, p := range s.Addrs {
		if !p.Addr().Is4() || p.Bits() > 29 {
			continue
		}
		first := p.Masked().Addr().As4()
		size := uint32(1) << (32 - p.Bits())
		at := func(n uint32) netip.Addr {
			v := (uint32(first[0])<<24 | uint32(first[1])<<16 | uint32(first[2])<<8 | uint32(first[3])) + n
			return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
		}
		for _, a := range append([]netip.Addr{at(1), at(size/4 + 1), at(size / 2), at(size/4*3 + 1), at(size - 2)}, s.Hosts[:min(len(s.Hosts), mostTried)]...) {
			if _, own := w.own[a]; own || !p.Contains(a) {
				continue
			}
			via := w.leads(a)
			if via != s.Name && !w.shares(via, p) {
				s.Detours = append(s.Detours, detour{a, via, w.tunnel(via)})
			}
		}
	}
}

// shares reports whether an interface is on the same network, by a second cable say.
func (w *witness) shares(name string, p netip.Prefix) bool {
	return slices.ContainsFunc(w.r.Interfaces, func(s lanSeen) bool {
		return s.Name == name && slices.ContainsFunc(s.Addrs, func(q netip.Prefix) bool { return q.Masked() == p.Masked() })
	})
}

func (w *witness) tunnel(name string) bool {
	return slices.ContainsFunc(w.r.Interfaces, func(s lanSeen) bool { return s.Name == name && s.Tunnel })
}

// neighbours asks the system who has answered ARP in the sweep.
func (w *witness) neighbours() {
	all, err := lanfind.Neighbours()
	if err != nil {
		return
	}
	gates := gateways()
	for i := range w.r.Interfaces {
		w.r.Interfaces[i].Table = true
	}
	for _, n := range all {
		s := w.byIndex[n.Index]
		switch {
		case s == nil || !n.Answers || !n.Addr.Is4():
		case slices.Contains(gates, n.Addr):
			s.Gateway = n.Addr
		default:
			s.Hosts = note(s.Hosts, n.Addr)
		}
	}
}

// gateways are those of default routes, where Linux's table of routes is.
func gateways() []netip.Addr {
	f, err := os.Open("/proc/net/route")
	if err != nil {
		return nil
	}
	defer f.Close()
	var all []netip.Addr
	for lines := bufio.NewScanner(f); lines.Scan(); {
		field := strings.Fields(lines.Text())
		if len(field) < 3 || field[1] != "00000000" {
			continue
		}
		if b, err := hex.DecodeString(field[2]); err == nil && len(b) == 4 { // of a little-endian machine
			all = append(all, netip.AddrFrom4([4]byte{b[3], b[2], b[1], b[0]}), netip.AddrFrom4([4]byte(b)))
		}
	}
	return all
}

// reach tries some hosts by TCP. Who refuses is there, and nothing keeps us apart.
func (s *lanSeen) reach(ctx context.Context) {
	hosts := s.Hosts[:min(len(s.Hosts), mostTried)]
	s.Tried = len(hosts)
	limited, cancel := context.WithTimeout(ctx, doctorTries)
	defer cancel()
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, a := range hosts {
		all.Go(func() {
			c, err := new(net.Dialer).DialContext(limited, "tcp", netip.AddrPortFrom(a, lanfind.DefaultPort).String())
			if err == nil {
				c.Close()
			}
			if err == nil || errors.Is(err, syscall.ECONNREFUSED) {
				mu.Lock()
				defer mu.Unlock()
				s.Reached++
			}
		})
	}
	all.Wait()
}
