package stunt

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// TestOwnerComesBack: whoever is in the room first after the server has lost its memory, the owner sends that one away,
// and not itself.
func TestOwnerComesBack(t *testing.T) {
	for _, c := range []struct {
		name string
		room string
		side Side
	}{
		{"to its number", "", SideSend},
		{"to a name", "garden", SideSend},
		{"as the receiver", "garden", SideRecv},
		{"to a benchmark", "", SideBench},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, nil)
			w := newWatch()
			owner := join(t, &JoinOptions{Server: s.addr, Room: c.room, Side: c.side, Trace: w.trace()})
			s.end()
			w.wait(t, 1, 1, 0)
			s = serveAt(t, nil, s.addr)
			stranger, err := Join(within(t), &JoinOptions{Server: s.addr, Room: owner.Name(), Side: c.side.other()})
			if err != nil {
				t.Fatal(err)
			}
			defer stranger.Close()
			m, sm := meet(t, owner), meet(t, stranger)
			if !m.First() {
				t.Error("the owner is not the first")
			}
			if m.First() && !sm.First() {
				m.Drop()
				wantOver(t, sm, ErrDropped)
			}
			friend := s.join(owner.Name(), c.side.other())
			wantTalk(t, meet(t, owner), meet(t, friend))
		})
	}
}

// TestGuestComesBackFirst: who merely joined does not become the owner by rejoining first.
func TestGuestComesBackFirst(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	d, err := newDialer(&JoinOptions{Server: s.addr, Room: "garden", Side: SideRecv})
	if err != nil {
		t.Fatal(err)
	}
	d.joined = true
	conn, err := d.join(within(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	owner, err := newDialer(&JoinOptions{Server: s.addr, Room: "garden", Side: SideSend})
	if err != nil {
		t.Fatal(err)
	}
	owner.joined, owner.made = true, true
	oc, err := owner.join(within(t))
	if err != nil {
		t.Fatal(err)
	}
	m := &raw{t: t, conn: oc}
	defer oc.CloseNow()
	if !m.hear(typeMet).First {
		t.Error("the owner is not the first")
	}
}

// TestTwoOwners: somebody lies about having made the room. Either can send the other away, and the honest one is back
// each time.
func TestTwoOwners(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	w := newWatch()
	owner := join(t, &JoinOptions{Server: s.addr, Side: SideSend, Trace: w.trace()})
	s.end()
	w.wait(t, 1, 1, 0)
	s = serveAt(t, nil, s.addr)
	lie := func() *raw {
		d, err := newDialer(&JoinOptions{Server: s.addr, Room: owner.Name(), Side: SideRecv})
		if err != nil {
			t.Fatal(err)
		}
		d.joined, d.made = true, true
		conn, err := d.join(within(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.CloseNow() })
		return &raw{t: t, conn: conn}
	}
	liar := lie()
	for range 2 {
		id := liar.hear(typeMet).Meeting
		m := meet(t, owner)
		if !m.First() {
			t.Error("the owner is not the first")
		}
		liar.say(envelope{Type: typeDrop, Meeting: id})
		wantOver(t, m, ErrDisconnected)
	}
	m := meet(t, owner)
	go m.Drop()
	liar.wantEnd("dropped")
	friend := s.join(owner.Name(), SideRecv)
	wantTalk(t, meet(t, owner), meet(t, friend))
}

// TestReserved: while the owner's connection is lost, nobody else gets its place; who comes as the other side waits for
// it. In the end the room is free.
func TestReserved(t *testing.T) {
	h := newHub(Limits{Members: 1}.orDefault())
	at := func(last byte) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, last, 1}) }
	token := func(n int) string { return fmt.Sprintf("%032x", n) }
	take := func(q joinRequest, from byte) *member {
		t.Helper()
		m, _, err := h.join(q, at(from))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(h.wg.Done)
		return m
	}
	refuse := func(q joinRequest, from byte, want string) {
		t.Helper()
		if _, _, err := h.join(q, at(from)); err == nil || err.Code != want {
			t.Fatalf("joining as %v: %v, want %s", q, err, want)
		}
	}
	owner := take(joinRequest{Side: SideSend, Token: token(1)}, 1)
	rm := owner.room
	h.lose(owner)
	refuse(joinRequest{Room: rm.name, Side: SideSend, Token: token(2)}, 2, codeSideTaken)
	refuse(joinRequest{Room: rm.name, Side: SideBench, Token: token(2)}, 2, codeMismatch)
	refuse(joinRequest{Side: SideSend, Token: token(2)}, 1, codeTooManyMembers) // the place counts
	guest := take(joinRequest{Room: rm.name, Side: SideRecv, Token: token(3)}, 3)
	refuse(joinRequest{Room: rm.name, Side: SideSend, Token: token(2)}, 2, codeSideTaken)
	if guest.made || rm.meeting != 0 {
		t.Error("the guest has made the room, or met somebody")
	}
	owner = take(joinRequest{Room: rm.name, Side: SideSend, Token: token(1), Rejoin: true, Made: true}, 4)
	if rm.meeting == 0 || rm.first() != owner {
		t.Error("the owner is back, and has met nobody, or is not the first")
	}
	h.lose(owner)
	again := take(joinRequest{Room: rm.name, Side: SideSend, Token: token(5)}, 4) // the same network, started again
	if rm.first() != again {
		t.Error("who was started again is not the first")
	}
	h.leave(guest)
	h.leave(again) // of its own will: nothing is kept
	if len(h.rooms) != 0 {
		t.Error("the room is still there")
	}
	owner = take(joinRequest{Side: SideSend, Token: token(1)}, 1)
	h.lose(owner)
	h.expire(owner.room)
	if len(h.rooms) != 0 || owner.network.members != 0 {
		t.Error("the room has outlived its age")
	}
}

