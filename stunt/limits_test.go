package stunt

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

const somebody = "192.0.2.7" // of the network whose limits are tried

func TestLimitRooms(t *testing.T) {
	s := serve(t, &Server{Limits: Limits{Rooms: 3}, TrustedProxies: behindProxy})
	first := s.raw("192.0.2.1", "", SideSend)
	s.raw("192.0.3.1", "", SideSend)
	s.raw("192.0.4.1", "", SideSend)
	s.wantRawRefused("192.0.5.1", "", SideSend, "server-full")
	s.wantRawRefused("192.0.5.1", "garden", SideRecv, "server-full")
	s.raw("192.0.5.1", first.room, SideRecv).hear(typeMet) // who comes to a room that is there
	first.say(envelope{Type: typeLeave})
	first.end()
	s.wantRawRefused("192.0.5.1", "", SideSend, "server-full") // the receiver is still there
}

func TestLimitMembers(t *testing.T) {
	s := serve(t, &Server{Limits: Limits{Members: 2}, TrustedProxies: behindProxy})
	a := s.raw(somebody, "", SideSend)
	s.raw("192.0.2.200", "", SideSend) // the same /24
	s.wantRawRefused(somebody, "", SideSend, "too-many-members")
	s.wantQuiet()
	a.say(envelope{Type: typeLeave})
	a.end()
	s.raw(somebody, "", SideSend)
}

func TestLimitJoins(t *testing.T) {
	s := serve(t, &Server{Limits: Limits{Joins: 3}, TrustedProxies: behindProxy})
	for range 3 {
		s.raw(somebody, "", SideSend)
	}
	if e := s.wantRawRefused(somebody, "", SideSend, "too-many-joins"); e.Retry < time.Second || e.Retry > 21*time.Second {
		t.Errorf("retry after %v, want up to 21 s", e.Retry)
	}
	s.wantQuiet()
}

func TestLimitMisses(t *testing.T) {
	s := serve(t, &Server{Limits: Limits{Misses: 1}, TrustedProxies: behindProxy})
	honest := s.join("", SideSend)
	for i := range 3 {
		s.raw(somebody, fmt.Sprint("guess", i), SideRecv)
	}
	s.wantRawRefused(somebody, honest.Name(), SideSend, "side-taken") // tells that there is a room: a miss too
	hit := s.raw(somebody, honest.Name(), SideRecv)
	hit.hear(typeMet) // a hit is none
	go hit.end()      // it answers when it is asked whether it is there
	s.wantRawRefused("192.0.2.99", honest.Name(), SideRecv, "room-full")
	// From now on they learn nothing, not even whether the room is there.
	for _, room := range []string{honest.Name(), "garden"} {
		for _, side := range []Side{SideSend, SideRecv, SideBench} {
			s.wantRawRefused(somebody, room, side, "too-many-misses")
		}
	}
	s.raw(somebody, "", SideSend) // a number of one's own is no guess
	s.wantQuiet()
}

func TestLimitMessage(t *testing.T) {
	s := serve(t, &Server{Limits: Limits{Message: 100}, TrustedProxies: behindProxy})
	for name, c := range map[string]struct {
		size int
		want string
	}{
		"a byte too many": {101, "bad-request"},
		"far too many":    {1 << 20, ""}, // the connection is closed before all of it is read
	} {
		t.Run(name, func(t *testing.T) {
			a := s.raw(somebody, "", SideSend)
			b := s.raw("203.0.113.9", a.room, SideRecv)
			id := a.hear(typeMet).Meeting
			a.say(envelope{Type: typeMessage, Meeting: id, Data: make([]byte, 100)})
			if got := b.hear(typeMessage); len(got.Data) != 100 {
				t.Errorf("%d bytes arrived, want 100", len(got.Data))
			}
			_ = a.write(envelope{Type: typeMessage, Meeting: id, Data: make([]byte, c.size)}.encode())
			if e := a.end(); e.Code != c.want {
				t.Errorf("ended with %q (%s), want %q", e.Code, e.Message, c.want)
			}
			b.hear(typeOver)
			s.wantQuiet()
		})
	}
}

func TestLimitMessages(t *testing.T) {
	s := serve(t, &Server{Limits: Limits{Messages: 3}, TrustedProxies: behindProxy})
	a := s.raw(somebody, "", SideSend)
	b := s.raw("203.0.113.9", a.room, SideRecv)
	id := a.hear(typeMet).Meeting
	for range 4 {
		a.say(envelope{Type: typeMessage, Meeting: id, Data: []byte("x")})
	}
	a.wantEnd("too-many-messages")
	for range 3 {
		b.hear(typeMessage)
	}
	b.hear(typeOver)
	s.raw(somebody, b.room, SideSend) // they may meet again
	b.hear(typeMet)
	s.wantQuiet()
}

