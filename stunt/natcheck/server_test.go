package natcheck

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tcppunch/tcppunch/stunt/natcheck/internal/syn"
	"github.com/tcppunch/tcppunch/stunt/stun"
)

var (
	loop  = netip.MustParseAddr("127.0.0.1")
	other = netip.MustParseAddr("127.0.0.2")
	// elsewhere is another client.
	elsewhere = netip.MustParseAddr("127.0.1.1")
)

// serve runs a server on unused ports of this machine until the test ends.
func serve(t *testing.T, c ServerConfig) *Server {
	t.Helper()
	var inUse error
	for range 100 {
		c.Ports = [2]uint16{freePort(t), freePort(t)}
		s, err := Listen(t.Context(), &c)
		if errors.Is(err, syscall.EADDRINUSE) {
			inUse = err
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Serve(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("the server ended with %v", err)
			}
		})
		return s
	}
	t.Fatalf("no free ports: %v", inUse)
	return nil
}

// freePort finds one that nobody uses at any address, below those that systems give out by themselves.
func freePort(t *testing.T) uint16 {
	t.Helper()
	for range 1000 {
		port := uint16(10000 + rand.IntN(20000))
		if ln, err := net.ListenTCP("tcp", &net.TCPAddr{Port: int(port)}); err == nil {
			ln.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

func (s *Server) first() netip.AddrPort { return netip.AddrPortFrom(loop, s.cfg.Ports[0]) }

func TestListenRefuses(t *testing.T) {
	s := serve(t, ServerConfig{Host: loop})
	for _, tt := range []struct {
		name string
		cfg  ServerConfig
		is   error
	}{
		{"port in use", ServerConfig{Host: loop, Ports: s.cfg.Ports}, syscall.EADDRINUSE},
		{"one port twice", ServerConfig{Host: loop, Ports: [2]uint16{4000, 4000}}, nil},
		{"port 0", ServerConfig{Host: loop, Ports: [2]uint16{4000, 0}}, nil},
		{"one address twice", ServerConfig{Host: loop, Alt: loop}, nil},
		{"any for a second address", ServerConfig{Alt: netip.IPv4Unspecified()}, nil},
		{"an address of somebody else", ServerConfig{Host: netip.MustParseAddr("192.0.2.1")}, syscall.EADDRNOTAVAIL},
		{"a second address of somebody else", ServerConfig{Alt: netip.MustParseAddr("192.0.2.1")}, syscall.EADDRNOTAVAIL},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Listen(t.Context(), &tt.cfg)
			for errors.Is(err, syscall.EADDRINUSE) && tt.is == syscall.EADDRNOTAVAIL { // somebody was quicker
				tt.cfg.Ports = [2]uint16{freePort(t), freePort(t)}
				s, err = Listen(t.Context(), &tt.cfg)
			}
			if err == nil {
				t.Error(s.Close())
			}
			if err == nil || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("got %v, want %v", err, tt.is)
			}
		})
	}
}

// What each way of asking is answered, and from where; with one address and with two.
func TestChangeRequest(t *testing.T) {
	for _, host := range []netip.Addr{{}, loop} {
		name := "all addresses"
		if host.IsValid() {
			name = "given addresses"
		}
		t.Run(name, func(t *testing.T) {
			one, two := serve(t, ServerConfig{Host: host}), serve(t, ServerConfig{Host: host, Alt: other})
			for _, tt := range []struct {
				name   string
				server *Server
				q      stun.Request
				addr   netip.Addr // where the answer is from; invalid if it is refused
				port   int        // the index of its port
			}{
				{"one address", one, stun.Request{}, loop, 0},
				{"one address, port", one, stun.Request{ChangePort: true}, loop, 1},
				{"one address, address", one, stun.Request{ChangeIP: true}, netip.Addr{}, 0},
				{"one address, both", one, stun.Request{ChangeIP: true, ChangePort: true}, netip.Addr{}, 0},
				{"two addresses", two, stun.Request{}, loop, 0},
				{"two addresses, port", two, stun.Request{ChangePort: true}, loop, 1},
				{"two addresses, address", two, stun.Request{ChangeIP: true}, other, 0},
				{"two addresses, both", two, stun.Request{ChangeIP: true, ChangePort: true}, other, 1},
			} {
				t.Run(tt.name, func(t *testing.T) {
					s, err := newSocket(loop)
					if err != nil {
						t.Fatal(err)
					}
					defer s.close()
					res, from, err := s.ask(t.Context(), tt.server.first(), &tt.q)
					var refusal *stun.Error
					if !tt.addr.IsValid() {
						if !errors.As(err, &refusal) || refusal.Code != 420 || from != tt.server.first() {
							t.Errorf("got %+v, %v from %v, want 420", res, err, from)
						}
						return
					}
					want := netip.AddrPortFrom(tt.addr, tt.server.cfg.Ports[tt.port])
					if err != nil || from != want || res.Origin != want || res.Mapped.Port() != s.port() {
						t.Errorf("got %+v, %v from %v, want it from %v", res, err, from, want)
					}
					if told := res.Other.IsValid(); told != (tt.server == two) {
						t.Errorf("another address is told: %v", res.Other)
					}
				})
			}
		})
	}
}

