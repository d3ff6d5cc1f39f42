package udppunch

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	codec "github.com/pion/stun/v4"
	"go.uber.org/goleak"

	"github.com/tcppunch/tcppunch/stunt/stun"
	"github.com/tcppunch/tcppunch/tcppunch/internal/datagram"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A node is a mesh with one port, and what it was told.
type node struct {
	*Mesh
	port  *Port
	valid chan Path
	data  chan string
}

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{Mesh: New(), valid: make(chan Path, 16), data: make(chan string, 16)}
	t.Cleanup(n.Close)
	var err error
	if n.port, err = n.Listen(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *node) addr() netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), n.port.Number())
}

func (n *node) start(peer *node, more func(*Config)) {
	c := &Config{
		Peer: peer.Credentials(), Valid: func(p Path) { n.valid <- p },
		Data: func(_ Path, b []byte) { n.data <- string(b) },
	}
	if more != nil {
		more(c)
	}
	n.Start(c)
}

func (n *node) await(t *testing.T) Path {
	t.Helper()
	select {
	case p := <-n.valid:
		return p
	case <-time.After(5 * time.Second):
		t.Fatal("no path became valid")
		panic("unreachable")
	}
}

func always(r Role) Schedule { return func(time.Time) Role { return r } }

// One side's check is enough for both: the other one answers and asks in turn.
func TestCheck(t *testing.T) {
	a, b := newNode(t), newNode(t)
	a.start(b, nil)
	b.start(a, nil)
	a.Hold(t.Context(), a.port, b.addr(), always(Role{First: 20 * time.Millisecond}), "tag")
	pa, pb := a.await(t), b.await(t)
	if pa.Remote != b.addr() || pb.Remote != a.addr() || pa.Tag != "tag" || pb.Tag != nil || pa.RTT <= 0 {
		t.Errorf("got %+v and %+v", pa, pb)
	}
	if pa.Peer != b.Number() || pb.Peer != a.Number() {
		t.Errorf("the numbers are %x and %x", pa.Peer, pb.Peer)
	}
	a.Choose(pa)
	if err := pa.Socket.Send([]byte("\xffdata"), pa.Remote); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-b.data:
		if got != "\xffdata" {
			t.Errorf("got %q", got)
		}
	case <-time.After(5 * time.Second):
		t.Error("the datagram did not arrive")
	}
}

// Each stream has an ID of its own, on both sides the same.
func TestStreamIDs(t *testing.T) {
	a, b := newNode(t), newNode(t)
	streams := make(chan StreamID, 16)
	a.start(b, nil)
	b.start(a, func(c *Config) { c.Data = func(p Path, _ []byte) { streams <- p.Stream } })
	second, err := b.Listen(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	a.Probe(a.port, b.addr(), 0, nil)
	a.Probe(a.port, netip.AddrPortFrom(b.addr().Addr(), second.Number()), 0, nil)
	seen := map[StreamID]bool{}
	for range 2 {
		p := a.await(t)
		for range 2 { // the second replaces the first
			id := a.Choose(p)
			if err := p.Socket.Send([]byte("\xffdata"), p.Remote); err != nil {
				t.Fatal(err)
			}
			select {
			case got := <-streams:
				if got != id || seen[id] {
					t.Errorf("got %x, want %x, and never twice", got, id)
				}
			case <-time.After(5 * time.Second):
				t.Fatal("no datagram")
			}
			seen[id] = true
		}
	}
}

// A path that was given up is found again, by the schedule that it had.
func TestForget(t *testing.T) {
	a, b := newNode(t), newNode(t)
	a.start(b, nil)
	b.start(a, nil)
	a.Hold(t.Context(), a.port, b.addr(), always(Role{First: 20 * time.Millisecond}), "tag")
	p := a.await(t)
	a.Forget(p)
	if again := a.await(t); again.Remote != p.Remote || again.Tag != "tag" {
		t.Errorf("got %+v", again)
	}
}

// What never answers does not fill the mesh for good.
func TestSweep(t *testing.T) {
	a, b := newNode(t), newNode(t)
	a.start(b, nil)
	for i := range maxPairs + 10 {
		remote := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}), 9)
		if p := a.pair(pairKey{a.port.v4, remote}, nil); p != nil {
			p.born = p.born.Add(-answerTime)
		}
	}
	b.start(a, nil)
	a.Probe(a.port, b.addr(), 0, nil)
	a.await(t)
}

// A probe that is sent once comes to the same, and a port with a valid path stays.
func TestProbe(t *testing.T) {
	a, b := newNode(t), newNode(t)
	a.start(b, nil)
	b.start(a, nil)
	a.Probe(a.port, b.addr(), 0, 7)
	if p := a.await(t); p.Tag != 7 {
		t.Errorf("tag is %v", p.Tag)
	}
	b.await(t)
	a.port.Close()
	if err := a.port.v4.Send([]byte("\xff still open"), b.addr()); err != nil {
		t.Errorf("the socket of a valid path was closed: %v", err)
	}
}