// TestVisits: who is sent away again and again is kept out for a while, with its network, and nobody else is.
func TestVisits(t *testing.T) {
	t.Parallel()
	s := serve(t, &Server{TrustedProxies: behindProxy})
	owner := s.join("", SideSend)
	for range 5 {
		a := s.raw(somebody, owner.Name(), SideRecv)
		meet(t, owner).Drop()
		a.wantEnd("dropped")
	}
	e := s.wantRawRefused("192.0.2.99", owner.Name(), SideRecv, "too-many-visits")
	if e.Retry <= 0 || e.Retry > visitTime {
		t.Errorf("retry after %v, want up to %v", e.Retry, visitTime)
	}
	wantTalk(t, meet(t, s.join(owner.Name(), SideRecv)), meet(t, owner))
}

func TestVisitsAreForgotten(t *testing.T) {
	ns := newNetworks(DefaultLimits())
	now := time.Now()
	at := func(i int) *network { return ns.of(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), now) }
	var vs visits
	for range maxVisits {
		if wait := vs.wait(at(0), now); wait != 0 {
			t.Fatalf("kept out for %v too early", wait)
		}
		vs.note(at(0), 1, now)
	}
	if wait := vs.wait(at(0), now.Add(time.Minute)); wait != visitTime-time.Minute {
		t.Errorf("kept out for %v, want %v", wait, visitTime-time.Minute)
	}
	later := now.Add(visitTime)
	if wait := vs.wait(at(0), later); wait != 0 {
		t.Errorf("still kept out for %v", wait)
	}
	vs.note(at(0), 1, later)
	if wait := vs.wait(at(0), later); wait != 0 {
		t.Errorf("kept out for %v because of what was long ago", wait)
	}
	for i := range 3 * maxVisitors {
		vs.note(at(i+1), 1, later.Add(time.Duration(i)))
	}
	if len(vs) != maxVisitors {
		t.Errorf("%d visitors are remembered, want %d", len(vs), maxVisitors)
	}
}

// TestJoinWaits: a room that is full may be free in a moment.
func TestJoinWaits(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	owner, guest, _, _ := s.pair("")
	joined := make(chan *Room, 1)
	go func() {
		r, err := Join(within(t), &JoinOptions{Server: s.addr, Room: owner.Name(), Side: SideRecv, Patience: 20 * time.Second})
		if err != nil {
			t.Error(err)
		}
		joined <- r
	}()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, body := get(t, "http://"+s.addr+"/metrics"); strings.Contains(body, `stunt_joins_total{result="room-full"} `) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nobody was refused")
		}
	}
	guest.Close()
	r := <-joined
	if r == nil {
		return
	}
	defer r.Close()
	meet(t, r)
}