func TestResponsePort(t *testing.T) {
	server := serve(t, ServerConfig{Host: loop})
	asking, to := check(newSocket(loop))(t), check(newSocket(loop))(t)
	defer asking.close()
	defer to.close()
	if got := asking.relay(t.Context(), to, server.first(), to.port()); got != Yes {
		t.Errorf("an answer to another port arrives: %q", got)
	}
}

// No answer over UDP is much longer than its request, nor goes to another address.
func TestGrowth(t *testing.T) {
	six, six2 := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	s := &Server{cfg: ServerConfig{Host: six, Alt: six2, Ports: [2]uint16{3478, 3479}, Software: "a long name"}}
	from := netip.MustParseAddrPort("[2001:db8::9]:7070")
	var most float64
	for _, q := range []stun.Request{{}, {ChangeIP: true}, {ChangePort: true, ResponsePort: 9}, {Extra: []stun.Attribute{probe{op: opHello}.attribute()}}} {
		b, _ := q.Encode()
		resp, src, to := s.answerPacket(b, from, netip.AddrPortFrom(six, 3478))
		if resp == nil || to.Addr() != from.Addr() || src.Addr() != six && src.Addr() != six2 {
			t.Errorf("%+v: answered %x from %v to %v", q, resp, src, to)
		}
		if len(resp) > len(b)+maxGrowth {
			t.Errorf("%+v: %d bytes are answered with %d", q, len(b), len(resp))
		}
		const headers = 40 + 8
		most = max(most, float64(len(resp)+headers)/float64(len(b)+headers))
	}
	if most > 2.2 {
		t.Errorf("an answer has %.2f times the size of its request", most)
	}
	t.Logf("at most %.2f times, with headers", most)
}

// A dial-back goes to the port that asked, and tells what it met there.
func TestDialBack(t *testing.T) {
	server := serve(t, ServerConfig{Host: loop, Alt: other})
	for _, tt := range []struct {
		op     op
		listen bool
		want   Outcome
	}{
		{opKnockPort, true, Accepted}, {opKnockPort, false, RST}, {opKnockAddr, true, Accepted}, {opKnockAddr, false, RST},
	} {
		l := check(newLane(t.Context(), loop))(t)
		if !tt.listen {
			l.close()
		}
		k := check(l.ask(t.Context(), server.first(), probe{op: tt.op}))(t)
		if p, ok := findProbe(k.res.Extra); !ok || p.op != tt.op || outcomeOf(p.arg) != tt.want {
			t.Errorf("op %d, listening %v: got %+v, want %v", tt.op, tt.listen, p, tt.want)
		}
		syn.Discard(k.conn)
		l.close()
	}
}