func TestLimitRoomAge(t *testing.T) {
	t.Parallel()
	s := serve(t, &Server{Limits: Limits{RoomAge: 300 * time.Millisecond}, TrustedProxies: behindProxy})
	a := s.raw(somebody, "garden", SideSend)
	b := s.raw("203.0.113.9", a.room, SideRecv)
	a.wantEnd("expired")
	b.wantEnd("expired")
	s.raw(somebody, "garden", SideSend).wantEnd("expired")
}

func TestLimitHandshake(t *testing.T) {
	t.Parallel()
	s := serve(t, &Server{Limits: Limits{Handshake: 200 * time.Millisecond}, TrustedProxies: behindProxy})
	for name, words := range map[string]string{
		"silence":        "",
		"half a request": "GET /v1/join HTTP/1.1\r\nHost: x\r\nStunt-Join: ro",
	} {
		conn := dialRaw(t, s.addr)
		if _, err := io.WriteString(conn, words); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Errorf("%s: %v, want the end", name, err) // the deadline: the server keeps the connection
		}
	}
	s.wantQuiet()
}

func dialRaw(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestLimitConns(t *testing.T) {
	s := serve(t, &Server{Limits: Limits{Conns: 2}})
	open := []net.Conn{dialRaw(t, s.addr), dialRaw(t, s.addr)}
	for _, conn := range open { // they are accepted when they are answered
		if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
	}
	third := dialRaw(t, s.addr)
	if n, err := third.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("the third connection got %d bytes, %v, want its end", n, err)
	}
	open[0].Close()
	for try := 0; ; try++ { // when the server has noticed
		conn := dialRaw(t, s.addr)
		_, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		if err == nil {
			if _, err = io.ReadFull(conn, make([]byte, 10)); err == nil {
				break
			}
		}
		if try == 300 {
			t.Fatal("the place of a connection that is closed is not free again")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestLimitIdle: a member that does not answer is gone, one that does is not.
func TestLimitIdle(t *testing.T) {
	t.Parallel()
	s := serve(t, &Server{Limits: Limits{Idle: 2 * time.Second}, TrustedProxies: behindProxy})
	silent := s.raw(somebody, "", SideSend) // nobody reads its connection, so nothing answers
	b := s.raw("203.0.113.9", silent.room, SideRecv)
	b.hear(typeMet)
	b.hear(typeOver)                                                 // reads, and so answers, for longer than Idle
	s.wantRawRefused("198.51.100.1", b.room, SideSend, "side-taken") // it may come back
	s.raw(somebody, b.room, SideSend)
	b.hear(typeMet)
}

// TestChallenge: the side of a member that is no more is free for who asks, before the server would have noticed.
func TestChallenge(t *testing.T) {
	t.Parallel()
	s := serve(t, &Server{TrustedProxies: behindProxy})
	silent := s.raw(somebody, "", SideSend)
	b := s.raw("203.0.113.9", silent.room, SideRecv)
	silent.hear(typeMet)
	b.say(envelope{Type: typeLeave})
	silent.hear(typeOver)                                                // the last thing that it reads
	s.wantRawRefused("203.0.113.9", silent.room, SideSend, "side-taken") // its place is kept
	s.raw(somebody, silent.room, SideSend)                               // for itself, started again
	live := s.raw("203.0.113.9", "", SideSend)
	go live.end()
	s.wantRawRefused("192.0.2.1", live.room, SideSend, "side-taken")
}

// TestLimitBuffer: who does not read is sent away, and holds nobody up.
func TestLimitBuffer(t *testing.T) {
	t.Parallel()
	for name, l := range map[string]Limits{
		"of one": {Messages: 1 << 20, Buffer: 64 << 10},
		"of all": {Messages: 1 << 20, Buffer: 1 << 30, Buffers: 256 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, &Server{Limits: l, TrustedProxies: behindProxy})
			slow := s.raw(somebody, "", SideSend)
			a := s.raw("203.0.113.9", slow.room, SideRecv)
			id := a.hear(typeMet).Meeting
			over := make(chan struct{})
			go func() {
				defer close(over)
				a.hear(typeOver)
			}()
			data := envelope{Type: typeMessage, Meeting: id, Data: make([]byte, MaxMessage)}.encode()
			sent := 0
			for done := false; !done; {
				select {
				case <-over:
					done = true
				default:
					if err := a.write(data); err != nil {
						t.Fatal(err)
					}
					if sent++; sent%200 == 0 {
						s.wantQuiet()
					}
				}
			}
			s.wantQuiet()
		})
	}
}

func TestPerNetwork(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.7": "192.0.2.0/24", "::ffff:192.0.2.7": "192.0.2.0/24",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := prefixOf(netip.MustParseAddr(addr), 64); got.String() != want {
			t.Errorf("%s counts as %v, want %s", addr, got, want)
		}
	}
	if got := prefixOf(netip.Addr{}, 64); got.IsValid() {
		t.Errorf("no address counts as %v", got)
	}
}