// TestReturns: after a start those who rejoin are not locked out by each other, nor do they lock out others.
func TestReturns(t *testing.T) {
	h := newHub(Limits{Misses: 1}.orDefault())
	from := netip.MustParseAddr(somebody)
	rejoin := func(i int) *RefusedError {
		m, _, err := h.join(joinRequest{
			Room: fmt.Sprint("room", i), Side: SideSend, Token: fmt.Sprintf("%032x", i), Rejoin: true, Made: true,
		}, from)
		if err == nil {
			h.attach(m, nil, nil)
		}
		return err
	}
	for i := range 40 {
		if err := rejoin(i); err != nil {
			t.Fatalf("rejoin %d: %v", i, err)
		}
	}
	m, _, err := h.join(joinRequest{Room: "another", Side: SideSend, Token: fmt.Sprintf("%032x", 1)}, from)
	if err != nil {
		t.Fatalf("somebody else of that network: %v", err)
	}
	h.attach(m, nil, nil)
	h.started = time.Now().Add(-settleTime)
	n := 0
	for ; n < 10 && rejoin(100+n) == nil; n++ {
	}
	if n > 5 {
		t.Errorf("%d rejoins to rooms that are not there, long after the start", n)
	}
	for _, rm := range h.rooms {
		h.expire(rm)
	}
}

// TestFarMisses: a network that has missed often still gets in where somebody waits, until it has missed far too often.
func TestFarMisses(t *testing.T) {
	s := serve(t, &Server{Limits: Limits{Misses: 1}, TrustedProxies: behindProxy})
	a, b := s.join("", SideSend), s.join("", SideSend)
	for i := range 5 {
		s.raw(somebody, fmt.Sprint("guess", i), SideRecv)
	}
	s.wantRawRefused(somebody, "guess", SideRecv, "too-many-misses")
	s.raw(somebody, a.Name(), SideRecv).hear(typeMet)
	for range 14 {
		s.wantRawRefused(somebody, "guess", SideRecv, "too-many-misses")
	}
	s.wantRawRefused(somebody, b.Name(), SideRecv, "too-many-misses")
	s.wantQuiet()
}

// TestWideNetworks: who has a whole /48 does not have the limits of each /64 in it.
func TestWideNetworks(t *testing.T) {
	h := newHub(Limits{Joins: 2, Conns: 2, Members: 2}.orDefault())
	at := func(i int) netip.Addr {
		return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 0, byte(i >> 8), byte(i), 15: 1})
	}
	var taken []*member
	var refused *RefusedError
	for i := range 100 {
		m, _, err := h.join(joinRequest{Side: SideSend, Token: fmt.Sprintf("%032x", i)}, at(i))
		if refused = err; err != nil {
			break
		}
		taken = append(taken, m)
	}
	if len(taken) != 2*wideTimes || !errors.Is(refused, ErrLimited) {
		t.Errorf("%d joins of one /48, then %v, want %d", len(taken), refused, 2*wideTimes)
	}
	m, _, err := h.join(joinRequest{Side: SideSend, Token: fmt.Sprintf("%032x", 1)}, netip.MustParseAddr("2001:db8:1::1"))
	if err != nil {
		t.Fatalf("another /48: %v", err)
	}
	h.attach(m, nil, nil)
	conns := 0
	for i := range 100 {
		if h.connect(at(i)) == nil {
			break
		}
		conns++
	}
	if conns != 2*wideTimes {
		t.Errorf("%d connections of one /48, want %d", conns, 2*wideTimes)
	}
	wide := taken[0].network.widest()
	if wide.prefix.Bits() != 48 || wide.members != len(taken) {
		t.Errorf("%v has %d members, want %d", wide.prefix, wide.members, len(taken))
	}
	for _, m := range taken {
		h.attach(m, nil, nil)
	}
	if wide.members != 0 {
		t.Errorf("%d members of the /48 are left", wide.members)
	}
}