// Nobody but the asker is dialled from a reserved port, and a silent one says nothing.
func TestReservedPort(t *testing.T) {
	server := serve(t, ServerConfig{Host: loop})
	l := check(newLane(t.Context(), loop))(t)
	defer l.close()
	k := check(l.ask(t.Context(), server.first(), probe{op: opHello}))(t)
	defer syn.Discard(k.conn)
	c := &tcpCheck{}
	open := func(how byte) netip.AddrPort {
		t.Helper()
		p, ok := c.probe(t.Context(), k, probe{op: opOpen, arg: how})
		if !ok || p.arg != done || p.port == 0 {
			t.Fatalf("no port is reserved: %+v", p)
		}
		return netip.AddrPortFrom(loop, p.port)
	}
	at := open(portSTUN)

	// A stranger gets no answer, and is not dialled instead.
	stranger := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}
	conn := check(stranger.DialContext(t.Context(), "tcp", at.String()))(t)
	if _, err := stun.Query(t.Context(), conn); !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a stranger gets %v", err)
	}
	conn.Close()
	visitor := check(newLane(t.Context(), loop))(t)
	defer visitor.close()
	v := check(visitor.ask(t.Context(), at, probe{}))(t)
	syn.Discard(v.conn)

	if again := open(portRefuses); again != at {
		t.Errorf("the port changed from %v to %v", at, again)
	}
	if _, err := check(l.dial(at))(t).Wait(t.Context()); !syn.Refused(err) {
		t.Errorf("dialling a port that refuses: %v", err)
	}
	if again := open(portSilent); again != at {
		t.Errorf("the port changed from %v to %v", at, again)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := check(l.dial(at))(t).Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("dialling a silent port: %v", err)
	}
	sent := check(visitor.dial(at))(t)
	if p, ok := c.probe(t.Context(), k, probe{op: opDial}); !ok || outcomeOf(p.arg) != Accepted {
		t.Errorf("the last visitor is not dialled: %+v", p)
	}
	if conn, err := sent.Wait(t.Context()); err != nil {
		if !errors.Is(err, syn.ErrReset) { // the server closes at once
			t.Errorf("the visitor's SYN: %v", err)
		}
	} else {
		syn.Discard(conn)
	}
}

// What clients cause is bounded: of each one by its allowance, and of all by their number of sockets.
func TestLimits(t *testing.T) {
	l, now := newLimits(testRate, testBurst), time.Unix(1e9, 0)
	for i := range testBurst {
		if !l.take(loop, now) {
			t.Fatalf("test %d is refused", i)
		}
	}
	if l.take(loop, now) || l.take(other, now) {
		t.Error("there is no end, or addresses of one /24 are not counted together")
	}
	if !l.take(elsewhere, now) {
		t.Error("another client is refused")
	}
	if !l.take(loop, now.Add(time.Second)) || l.take(loop, now.Add(time.Second)) {
		t.Error("want one more after a second")
	}
	six := netip.MustParseAddr("2001:db8::1")
	for range testBurst {
		six = six.Next()
		l.take(six, now)
	}
	if l.take(six.Next(), now) {
		t.Error("addresses of one /48 are not counted together")
	}
	l.take(loop, now.Add(time.Hour))
	if len(l.by) != 1 {
		t.Errorf("%d clients are remembered after an hour, want 1", len(l.by))
	}
	// With more clients than are remembered, new ones are served all the same.
	for i := range uint32(maxClients + 10) {
		if !l.take(netip.AddrFrom4([4]byte{byte(10 + i>>16), byte(i >> 8), byte(i)}), now.Add(time.Hour)) {
			t.Fatalf("client %d is refused", i)
		}
	}
	if len(l.by) > maxClients {
		t.Errorf("%d clients are remembered", len(l.by))
	}
}

// One client has so many sockets of the server's, and no more, at however many addresses of its network.
func TestSlots(t *testing.T) {
	s := newSlots(maxSlots + 1)
	for i := range maxSlots {
		if a := []netip.Addr{loop, other}[i%2]; !s.take(a) {
			t.Fatalf("slot %d is refused", i)
		}
	}
	if s.take(loop) || s.take(other) {
		t.Error("one client has too many slots")
	}
	if !s.take(elsewhere) {
		t.Error("another client has none")
	}
	s.free(loop)
	s.free(elsewhere)
	if s.taken() != maxSlots-1 || !s.take(other) {
		t.Errorf("%d slots are taken after two were given back", s.taken())
	}
}