// TestNetworksAreForgotten: what is remembered of networks is bounded, and lasts no longer than it matters.
func TestNetworksAreForgotten(t *testing.T) {
	ns := newNetworks(DefaultLimits())
	now := time.Now()
	at := func(i int) netip.Addr {
		return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)})
	}
	kept := ns.of(at(0), now)
	kept.members++
	for i := range 2 * maxNetworks {
		ns.of(at(i+1), now)
	}
	if n := len(ns.all); n > maxNetworks+1 {
		t.Errorf("%d networks are remembered, want at most %d", n, maxNetworks+1)
	}
	if ns.of(at(0), now) != kept {
		t.Error("a network with a member is forgotten")
	}
	kept.members--
	for i := range 2 * maxNetworks {
		ns.of(at(i%2), now.Add(time.Hour))
	}
	if n := len(ns.all); n != 3 || ns.byUse.Len() != 3 {
		t.Errorf("%d networks are remembered after an hour, want two and the one around them", n)
	}
}

// TestMalformed: what cannot be understood costs its sender its place, and nobody else anything.
func TestMalformed(t *testing.T) {
	s := serve(t, &Server{TrustedProxies: behindProxy})
	for _, words := range []string{
		"", "null", "[]", "hello", `{"type":"join"}`, `{"type":"met","meeting":1}`, `{"type":"message"}`,
		`{"type":"message","meeting":-1}`, `{"type":"message","meeting":1,"data":"*"}`, `{"type":"drop","meeting":"1"}`,
		string(bytes.Repeat([]byte("["), 10000)),
	} {
		m := s.raw(somebody, "", SideSend)
		_ = m.write([]byte(words))
		if e := m.end(); e.Code != "bad-request" {
			t.Errorf("%.40q: ended with %q (%s), want bad-request", words, e.Code, e.Message)
		}
	}
	s.wantQuiet()
}

// TestLimitFrames: what a member says counts, also where it means nothing.
func TestLimitFrames(t *testing.T) {
	t.Parallel()
	stray := envelope{Type: typeMessage, Meeting: 99, Data: make([]byte, MaxMessage)}.encode()
	for name, say := range map[string]func(*raw) error{
		"messages of no meeting": func(m *raw) error { return m.write(stray) },
		"drops of no meeting":    func(m *raw) error { return m.write(envelope{Type: typeDrop, Meeting: 99}.encode()) },
		"pings":                  func(m *raw) error { return m.conn.Ping(within(t)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, &Server{Limits: Limits{Messages: 10}, TrustedProxies: behindProxy})
			m := s.raw(somebody, "", SideSend)
			ended := make(chan *RefusedError, 1)
			go func() { ended <- m.end() }()
			n := 0
			for ; n < 10_000 && say(m) == nil; n++ {
			}
			if n < 2*10+spareFrames {
				t.Errorf("ended after %d frames, want at least %d", n, 2*10+spareFrames)
			}
			if e := <-ended; e.Code != "too-many-messages" {
				t.Errorf("ended after %d frames with %q (%s), want too-many-messages", n, e.Code, e.Message)
			}
			s.wantQuiet()
		})
	}
}

// TestChallengeFull: in a room of two, a member that is no more makes place for who asks for its side.
func TestChallengeFull(t *testing.T) {
	t.Parallel()
	s := serve(t, &Server{TrustedProxies: behindProxy})
	owner := s.join("", SideSend)
	silent := s.raw(somebody, owner.Name(), SideRecv) // killed: nobody answers for it
	silent.hear(typeMet)
	again := s.raw(somebody, owner.Name(), SideRecv)
	again.hear(typeMet)
}