// Who does not know the credentials, or is where the peer cannot be, gets nothing.
func TestStrangers(t *testing.T) {
	a, b, stranger := newNode(t), newNode(t), newNode(t)
	a.start(b, nil)
	stranger.start(a, nil) // a does not take it for its peer
	stranger.Hold(t.Context(), stranger.port, a.addr(), always(Role{First: 20 * time.Millisecond}), nil)
	refusing := newNode(t)
	refusing.start(b, func(c *Config) { c.Allowed = func(netip.Addr) bool { return false } })
	b.start(refusing, nil)
	b.Hold(t.Context(), b.port, refusing.addr(), always(Role{First: 20 * time.Millisecond}), nil)
	stranger.port.v4.Send([]byte("\xffdata"), a.addr())
	select {
	case <-a.valid:
		t.Error("a took a stranger for its peer")
	case <-a.data:
		t.Error("a took data from a stranger")
	case <-refusing.valid:
		t.Error("an address that is not allowed was used")
	case <-stranger.valid:
		t.Error("a stranger got an answer")
	case <-time.After(300 * time.Millisecond):
	}
}

// A datagram that comes back to its sender is not the peer.
func TestReflected(t *testing.T) {
	a := newNode(t)
	mirror, err := datagram.Listen(t.Context(), "udp4", 0, &datagram.Handler{
		STUN: func(s *datagram.Socket, msg []byte, from netip.AddrPort) { s.Send(msg, from) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer mirror.Close()
	own := Credentials{Ufrag: "same", Pwd: "samesamesamesamesamesame"}
	a.Start(&Config{Local: own, Peer: own, Valid: func(p Path) { a.valid <- p }})
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), mirror.Local().Port())
	a.Hold(t.Context(), a.port, to, always(Role{First: 20 * time.Millisecond}), nil)
	select {
	case p := <-a.valid:
		t.Errorf("met itself: %+v", p)
	case <-time.After(200 * time.Millisecond):
	}
}

// A peer that starts again is another one: its path has to be found valid again.
func TestPeerRestarts(t *testing.T) {
	a, b := newNode(t), newNode(t)
	a.start(b, nil)
	b.start(a, nil)
	a.Hold(t.Context(), a.port, b.addr(), always(Role{First: 20 * time.Millisecond}), nil)
	first := a.await(t)
	b.await(t)
	b.port.mesh.mu.Lock()
	b.number++ // as another run with the same credentials has
	clear(b.pairs)
	b.mu.Unlock()
	b.Hold(t.Context(), b.port, a.addr(), always(Role{First: 20 * time.Millisecond}), nil)
	if again := a.await(t); again.Peer == first.Peer {
		t.Error("two runs of the peer taken for one")
	}
}

func TestQuery(t *testing.T) {
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { new(stun.Server).ServePacket(ctx, pc) })
	defer wg.Wait()
	defer cancel()
	a := newNode(t)
	server := pc.LocalAddr().(*net.UDPAddr).AddrPort()
	res, err := a.port.Query(t.Context(), server)
	if err != nil || res.Mapped != a.addr() {
		t.Errorf("got %v, %v, want %v", res.Mapped, err, a.addr())
	}
	limited, end := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer end()
	if _, err := a.port.Query(limited, netip.AddrPortFrom(server.Addr(), a.port.Number())); err == nil {
		t.Error("an answer from no server")
	}
}

func TestCredentials(t *testing.T) {
	if c := New().Credentials(); !c.Valid() {
		t.Errorf("%+v", c)
	}
	for _, c := range []Credentials{
		{}, {"abc", "aaaaaaaaaaaaaaaaaaaaaaaa"}, {"abcd", "short"}, {"ab:d", "aaaaaaaaaaaaaaaaaaaaaaaa"}, {"abcd", "aaaaaaaaaaaaaaaaaaaaaaa\n"},
	} {
		if c.Valid() {
			t.Errorf("%+v", c)
		}
	}
}

// Whatever arrives, nothing is valid that was not asked and answered.
func FuzzMessage(f *testing.F) {
	own := Credentials{Ufrag: "ours", Pwd: "oursoursoursoursoursours"}
	peer := Credentials{Ufrag: "peer", Pwd: "peerpeerpeerpeerpeerpeer"}
	m := New()
	defer m.Close()
	port, err := m.ListenV4(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	m.Start(&Config{Local: own, Peer: peer})
	m.mu.Lock()
	request, _, _ := m.request(1, true)
	response, _ := m.response([12]byte{1}, netip.MustParseAddrPort("192.0.2.1:1"))
	m.mu.Unlock()
	other := New()
	other.Start(&Config{Local: peer, Peer: own})
	fromPeer, _, _ := other.request(3, true)
	f.Add(request)
	f.Add(response)
	f.Add(fromPeer)
	f.Add(codec.MustBuild(codec.BindingRequest).Raw)
	from := netip.MustParseAddrPort("127.0.0.1:9")
	f.Fuzz(func(t *testing.T, b []byte) {
		m.message(port.v4, b, from)
		m.mu.Lock()
		defer m.mu.Unlock()
		if p := m.pairs[pairKey{port.v4, from}]; p != nil && p.valid {
			t.Errorf("valid by %x", b)
		}
	})
}
