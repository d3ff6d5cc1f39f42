//go:build linux

package lanfind

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcppunch/tcppunch/lanfind/internal/dnssd"
	"github.com/tcppunch/tcppunch/lanfind/internal/sock"
	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// attacker is a host that does not play by the rules.
type attacker struct {
	*sock.Sockets
	at      Interface
	victims []netip.Addr
}

func newAttacker(ctx context.Context, r *role) *attacker {
	all, err := Interfaces()
	if err != nil {
		panic(err)
	}
	a := &attacker{Sockets: sock.New(ctx), at: choose(all, nil)[0], victims: r.Options.Addrs}
	if err := a.Join(a.at.Index, a.at.Name); err != nil {
		panic(err)
	}
	if err := a.Listen(r.Options.Port); err != nil {
		panic(err)
	}
	return a
}

// says announces s by all ways, or takes leave, with an address as its own.
func (a *attacker) says(s *Service, label string, as netip.Addr, ttl uint32) {
	l := dnssd.New(s.claims(time.Now()))
	if label != "" {
		l = dnssd.Named(label, s.claims(time.Now()))
	}
	b, err := dnssd.Encode(l.Answer(dnssd.WantAll, []netip.Addr{as}, ttl))
	if err != nil {
		panic(err)
	}
	a.Multicast(a.at.Index, a.at.Name, b)
	for _, to := range a.victims {
		a.Send(to, 0, b)
	}
}

func (a *attacker) addr() netip.Addr {
	for _, p := range a.at.Addrs {
		if p.Addr().Is4() {
			return p.Addr()
		}
	}
	panic("no address")
}

func fake(i int) *Service {
	return &Service{Name: fmt.Sprint("fake", i), ID: fmt.Sprintf("%016x", i), Port: uint16(1 + i%60000), Room: "4821"}
}

// shared opens sockets on a port that others have too.
var shared = net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	})
}}

func attackTable() map[string]func(context.Context, *role) {
	return map[string]func(context.Context, *role){
		// Thousands of peers that do not exist, from one address and then from two hundred.
		"fakes": func(ctx context.Context, r *role) {
			a := newAttacker(ctx, r)
			for i := 0; ctx.Err() == nil && i < 5000; i++ {
				a.says(fake(i), "", a.addr(), dnssd.TTL)
				if i%10 == 0 {
					time.Sleep(time.Millisecond) // more would be lost in the lab, that of others too
				}
			}
			var from []net.PacketConn
			for i := range 200 {
				c, err := shared.ListenPacket(ctx, "udp4", fmt.Sprintf("10.0.1.%d:%d", 50+i, r.Options.Port))
				if err != nil {
					panic(err)
				}
				from = append(from, c)
			}
			for i := 0; ctx.Err() == nil; i++ {
				l := dnssd.New(fake(10_000 + i).claims(time.Now()))
				b, _ := dnssd.Encode(l.Answer(dnssd.WantAll, []netip.Addr{a.addr()}, dnssd.TTL))
				for _, to := range r.Options.Addrs {
					from[i%200].WriteTo(b, &net.UDPAddr{IP: to.AsSlice(), Port: int(r.Options.Port)})
				}
				time.Sleep(time.Millisecond)
			}
		},
		// Whatever anybody says is said again: with another room, with another address, and taken back.
		"copies": func(ctx context.Context, r *role) {
			a := newAttacker(ctx, r)
			for {
				var p sock.Packet
				select {
				case p = <-a.Packets():
				case <-ctx.Done():
					return
				}
				m, err := dnssd.Parse(p.Data)
				if err != nil || p.From.Addr() == a.addr() || p.From.Addr().Is6() {
					continue
				}
				if !m.Response { // in the name of nobody yet
					a.says(fake(1), "", a.addr(), dnssd.TTL)
				}
				for _, i := range m.Found {
					s := &Service{ID: i.Claims.ID, Port: i.Claims.Port, Room: i.Claims.Room}
					if s.ID == "" {
						continue
					}
					a.says(s, i.Label, a.addr(), dnssd.TTL) // with another time
					s.Room = "6666"
					a.says(s, i.Label, a.addr(), dnssd.TTL)
					s.Room, s.Port = i.Claims.Room, 666
					a.says(s, i.Label, a.addr(), dnssd.TTL)
					a.says(s, i.Label, a.addr(), 0)
				}
			}
		},
		// As many packets as it can, to all ports: halves of messages, queries, and pointers that go round.
		"flood": func(ctx context.Context, r *role) {
			a := newAttacker(ctx, r)
			ask, _ := dnssd.Encode(dnssd.Query(nil, nil))
			junk := [][]byte{ask, ask[:len(ask)-3], []byte("\x00\x00\x84\x00\x00\x00\x01\x00\x00\x00\x00\x00\xc0\x0c"), make([]byte, 1400)}
			for i := 0; ctx.Err() == nil; i++ {
				a.Multicast(a.at.Index, a.at.Name, junk[i%len(junk)])
				for _, to := range r.Options.Addrs {
					a.Send(to, 0, junk[i%len(junk)])
				}
			}
		},
	}
}

