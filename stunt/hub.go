package stunt

import (
	"context"
	"crypto/subtle"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// A hub is all rooms and who is in them: the rules. What it tells members waits in their queues; it never waits for
// a connection, so that one member cannot hold up another.
type hub struct {
	limits Limits
	met    *metrics
	wg     sync.WaitGroup // of everything that belongs to members

	mu       sync.Mutex
	rooms    map[string]*room
	numbers  numbers
	networks *networks
	members  int
	meetings uint64               // so far: the number of the last one
	meeting  int                  // at present
	waiting  int                  // bytes in all queues
	links    map[*member]struct{} // those whose connection is not closed yet, in a room or not
	stopping bool
	empty    chan struct{} // closed when stopping and nobody is left
}

// A room has one or two members, the first to come in front.
type room struct {
	name    string
	owner   string // the token of who made it
	members []*member
	meeting uint64 // 0 while one is alone
	expiry  *time.Timer
}

func newHub(l Limits) *hub {
	h := &hub{
		limits: l, rooms: make(map[string]*room), networks: newNetworks(l),
		links: make(map[*member]struct{}), empty: make(chan struct{}),
	}
	h.met = newMetrics(h)
	return h
}

// join takes a member in, or refuses. When the side is taken it also returns who has it.
func (h *hub) join(q joinRequest, from netip.Addr) (m, holder *member, err *RefusedError) {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.networks.of(from, now)
	rm := h.rooms[q.Room]
	old := rm.member(q)
	if err := h.admit(n, q, rm, old, now); err != nil {
		h.met.joins.WithLabelValues(err.Code).Inc()
		if err.Code == codeSideTaken {
			holder = rm.members[0]
		}
		return nil, holder, err
	}
	if rm == nil {
		rm = h.open(q)
	}
	m = &member{hub: h, side: q.Side, token: q.Token, network: n, room: rm}
	rm.members = append(rm.members, m)
	n.members++
	h.members++
	h.links[m] = struct{}{}
	h.wg.Add(1) // until it is attached
	if old != nil {
		h.remove(old, &RefusedError{Code: codeReplaced, Message: "you have joined again"})
	}
	h.met.joins.WithLabelValues("ok").Inc()
	if len(rm.members) == 2 {
		h.introduce(rm)
	}
	return m, nil, nil
}

// admit decides who may join. Nothing is said about a room to those who have missed too often.
func (h *hub) admit(n *network, q joinRequest, rm *room, old *member, now time.Time) *RefusedError {
	l := h.limits
	switch {
	case h.stopping:
		return &RefusedError{Code: codeStopping, Message: "the server is stopping"}
	case !n.joins.AllowN(now, 1):
		return &RefusedError{Code: codeTooManyJoins, Retry: retryAfter(n.joins, now),
			Message: fmt.Sprintf("your network has joined more than %d times within a minute", l.Joins)}
	case old != nil:
		return nil
	case n.members >= l.Members:
		return &RefusedError{Code: codeTooManyMembers,
			Message: fmt.Sprintf("your network is in %d rooms already", n.members)}
	case q.Room != "" && n.misses.TokensAt(now) < 1:
		return &RefusedError{Code: codeTooManyMisses, Retry: retryAfter(n.misses, now),
			Message: "your network has asked for too many rooms in which nobody waits for it"}
	}
	refused := h.seat(q, rm)
	if q.Room != "" && (refused != nil || rm == nil) {
		n.misses.AllowN(now, 1)
	}
	return refused
}

// seat decides whether there is a place.
func (h *hub) seat(q joinRequest, rm *room) *RefusedError {
	switch {
	case rm == nil && len(h.rooms) >= h.limits.Rooms:
		return &RefusedError{Code: codeServerFull, Message: "the server has no room left"}
	case rm == nil:
		return nil
	case len(rm.members) == 2:
		return &RefusedError{Code: codeRoomFull, Message: "two are in the room already"}
	case rm.members[0].side == q.Side.other():
		return nil
	case rm.members[0].side == q.Side:
		return &RefusedError{Code: codeSideTaken, Message: fmt.Sprintf("somebody is there as %s already", q.Side)}
	}
	return &RefusedError{Code: codeMismatch,
		Message: fmt.Sprintf("somebody is there as %s, whom %s does not meet", rm.members[0].side, q.Side)}
}

// open makes a room.
func (h *hub) open(q joinRequest) *room {
	name := q.Room
	if name == "" {
		name = h.numbers.pick(func(s string) bool { return h.rooms[s] != nil })
	}
	rm := &room{name: name, owner: q.Token}
	rm.expiry = time.AfterFunc(h.limits.RoomAge, func() { h.expire(rm) })
	h.rooms[name] = rm
	h.numbers.note(name, 1)
	return rm
}

// member finds who comes back.
func (rm *room) member(q joinRequest) *member {
	if rm == nil {
		return nil
	}
	for _, m := range rm.members {
		if m.side == q.Side && subtle.ConstantTimeCompare([]byte(m.token), []byte(q.Token)) == 1 {
			return m
		}
	}
	return nil
}

// first is who made the room, or, without that one, who came first.
func (rm *room) first() *member {
	for _, m := range rm.members {
		if m.token == rm.owner {
			return m
		}
	}
	return rm.members[0]
}

func (rm *room) peer(m *member) *member {
	for _, p := range rm.members {
		if p != m {
			return p
		}
	}
	return nil
}

// introduce begins a meeting.
func (h *hub) introduce(rm *room) {
	h.meetings++
	h.meeting++
	rm.meeting = h.meetings
	first := rm.first()
	for _, m := range rm.members {
		m.sent = 0
	}
	for _, m := range [...]*member{rm.members[0], rm.members[1]} { // telling one may remove it
		h.tell(m, envelope{Type: typeMet, Meeting: h.meetings, First: m == first}.encode())
	}
}

// remove ends a membership; why is told to the member, unless its connection is not to be waited for. The mutex is
// held, and m may be gone already.
func (h *hub) remove(m *member, why *RefusedError) {
	if m.gone {
		return
	}
	m.gone = true
	rm := m.room
	for i, p := range rm.members {
		if p == m {
			rm.members = append(rm.members[:i:i], rm.members[i+1:]...)
			break
		}
	}
	m.network.members--
	h.members--
	m.close(why)
	if rm.meeting != 0 {
		over := envelope{Type: typeOver, Meeting: rm.meeting}.encode()
		rm.meeting = 0
		h.meeting--
		for _, p := range rm.members { // one that comes back has its old self beside it, which is in no meeting
			h.tell(p, over)
		}
	}
	if h.stopping {
		for _, p := range append([]*member(nil), rm.members...) {
			h.remove(p, &RefusedError{Code: codeStopping, Message: "the server is stopping"})
		}
	}
	if len(rm.members) == 0 && h.rooms[rm.name] == rm {
		rm.expiry.Stop()
		delete(h.rooms, rm.name)
		h.numbers.note(rm.name, -1)
	}
	h.checkEmpty()
}

// leave ends the membership of who left, or whose connection broke.
func (h *hub) leave(m *member) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remove(m, nil)
}

