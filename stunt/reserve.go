package stunt

import (
	"crypto/subtle"
	"net/netip"
	"time"
)

const (
	// reserveTime is how long the place of who made a room, and whose connection broke, is kept for it. It may take half
	// a minute until that one notices, and then come the pauses between its attempts.
	reserveTime = 2 * time.Minute
	// settleTime is how long after its start a server expects members that it cannot know.
	settleTime = 5 * time.Minute
)

// A reservation is the place of a room's owner that has vanished without leaving. It counts as a member of its network.
type reservation struct {
	side    Side
	network *network
	expiry  *time.Timer
}

// reserve keeps the place of a member that is being removed. The mutex is held.
func (h *hub) reserve(m *member) {
	rm := m.room
	r := &reservation{side: m.side, network: m.network}
	r.network.add(1)
	r.expiry = time.AfterFunc(reserveTime, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if rm.reserved == r {
			h.release(rm)
			h.discard(rm)
		}
	})
	rm.reserved = r
}

// release ends a reservation, if there is one.
func (h *hub) release(rm *room) {
	if r := rm.reserved; r != nil {
		r.expiry.Stop()
		r.network.add(-1)
		rm.reserved = nil
	}
}

// returns reports whether this is the owner that is expected back. A program that was killed and started again has
// another token, but mostly the same network. A benchmark's other side may have that too.
func (rm *room) returns(q joinRequest, n *network) bool {
	if rm == nil || rm.reserved == nil || rm.reserved.side != q.Side {
		return false
	}
	return subtle.ConstantTimeCompare([]byte(rm.owner), []byte(q.Token)) == 1 ||
		rm.reserved.network == n && q.Side != SideBench
}

// claim decides whose the room is when somebody comes who says that it made the room. That is believed of the first who
// says so, unless the server itself knows better: whoever merely came before, after a restart, does not become the owner.
func (rm *room) claim(m *member, q joinRequest) {
	m.claims = q.Made && !rm.sure
	if m.claims && !rm.claimed {
		rm.owner, rm.claimed = m.token, true
	}
}

// contested reports whether both say that they made the room. One is lying, and nobody knows who: so either may send the
// other away, and none for good, since clients that have made a room rejoin.
func (rm *room) contested() bool {
	return len(rm.members) == 2 && rm.members[0].claims && rm.members[1].claims
}

const (
	// visitTime is how long a network is kept out of a room, and after which its visits are forgotten.
	visitTime = 10 * time.Minute
	// Being sent away five times is too much, as often as somebody may guess a code until it is spent, and so is going by
	// oneself, or losing the connection, 25 times.
	maxVisits   = 25
	droppedCost = 5
	maxVisitors = 64 // networks that a room remembers
)

// visits are how often those of a network have met a room's owner and gone again: one who guesses, or occupies the room.
// An IPv6 network is a /48 here.
type visits map[netip.Prefix]visit

type visit struct {
	cost int
	last time.Time
}

// note counts one, and keeps the map small.
func (vs *visits) note(n *network, cost int, now time.Time) {
	if *vs == nil {
		*vs = make(visits)
	}
	p := n.widest().prefix
	v, known := (*vs)[p]
	if !known && len(*vs) >= maxVisitors {
		oldest := p
		for q, w := range *vs {
			if oldest == p || w.last.Before((*vs)[oldest].last) {
				oldest = q
			}
		}
		delete(*vs, oldest)
	}
	if now.Sub(v.last) >= visitTime {
		v.cost = 0
	}
	(*vs)[p] = visit{v.cost + cost, now}
}

// wait is how long a network is kept out.
func (vs visits) wait(n *network, now time.Time) time.Duration {
	if v := vs[n.widest().prefix]; v.cost >= maxVisits {
		return max(0, v.last.Add(visitTime).Sub(now))
	}
	return 0
}
