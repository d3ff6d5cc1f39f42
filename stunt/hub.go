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
	limits  Limits
	met     *metrics
	started time.Time
	wg      sync.WaitGroup // of everything that belongs to members

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

// A room has one or two members, the first to come in front, or none while its owner is expected back.
type room struct {
	name     string
	owner    string // the token of who made it; "" when that is not known
	sure     bool   // the server knows that: it has seen the room being made
	claimed  bool   // the owner is who said first that it made the room
	reserved *reservation
	visits   visits
	members  []*member
	meeting  uint64 // 0 while one is alone
	expiry   *time.Timer
}

func newHub(l Limits) *hub {
	h := &hub{
		limits: l, started: time.Now(), rooms: make(map[string]*room), networks: newNetworks(l),
		links: make(map[*member]struct{}), empty: make(chan struct{}),
	}
	h.met = newMetrics(h)
	return h
}

// join takes a member in, or refuses. When somebody has its place it also returns who.
func (h *hub) join(q joinRequest, from netip.Addr) (m, holder *member, err *RefusedError) {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.networks.of(from, now)
	rm := h.rooms[q.Room]
	old := rm.member(q)
	back := old == nil && rm.returns(q, n)
	if err := h.admit(n, q, rm, old != nil || back, now); err != nil {
		h.met.joins.WithLabelValues(err.Code).Inc()
		if err.Code == codeSideTaken || err.Code == codeRoomFull {
			holder = rm.at(q.Side)
		}
		return nil, holder, err
	}
	m = &member{hub: h, side: q.Side, token: q.Token, network: n, rejoined: q.Rejoin}
	switch {
	case rm == nil:
		rm = h.open(q, now)
		m.made = rm.owner == q.Token
	case back:
		h.release(rm)
		rm.owner = q.Token
	}
	m.room = rm
	rm.claim(m, q)
	rm.members = append(rm.members, m)
	n.add(1)
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

// admit decides who may join. Who comes back to its own place is counted as a join only.
func (h *hub) admit(n *network, q joinRequest, rm *room, back bool, now time.Time) *RefusedError {
	l := h.limits
	switch {
	case h.stopping:
		return &RefusedError{Code: codeStopping, Message: "the server is stopping"}
	case !n.has(joins, now):
		return &RefusedError{Code: codeTooManyJoins, Retry: n.retryAfter(joins, now),
			Message: fmt.Sprintf("your network has joined more than %d times within a minute", l.Joins)}
	}
	n.take(joins, now)
	switch {
	case back:
		return nil
	case n.crowded(l):
		return &RefusedError{Code: codeTooManyMembers, Message: "your network is in too many rooms already"}
	}
	refused := h.seat(n, q, rm, now)
	meets := refused == nil && rm != nil && len(rm.members) > 0
	if q.Room == "" || h.guess(n, q, meets, now) {
		return refused
	}
	return &RefusedError{Code: codeTooManyMisses, Retry: n.retryAfter(misses, now),
		Message: "your network has asked for too many rooms in which nobody waits for it"}
}

// guess counts a join that names a room in which nobody waits for it, and reports whether anything may be said about the
// room: not to those who have missed too often. One who would meet somebody there is let in for longer, so that a network
// of many is not locked out by a few.
func (h *hub) guess(n *network, q joinRequest, meets bool, now time.Time) bool {
	k := misses
	if q.Rejoin && now.Sub(h.started) < settleTime {
		k = returns
	}
	over := !n.has(k, now)
	if meets {
		return !over || n.has(far, now)
	}
	n.take(k, now)
	if k == misses {
		n.take(far, now)
	}
	return !over
}

// seat decides whether there is a place.
func (h *hub) seat(n *network, q joinRequest, rm *room, now time.Time) *RefusedError {
	if rm == nil {
		if len(h.rooms) >= h.limits.Rooms {
			return &RefusedError{Code: codeServerFull, Message: "the server has no room left"}
		}
		return nil
	}
	if wait := rm.visits.wait(n, now); wait > 0 {
		return &RefusedError{Code: codeTooManyVisits, Retry: wait,
			Message: "your network has been in this room too often"}
	}
	sides := rm.sides()
	if len(rm.members) == 2 || len(sides) == 2 && q.Side == SideBench {
		return &RefusedError{Code: codeRoomFull, Message: "two are in the room already"}
	}
	for _, s := range sides {
		switch {
		case q.Side == s && s.other() != s:
			return &RefusedError{Code: codeSideTaken, Message: fmt.Sprintf("somebody is there as %s already", q.Side)}
		case q.Side != s && q.Side != s.other():
			return &RefusedError{Code: codeMismatch,
				Message: fmt.Sprintf("somebody is there as %s, whom %s does not meet", s, q.Side)}
		}
	}
	return nil
}

// sides are those of who is there, and of who is expected back.
func (rm *room) sides() []Side {
	var all []Side
	for _, m := range rm.members {
		all = append(all, m.side)
	}
	if rm.reserved != nil {
		all = append(all, rm.reserved.side)
	}
	return all
}

// at returns who has a side, or nil.
func (rm *room) at(s Side) *member {
	for _, m := range rm.members {
		if m.side == s {
			return m
		}
	}
	return nil
}

// open makes a room. Who rejoins one that is not there has made it only if it says so.
func (h *hub) open(q joinRequest, now time.Time) *room {
	rm := &room{name: q.Room}
	if q.Room == "" {
		rm.name = h.numbers.pick(func(s string) bool { return h.rooms[s] != nil })
	}
	if !q.Rejoin || q.Made {
		rm.owner = q.Token
	}
	rm.sure = q.Room == "" || !q.Rejoin && now.Sub(h.started) >= settleTime
	name := rm.name
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
	first, both := rm.first(), rm.contested() && rm.members[0].side != SideBench
	for _, m := range rm.members {
		m.sent = 0
	}
	for _, m := range [...]*member{rm.members[0], rm.members[1]} { // telling one may remove it
		h.tell(m, envelope{Type: typeMet, Meeting: h.meetings, First: m == first || both}.encode())
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
	lost := why == nil && !m.left
	if rm.meeting != 0 && (why == nil || why.Code == codeDropped) && !rm.contested() && rm.first() != m {
		cost := 1
		if why != nil {
			cost = droppedCost
		}
		rm.visits.note(m.network, cost, time.Now())
	}
	for i, p := range rm.members {
		if p == m {
			rm.members = append(rm.members[:i:i], rm.members[i+1:]...)
			break
		}
	}
	m.network.add(-1)
	h.members--
	if lost && m.token == rm.owner && rm.reserved == nil && !h.stopping {
		h.reserve(m)
	}
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
	h.discard(rm)
	h.checkEmpty()
}

// discard ends a room in which nobody is, and to which nobody is expected back.
func (h *hub) discard(rm *room) {
	if len(rm.members) == 0 && rm.reserved == nil && h.rooms[rm.name] == rm {
		rm.expiry.Stop()
		delete(h.rooms, rm.name)
		h.numbers.note(rm.name, -1)
	}
}

// leave ends the membership of who left.
func (h *hub) leave(m *member) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m.left = true
	h.remove(m, nil)
}

// lose ends the membership of who does not answer.
func (h *hub) lose(m *member) {
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
	h.mu.Lock()
	meets := m.meets(e.Meeting)
	h.mu.Unlock()
	if !meets {
		return
	}
	frame := envelope{Type: typeMessage, Meeting: e.Meeting, Data: e.Data}.encode() // which others need not wait for
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

// drop ends a meeting for good: of the two, the one that was first stays, and if both say that they made the room, who
// asks. Where a stranger has to be sent away, its network has missed.
func (h *hub) drop(m *member, meeting uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !m.meets(meeting) {
		return
	}
	out := m.room.peer(m)
	words := "the other side has sent you away"
	switch {
	case m.room.contested():
	case m.room.first() != m:
		out, words = m, "you have ended the meeting, and the room is the other side's"
	default:
		now := time.Now()
		out.network.take(misses, now)
		out.network.take(far, now)
	}
	h.remove(out, &RefusedError{Code: codeDropped, Message: words})
}

func (h *hub) expire(rm *room) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.release(rm)
	for _, m := range append([]*member(nil), rm.members...) {
		h.remove(m, &RefusedError{Code: codeExpired, Message: fmt.Sprintf("a room lasts %v", h.limits.RoomAge)})
	}
	h.discard(rm)
}

// stop takes nobody in any more, and sends those away who are alone, now or later.
func (h *hub) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopping = true
	for _, rm := range h.rooms {
		h.release(rm)
		h.discard(rm)
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