// meets reports whether a meeting is the one that the member is in.
func (m *member) meets(meeting uint64) bool {
	return !m.gone && meeting != 0 && m.room.meeting == meeting
}

// forward passes a message on, if the meeting that it is meant for is still on.
func (h *hub) forward(m *member, e envelope) {
	frame := envelope{Type: typeMessage, Meeting: e.Meeting, Data: e.Data}.encode()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !m.meets(e.Meeting) {
		return
	}
	if m.sent++; m.sent > h.limits.Messages {
		h.remove(m, &RefusedError{Code: codeTooManyMessages,
			Message: fmt.Sprintf("more than %d messages in a meeting", h.limits.Messages)})
		return
	}
	h.met.messages.Inc()
	h.met.bytes.Add(float64(len(e.Data)))
	h.tell(m.room.peer(m), frame)
}

// drop ends a meeting for good: of the two, the one that was first stays.
func (h *hub) drop(m *member, meeting uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !m.meets(meeting) {
		return
	}
	out := m.room.peer(m)
	words := "the other side has sent you away"
	if m.room.first() != m {
		out, words = m, "you have ended the meeting, and the room is the other side's"
	}
	h.remove(out, &RefusedError{Code: codeDropped, Message: words})
}

func (h *hub) expire(rm *room) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range append([]*member(nil), rm.members...) {
		h.remove(m, &RefusedError{Code: codeExpired, Message: fmt.Sprintf("a room lasts %v", h.limits.RoomAge)})
	}
}

// stop takes nobody in any more, and sends those away who are alone, now or later.
func (h *hub) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopping = true
	for _, rm := range h.rooms {
		if rm.meeting == 0 {
			for _, m := range append([]*member(nil), rm.members...) {
				h.remove(m, &RefusedError{Code: codeStopping, Message: "the server is stopping"})
			}
		}
	}
	h.checkEmpty()
}

func (h *hub) checkEmpty() {
	if h.stopping && h.members == 0 {
		select {
		case <-h.empty:
		default:
			close(h.empty)
		}
	}
}

// end sends everybody away, and closes within ctx every connection.
func (h *hub) end(ctx context.Context) {
	h.mu.Lock()
	for _, rm := range h.rooms {
		for _, m := range append([]*member(nil), rm.members...) {
			h.remove(m, &RefusedError{Code: codeStopping, Message: "the server is stopping"})
		}
	}
	h.mu.Unlock()
	stop := context.AfterFunc(ctx, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		for m := range h.links {
			m.abort()
		}
	})
	defer stop()
	h.wg.Wait()
}