const attacked = 3 * time.Second // long enough to be found, and to fill whatever can be filled

// Two pairs, one of which has firewalls, find each other and stay found whatever a neighbour does.
func TestAttacks(t *testing.T) {
	for name := range attackTable() {
		t.Run(name, func(t *testing.T) {
			top := lan(natlab.NoFirewall, "anna", "ben", "carl", "dora", "eve")
			top.Hosts[2].Firewall, top.Hosts[3].Firewall = natlab.DropUnsolicited, natlab.DropUnsolicited
			lab := natlab.New(t, top)
			hosts := lab.Hosts()[:4]
			var victims []netip.Addr
			for _, h := range hosts {
				victims = append(victims, h.Addr())
			}
			if name == "fakes" {
				lab.Host("eve").Run("sh", "-c", "for i in $(seq 50 249); do echo addr add 10.0.1.$i/24 dev eth0; done | ip -batch -")
			}
			eve := start(t, lab.Host("eve"), role{Attack: name, Options: Options{Port: DefaultPort, Addrs: victims}})
			time.Sleep(300 * time.Millisecond)
			began := time.Now()
			var all []*actor
			for _, h := range hosts {
				all = append(all, start(t, h, role{Options: Options{Announce: service(h.Name(), "4821"), Room: "4821"}}))
			}
			for i, a := range all {
				a.finds(15*time.Second, hosts[i^1].Name())
			}
			t.Logf("pairs found after %v", time.Since(began).Round(time.Millisecond))
			time.Sleep(time.Until(began.Add(attacked)))
			eve.proc.Kill()
			if text := eve.proc.Stderr.String(); text != "" {
				t.Errorf("the attack failed: %s", text)
			}
			for i, a := range all {
				l := a.end()
				t.Logf("%s: CPU %v of %v, heap %d KiB at most, %d events, sent %v", a.host.Name(),
					l.CPU.Round(time.Millisecond), l.After.Round(time.Millisecond), l.Heap>>10, l.Events, l.Sent)
				if l.Heap > 16<<20 || l.CPU > l.After/2 {
					t.Errorf("costs too much: %+v", l)
				}
				if most := 600 + 100*int(l.After.Seconds()); l.Sent["datagram"] > most || l.Sent["multicast"] > 60 { // sweeps of the pair with firewalls
					t.Errorf("made to send too much: %v", l.Sent)
				}
				stays(t, a, hosts[i^1].Name(), victims[i^1])
			}
		})
	}
}

// stays checks that a peer, once found, neither leaves nor loses its address.
func stays(t *testing.T, who *actor, name string, addr netip.Addr) {
	t.Helper()
	var id string
	for _, l := range who.lines() {
		if l.Event == nil || l.Event.Peer.Name != name {
			continue
		}
		e := l.Event
		has := false
		for _, ap := range e.Peer.Addrs {
			has = has || ap == netip.AddrPortFrom(addr, 7070)
		}
		if e.Kind != Gone && has && id == "" { // the attacker may have been quicker to say it
			id = e.Peer.ID
		}
		if id != "" && e.Peer.ID == id && (e.Kind == Gone && l.After < attacked-time.Second || !has) {
			t.Errorf("%s was made to believe %+v", who.host.Name(), e)
		}
	}
	if id == "" {
		t.Errorf("%s did not find %s at %v", who.host.Name(), name, addr)
	}
}
