//go:build linux

package lanfind

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// attacker is a host that does not play by the rules.
type attacker struct {
	*sockets
	at      Interface
	victims []netip.Addr
}

func newAttacker(ctx context.Context, r *role) *attacker {
	all, err := Interfaces()
	if err != nil {
		panic(err)
	}
	a := &attacker{sockets: newSockets(ctx), at: choose(all, nil)[0], victims: r.Options.Addrs}
	if err := a.join(&a.at); err != nil {
		panic(err)
	}
	if err := a.listen(r.Options.Port); err != nil {
		panic(err)
	}
	return a
}

// says announces s by all ways, or takes leave, with an address as its own.
func (a *attacker) says(s *Service, label string, as netip.Addr, ttl uint32) {
	l := newLocal(s, time.Now())
	if label != "" {
		l.label, l.instance = label, escapeLabel(label)+"."+serviceName
	}
	b, err := encode(l.answer(wantAll, []netip.Addr{as}, ttl))
	if err != nil {
		panic(err)
	}
	a.multicast(&a.at, b)
	for _, to := range a.victims {
		a.send(to, 0, b)
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

func attackTable() map[string]func(context.Context, *role) {
	return map[string]func(context.Context, *role){
		// Ten thousand peers that do not exist, from one address and then from two hundred.
		"fakes": func(ctx context.Context, r *role) {
			a := newAttacker(ctx, r)
			for i := 0; ctx.Err() == nil && i < 10_000; i++ {
				a.says(fake(i), "", a.addr(), ttlSeconds)
			}
			var from []*net.UDPConn
			for i := range 200 {
				c, err := listenUDP(unix.AF_INET, &unix.SockaddrInet4{Port: int(r.Options.Port), Addr: [4]byte{10, 0, 1, byte(50 + i)}})
				if err != nil {
					panic(err)
				}
				from = append(from, c)
			}
			for i := 0; ctx.Err() == nil; i++ {
				l := newLocal(fake(10_000+i), time.Now())
				b, _ := encode(l.answer(wantAll, []netip.Addr{a.addr()}, ttlSeconds))
				for _, to := range r.Options.Addrs {
					from[i%200].WriteTo(b, &net.UDPAddr{IP: to.AsSlice(), Port: int(r.Options.Port)})
				}
				time.Sleep(100 * time.Microsecond)
			}
		},
		// Whatever anybody says is said again: with another room, with another address, and taken back.
		"copies": func(ctx context.Context, r *role) {
			a := newAttacker(ctx, r)
			for {
				var p packet
				select {
				case p = <-a.packets:
				case <-ctx.Done():
					return
				}
				m, err := parse(p.data)
				if err != nil || p.from.Addr() == a.addr() || p.from.Addr().Is6() {
					continue
				}
				if !m.response { // in the name of nobody yet
					a.says(fake(1), "", a.addr(), ttlSeconds)
				}
				for _, i := range m.found {
					s := &Service{ID: i.claims.id, Port: i.claims.port, Room: i.claims.room}
					if s.ID == "" {
						continue
					}
					a.says(s, i.label, a.addr(), ttlSeconds) // with another time
					s.Room = "6666"
					a.says(s, i.label, a.addr(), ttlSeconds)
					s.Room, s.Port = i.claims.room, 666
					a.says(s, i.label, a.addr(), ttlSeconds)
					a.says(s, i.label, a.addr(), 0)
				}
			}
		},
		// As many packets as it can, to all ports: halves of messages, queries, and pointers that go round.
		"flood": func(ctx context.Context, r *role) {
			a := newAttacker(ctx, r)
			ask, _ := encode(query(nil, nil))
			junk := [][]byte{ask, ask[:len(ask)-3], []byte("\x00\x00\x84\x00\x00\x00\x01\x00\x00\x00\x00\x00\xc0\x0c"), make([]byte, 1400)}
			for i := 0; ctx.Err() == nil; i++ {
				a.multicast(&a.at, junk[i%len(junk)])
				for _, to := range r.Options.Addrs {
					a.send(to, 0, junk[i%len(junk)])
				}
			}
		},
	}
}

func TestAttacks(t *testing.T) {
	for name := range attackTable() {
		for _, firewall := range []natlab.Firewall{natlab.NoFirewall, natlab.DropUnsolicited} {
			t.Run(name+", firewall "+firewall.String(), func(t *testing.T) {
				const during = 5 * time.Second
				top := lan(firewall, "a", "b", "eve")
				top.Hosts[2].Firewall = natlab.NoFirewall
				lab := natlab.New(t, top)
				if name == "fakes" {
					for i := range 200 {
						lab.Host("eve").Run("ip", "addr", "add", fmt.Sprintf("10.0.1.%d/24", 50+i), "dev", "eth0")
					}
				}
				victims := []netip.Addr{lab.Host("a").Addr(), lab.Host("b").Addr()}
				eve := start(t, lab.Host("eve"), role{Attack: name, Options: Options{Port: DefaultPort, Addrs: victims}})
				time.Sleep(300 * time.Millisecond)
				began := time.Now()
				a := start(t, lab.Host("a"), role{Options: Options{Announce: service("anna", "4821"), Room: "4821"}})
				b := start(t, lab.Host("b"), role{Options: Options{Announce: service("ben", "4821"), Room: "4821"}})
				a.finds(during, "ben")
				b.finds(during, "anna")
				took := time.Since(began)
				time.Sleep(during - took)
				eve.proc.Kill()
				if text := eve.proc.Stderr.String(); text != "" {
					t.Errorf("the attack failed: %s", text)
				}
				for _, x := range []*actor{a, b} {
					l := x.end()
					t.Logf("%s: pair found after %v; CPU %v of %v, heap %d KiB at most, %d events, sent %v", x.host.Name(),
						took.Round(time.Millisecond), l.CPU.Round(time.Millisecond), l.After.Round(time.Millisecond), l.Heap>>10, l.Events, l.Sent)
					if l.Heap > 16<<20 || l.CPU > l.After/2 {
						t.Errorf("costs too much: %+v", l)
					}
					if l.Sent["datagram"] > 1200 || l.Sent["multicast"] > 60 {
						t.Errorf("made to send too much: %v", l.Sent)
					}
				}
				stays(t, a, "ben", lab.Host("b").Addr())
				stays(t, b, "anna", lab.Host("a").Addr())
			})
		}
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
		if id != "" && e.Peer.ID == id && (e.Kind == Gone && l.After < 4*time.Second || !has) {
			t.Errorf("%s was made to believe %+v", who.host.Name(), e)
		}
	}
	if id == "" {
		t.Errorf("%s did not find %s at %v", who.host.Name(), name, addr)
	}
}
