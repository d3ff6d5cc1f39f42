package stunt

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// TestGames plays games of joins, messages, drops and departures by chance, and checks the rules after each move. The
// members have no connection: what they are told stays in their queues.
func TestGames(t *testing.T) {
	for seed := range uint64(1000) {
		chance := rand.New(rand.NewPCG(seed, 7))
		g := newGame(t)
		for range 200 {
			g.move(byte(chance.Uint32()), byte(chance.Uint32()))
			g.check()
		}
		g.leaveAll()
		if t.Failed() {
			t.Fatalf("in the game of seed %d", seed)
		}
	}
}

// A game is a hub and those who play with it.
type game struct {
	t       *testing.T
	hub     *hub
	players []*member
	heard   map[*member]int // how much of its queue was looked at
	present map[*member]uint64
	said    map[uint64]int // messages of a meeting
}

func newGame(t *testing.T) *game {
	l := Limits{
		Rooms: 6, Members: 5, Joins: 1 << 30, Misses: 1 << 27, Messages: 8, Message: 64, Buffer: 1 << 10, Buffers: 2 << 10,
	}
	return &game{
		t: t, hub: newHub(l.orDefault()),
		heard: make(map[*member]int), present: make(map[*member]uint64), said: make(map[uint64]int),
	}
}

func (g *game) move(what, who byte) {
	if what%6 < 2 || len(g.players) == 0 {
		g.join(what, who)
		return
	}
	m := g.players[int(who)%len(g.players)]
	switch what % 6 {
	case 2, 3:
		meeting := uint64(what) % (g.hub.meetings + 2)
		g.hub.forward(m, envelope{Type: typeMessage, Meeting: meeting, Data: fmt.Appendf(nil, "%d", meeting)})
	case 4:
		g.hub.drop(m, uint64(what)%(g.hub.meetings+2))
	case 5:
		m.rejoined = what&0x40 != 0 // which is lost and keeps its place, if it made the room
		g.leave(m)
	}
}

func (g *game) join(what, who byte) {
	sides := [...]Side{SideSend, SideRecv, SideBench}
	q := joinRequest{Side: sides[int(what/8)%3], Token: fmt.Sprintf("%032x", who%16)}
	if who&0x80 == 0 {
		q.Room = fmt.Sprintf("room%d", who/16)
		q.Rejoin = what&0x40 != 0
		q.Made = what&0xc0 == 0xc0
	}
	m, _, refused := g.hub.join(q, netip.AddrFrom4([4]byte{192, 0, who % 3, 1}))
	if refused == nil {
		g.players = append(g.players, m)
	}
}

func (g *game) leave(m *member) {
	for i, p := range g.players {
		if p == m {
			g.players = append(g.players[:i:i], g.players[i+1:]...)
			break
		}
	}
	g.hub.attach(m, nil, nil)
}

func (g *game) leaveAll() {
	for len(g.players) > 0 {
		g.leave(g.players[0])
	}
	h := g.hub
	for _, rm := range h.rooms {
		h.expire(rm) // those whose owner is expected back
	}
	if len(h.rooms)+h.members+h.waiting+h.meeting+len(h.links) != 0 || h.numbers != (numbers{}) {
		g.t.Fatalf("something is left: %d rooms, %d members, %d bytes, %d meetings, %d links, numbers %v",
			len(h.rooms), h.members, h.waiting, h.meeting, len(h.links), h.numbers)
	}
	for p, n := range h.networks.all {
		if n.members != 0 {
			g.t.Fatalf("network %v has %d members", p, n.members)
		}
	}
	h.wg.Wait()
}

// check compares what must agree.
func (g *game) check() {
	h := g.hub
	members, meetings, waiting := 0, 0, 0
	places := make(map[*network]int)
	for name, rm := range h.rooms {
		members += len(rm.members)
		switch {
		case rm.name != name, len(rm.members) == 0 && rm.reserved == nil, len(rm.sides()) > 2:
			g.t.Fatalf("room %q is called %q and has %d members", name, rm.name, len(rm.members))
		case len(rm.members) == 2 && rm.members[0].side.other() != rm.members[1].side:
			g.t.Fatalf("room %q has %s and %s", name, rm.members[0].side, rm.members[1].side)
		case (len(rm.members) == 2) != (rm.meeting != 0):
			g.t.Fatalf("room %q has %d members and meeting %d", name, len(rm.members), rm.meeting)
		}
		if rm.meeting != 0 {
			meetings++
		}
		if rm.reserved != nil {
			places[rm.reserved.network]++
		}
		for _, m := range rm.members {
			places[m.network]++
			if m.gone || m.room != rm {
				g.t.Fatalf("somebody in room %q is not there", name)
			}
		}
	}
	for _, m := range g.players {
		waiting += m.queued
		g.hear(m)
	}
	if members != h.members || meetings != h.meeting || waiting != h.waiting || waiting > h.limits.Buffers {
		g.t.Fatalf("counted %d members, %d meetings, %d bytes, the hub %d, %d, %d",
			members, meetings, waiting, h.members, h.meeting, h.waiting)
	}
	for p, n := range h.networks.all {
		if n.members != places[n] {
			g.t.Fatalf("network %v has %d members, counted %d", p, n.members, places[n])
		}
		if n.members > h.limits.Members+1 { // one that comes back may have moved
			g.t.Fatalf("network %v has %d members", p, n.members)
		}
	}
}

// hear follows what a member is told: a message belongs to the meeting that it is in.
func (g *game) hear(m *member) {
	for ; g.heard[m] < len(m.queue); g.heard[m]++ {
		e, err := fromServer(m.queue[g.heard[m]])
		if err != nil {
			g.t.Fatal(err)
		}
		switch e.Type {
		case typeMet:
			if g.present[m] != 0 || e.Meeting == 0 {
				g.t.Fatalf("met in %d while in %d", e.Meeting, g.present[m])
			}
			g.present[m] = e.Meeting
		case typeOver:
			if g.present[m] == e.Meeting {
				g.present[m] = 0
			}
		case typeMessage:
			if e.Meeting != g.present[m] || string(e.Data) != fmt.Sprint(e.Meeting) {
				g.t.Fatalf("a message %q of meeting %d arrives in %d", e.Data, e.Meeting, g.present[m])
			}
			if g.said[e.Meeting]++; g.said[e.Meeting] > 2*g.hub.limits.Messages {
				g.t.Fatalf("%d messages in a meeting", g.said[e.Meeting])
			}
		}
	}
}