func TestMaxDials(t *testing.T) {
	server := serve(t, ServerConfig{Host: loop, MaxDials: 2})
	var held []contact
	reserve := func() bool {
		l := check(newLane(t.Context(), loop))(t)
		defer l.close()
		k := check(l.ask(t.Context(), server.first(), probe{op: opOpen, arg: portRefuses}))(t)
		held = append(held, k)
		p, ok := findProbe(k.res.Extra)
		return ok && p.arg == done
	}
	for i := range 2 {
		if !reserve() {
			t.Errorf("port %d is refused", i)
		}
	}
	if reserve() {
		t.Error("a third port is reserved")
	}
	for _, k := range held {
		syn.Discard(k.conn)
	}
	for range 100 { // the server notices that they are gone
		if reserve() {
			syn.Discard(held[len(held)-1].conn)
			return
		}
		syn.Discard(held[len(held)-1].conn)
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("ports are not given back")
}

// Clients that speak nonsense, or fall silent, do not disturb the others.
func TestHostileClients(t *testing.T) {
	server := serve(t, ServerConfig{Host: loop, Alt: other})
	var wg sync.WaitGroup
	for _, nonsense := range [][]byte{nil, []byte("GET / HTTP/1.1\r\n\r\n"), make([]byte, 9000)} {
		conn := check(net.Dial("tcp", server.first().String()))(t)
		defer conn.Close()
		conn.Write(nonsense)
		pc := check(net.Dial("udp", server.first().String()))(t)
		defer pc.Close()
		pc.Write(nonsense)
	}
	for i := range 4 {
		for _, op := range []op{opDial, opOpen, opKnockAddr, 99} {
			wg.Go(func() {
				l := check(newLane(t.Context(), loop))(t)
				defer l.close()
				k, err := l.ask(t.Context(), server.first(), probe{op: op, arg: byte(99 + i), port: 1})
				if err != nil {
					t.Error(err)
					return
				}
				defer syn.Discard(k.conn)
				if p, ok := findProbe(k.res.Extra); !ok || op != opKnockAddr && p.arg != 0 {
					t.Errorf("op %d is answered %+v", op, p)
				}
			})
		}
	}
	wg.Wait()
}

func FuzzProbe(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4})
	f.Add([]byte{4, 1, 13, 150, 0})
	f.Fuzz(func(t *testing.T, v []byte) {
		p, ok := findProbe([]stun.Attribute{{Type: 0xC000}, {Type: probeType, Value: v}})
		if ok != (len(v) >= 4) {
			t.Fatalf("%x: %+v, %v", v, p, ok)
		}
		if ok && string(p.attribute().Value) != string(v[:4]) {
			t.Errorf("%x was read as %+v", v, p)
		}
		if o := outcomeOf(p.arg); o.code() != p.arg && o != "" {
			t.Errorf("%q has code %d, was %d", o, o.code(), p.arg)
		}
	})
}

// Whatever arrives, an answer is bounded and goes to the asker.
func FuzzAnswerPacket(f *testing.F) {
	for _, q := range []stun.Request{{}, {ChangeIP: true, ChangePort: true}, {ResponsePort: 9}, *probe{op: opHello}.request()} {
		b, _ := q.Encode()
		f.Add(b, true)
		f.Add(b, false)
	}
	f.Fuzz(func(t *testing.T, b []byte, alt bool) {
		s := &Server{cfg: ServerConfig{Host: loop, Ports: [2]uint16{3478, 3479}}}
		if alt {
			s.cfg.Alt = other
		}
		from := netip.MustParseAddrPort("127.0.0.9:7070")
		resp, src, to := s.answerPacket(b, from, netip.AddrPortFrom(loop, 3478))
		if resp == nil {
			return
		}
		if len(resp) > len(b)+maxGrowth || to.Addr() != from.Addr() || src.Addr() != loop && src.Addr() != other {
			t.Errorf("%x is answered by %d bytes from %v to %v", b, len(resp), src, to)
		}
		if again, _, _ := s.answerPacket(resp, from, netip.AddrPortFrom(loop, 3478)); again != nil {
			t.Errorf("the answer %x is answered", resp)
		}
	})
}

func check[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// A reserved port is given back after its time, though its connection lives on.
func TestReservedPortExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(ServerConfig{Host: loop, MaxDials: 1})
		c := &session{server: s, from: netip.AddrPortFrom(loop, 7070), local: netip.AddrPortFrom(loop, 3478)}
		for i := range 2 {
			if p := c.probe(t.Context(), probe{op: opOpen, arg: portRefuses}); p.arg != done || s.slots.taken() != 1 {
				t.Fatalf("reservation %d: %+v, %d slots are taken", i, p, s.slots.taken())
			}
			time.Sleep(reserveTime - time.Millisecond)
			if s.slots.taken() != 1 {
				t.Error("the port is given back too early")
			}
			time.Sleep(2 * time.Millisecond)
			synctest.Wait()
			if s.slots.taken() != 0 || c.port != nil {
				t.Errorf("after its time %d slots are taken", s.slots.taken())
			}
		}
		c.Close()
	})
}
