package udppunch

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"syscall"
	"time"

	codec "github.com/pion/stun/v4"

	"github.com/tcppunch/tcppunch/tcppunch/internal/datagram"
)

// ErrInUse says that another program has the local port.
var ErrInUse = syscall.EADDRINUSE

// A Role is how a pair's checks are sent for a while.
type Role struct {
	TTL   int           // of an opener's checks; 0 is the system's own
	First time.Duration // from the first check to the second; each pause is twice the one before
	Until time.Time     // when the next role begins; zero for never
}

// A Schedule tells which role a pair has at a time.
type Schedule func(now time.Time) Role

const (
	// maxPause is the longest time between two checks of a role.
	maxPause = time.Second
	// pursuit is how many checks answer the peer's before the pair's own
	// schedule, if there is one, goes on.
	pursuit = 8
	// quick is the first pause then.
	quick = 40 * time.Millisecond
)

// Hold sends checks to an address until the path is valid or ctx ends. When it
// returns, the first one is out. The tag is told with the path. Without a socket
// of the address's family it does nothing.
func (m *Mesh) Hold(ctx context.Context, port *Port, remote netip.AddrPort, at Schedule, tag any) {
	k := pairKey{port.socket(remote), remote}
	if k.socket == nil {
		return
	}
	p := m.pair(k, tag)
	if p == nil || !m.claim(p) {
		return
	}
	m.mu.Lock()
	p.again = func() { m.Hold(ctx, port, remote, at, tag) }
	m.mu.Unlock()
	role := at(time.Now())
	m.send(k, role.TTL)
	go func() {
		defer m.letGo(p)
		m.hold(ctx, k, p, at, role)
	}()
}

// Probe sends one check to an address, of many of which one may be right.
func (m *Mesh) Probe(port *Port, remote netip.AddrPort, ttl int, tag any) {
	k := pairKey{port.socket(remote), remote}
	if k.socket != nil && m.pair(k, tag) != nil {
		m.send(k, ttl)
	}
}

// pair finds or makes a pair, nil where there are too many.
func (m *Mesh) pair(k pairKey, tag any) *pair {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pairs[k]
	if p == nil {
		if len(m.pairs) >= maxPairs/2 {
			m.sweep()
		}
		if len(m.pairs) >= maxPairs || !m.sockets[k.socket] {
			return nil
		}
		p = newPair(tag)
		m.pairs[k] = p
	}
	if p.tag == nil {
		p.tag = tag
	}
	return p
}

// sweep forgets pairs of which nothing has come in time.
func (m *Mesh) sweep() {
	for k, p := range m.pairs {
		if p.held || p.valid || time.Since(p.born) < answerTime || p.heard && !p.alone {
			continue
		}
		if p.alone {
			m.reflexive--
		}
		delete(m.pairs, k)
	}
}

// claim tells whether a goroutine shall be started that sends this pair's checks.
// It must end with letGo.
func (m *Mesh) claim(p *pair) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p.held || p.valid || m.closed.Err() != nil {
		return false
	}
	p.held = true
	m.wg.Add(1)
	return true
}

// hold goes on where Hold has begun.
func (m *Mesh) hold(ctx context.Context, k pairKey, p *pair, at Schedule, role Role) {
	pause := role.First
	for {
		var turn <-chan time.Time
		if !role.Until.IsZero() {
			turn = time.After(time.Until(role.Until))
		}
		select {
		case <-time.After(pause):
			m.send(k, role.TTL)
			pause = min(2*pause, maxPause)
		case <-turn:
			role = at(time.Now())
			pause = role.First
			m.send(k, role.TTL)
		case <-p.kick:
			if m.chase(ctx, k, p) {
				return
			}
		case <-ctx.Done():
			return
		case <-m.closed.Done():
			return
		}
	}
}

func (m *Mesh) letGo(p *pair) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p.held = false
	m.wg.Done()
}

// chase sends some checks to where the peer's have come from: our NAT is open,
// and so is the peer's. It tells whether the pair needs no more.
func (m *Mesh) chase(ctx context.Context, k pairKey, p *pair) (valid bool) {
	pause := quick
	for range pursuit {
		if m.isValid(p) {
			return true
		}
		m.send(k, 0)
		select {
		case <-time.After(pause):
			pause = min(2*pause, maxPause)
		case <-p.kick:
		case <-ctx.Done():
			return true
		case <-m.closed.Done():
			return true
		}
	}
	return m.isValid(p)
}

func (m *Mesh) isValid(p *pair) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return p.valid
}

// send sends one check.
func (m *Mesh) send(k pairKey, ttl int) { m.sendCheck(k, ttl, false) }

// sendCheck sends one check, perhaps with the word that a stream begins.
func (m *Mesh) sendCheck(k pairKey, ttl int, begin bool) {
	m.mu.Lock()
	if m.cfg == nil || m.closed.Err() != nil {
		m.mu.Unlock()
		return
	}
	p := m.pairs[k]
	if p == nil { // its port was given back
		m.mu.Unlock()
		return
	}
	b, id, err := m.request(p.token, begin)
	if err == nil {
		m.expect(id, k)
	}
	m.mu.Unlock()
	switch {
	case err != nil: // credentials that do not fit a message; Valid has excluded that
	case ttl > 0:
		k.socket.SendTTL(b, k.remote, ttl) //nolint:errcheck // lost, as any datagram may be
	default:
		k.socket.Send(b, k.remote) //nolint:errcheck // lost, as any datagram may be
	}
}

// expect notes a check whose answer may come. Old ones go.
func (m *Mesh) expect(id [12]byte, k pairKey) {
	now := time.Now()
	if len(m.pending) >= maxPending {
		for id, s := range m.pending {
			if now.Sub(s.at) > answerTime {
				delete(m.pending, id)
			}
		}
	}
	if len(m.pending) < maxPending {
		m.pending[id] = sent{key: k, at: now}
	}
}

// request makes a check. With begin it says, as ICE does with USE-CANDIDATE (RFC
// 8445, section 7.2.5.3.4), that a stream begins, and which. Callers hold mu.
func (m *Mesh) request(token uint64, begin bool) ([]byte, [12]byte, error) {
	parts := []codec.Setter{
		codec.BindingRequest, codec.TransactionID, codec.NewUsername(m.cfg.Peer.Ufrag + ":" + m.own.Ufrag),
		codec.RawAttribute{Type: codec.AttrPriority, Value: []byte{0x6e, 0, 1, 0xff}}, // RFC 8445 wants one; nobody reads it
		m.tieBreaker(),
	}
	if begin {
		parts = append(parts, codec.RawAttribute{Type: codec.AttrUseCandidate},
			codec.RawAttribute{Type: attrToken, Value: binary.BigEndian.AppendUint64(nil, token)})
	}
	msg, err := codec.Build(append(parts, codec.NewShortTermIntegrity(m.cfg.Peer.Pwd), codec.Fingerprint)...)
	if err != nil {
		return nil, [12]byte{}, err
	}
	return msg.Raw, msg.TransactionID, nil
}

// tieBreaker carries our number, as ICE's does when both sides take themselves for
// the same (RFC 8445, section 7.3.1.1). Which side has what role is settled elsewhere.
func (m *Mesh) tieBreaker() codec.RawAttribute {
	return codec.RawAttribute{Type: codec.AttrICEControlling, Value: binary.BigEndian.AppendUint64(nil, m.number)}
}

// attrToken carries the random number of a stream, in the range of attributes that
// may be passed over (RFC 8489, section 18.3).
const attrToken codec.AttrType = 0xC0DE

// response answers a check. Our number in it is an addition to the RFC: who asks
// may not hear of it otherwise before the first stream. Callers hold mu.
func (m *Mesh) response(id [12]byte, to netip.AddrPort) ([]byte, error) {
	msg, err := codec.Build(codec.BindingSuccess, codec.NewTransactionIDSetter(id),
		&codec.XORMappedAddress{IP: to.Addr().AsSlice(), Port: int(to.Port())},
		m.tieBreaker(), codec.NewShortTermIntegrity(m.own.Pwd), codec.Fingerprint)
	if err != nil {
		return nil, err
	}
	return msg.Raw, nil
}

var (
	errForeign  = errors.New("not a message of the peer's")
	errNoFamily = errors.New("no socket of this address family")
)

// peerMessage checks a message of the peer's and returns its number. A request
// is authenticated by our password, a response by the peer's. Callers hold mu.
func (m *Mesh) peerMessage(msg *codec.Message) (number uint64, err error) {
	want, pwd := "", m.cfg.Peer.Pwd
	if msg.Type == codec.BindingRequest {
		want, pwd = m.own.Ufrag+":"+m.cfg.Peer.Ufrag, m.own.Pwd
	}
	if want != "" {
		name, err := msg.Get(codec.AttrUsername)
		if err != nil || !bytes.Equal(name, []byte(want)) {
			return 0, errForeign
		}
	}
	v, err := msg.Get(codec.AttrICEControlling)
	if err != nil || len(v) != 8 || binary.BigEndian.Uint64(v) == m.number { // or our own, reflected
		return 0, errForeign
	}
	if err := codec.NewShortTermIntegrity(pwd).Check(msg); err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(v), nil
}

// maxMessage bounds a STUN message that is looked at.
const maxMessage = 1280

// message takes a STUN message that a socket has received.
func (m *Mesh) message(s *datagram.Socket, b []byte, from netip.AddrPort) {
	if len(b) > maxMessage || m.answered(b, from) {
		return
	}
	msg := &codec.Message{Raw: bytes.Clone(b)}
	if msg.Decode() != nil || int(msg.Length)+20 != len(b) {
		return
	}
	switch msg.Type {
	case codec.BindingRequest:
		m.asked(s, msg, from)
	case codec.BindingSuccess:
		m.confirmed(s, msg, from)
	}
}

// asked answers the peer's check, and has ours sent to where it came from.
func (m *Mesh) asked(s *datagram.Socket, msg *codec.Message, from netip.AddrPort) {
	m.mu.Lock()
	if m.cfg == nil || m.closed.Err() != nil || m.cfg.Allowed != nil && !m.cfg.Allowed(from.Addr()) {
		m.mu.Unlock()
		return
	}
	number, err := m.peerMessage(msg)
	if err != nil {
		m.mu.Unlock()
		return
	}
	k := pairKey{s, from}
	p := m.pairs[k]
	if p == nil && m.reflexive >= maxReflexive {
		m.sweep()
	}
	if p == nil && m.reflexive < maxReflexive && m.sockets[s] {
		p = newPair(nil)
		p.alone = true
		m.pairs[k] = p
		m.reflexive++
	}
	if p == nil {
		m.mu.Unlock()
		return
	}
	p.meets(number)
	p.heard = true
	if t, err := msg.Get(attrToken); err == nil && len(t) == 8 && msg.Contains(codec.AttrUseCandidate) {
		p.begun = binary.BigEndian.Uint64(t)
	}
	answer, err := m.response(msg.TransactionID, from)
	m.mu.Unlock()
	if err == nil {
		s.Send(answer, from) //nolint:errcheck // lost, as any datagram may be
	}
	if m.claim(p) {
		go func() {
			defer m.letGo(p)
			m.chase(m.closed, k, p)
		}()
		return
	}
	p.wake()
}

// meets notes the peer's number. With another one it is another run of the peer,
// and what was valid has to be found out again.
func (p *pair) meets(number uint64) {
	if p.peer != number {
		p.peer, p.valid, p.begun = number, false, 0
	}
}

func (p *pair) wake() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// confirmed takes the answer to a check of ours. It must come from where that went
// (RFC 8445, section 7.2.5.2.1).
func (m *Mesh) confirmed(s *datagram.Socket, msg *codec.Message, from netip.AddrPort) {
	m.mu.Lock()
	check, ok := m.pending[msg.TransactionID]
	if !ok || m.cfg == nil || check.key != (pairKey{s, from}) || m.closed.Err() != nil {
		m.mu.Unlock()
		return
	}
	number, err := m.peerMessage(msg)
	p := m.pairs[check.key]
	if err != nil || p == nil {
		m.mu.Unlock()
		return
	}
	delete(m.pending, msg.TransactionID)
	p.meets(number)
	first := !p.valid
	p.valid = true
	path, tell := m.path(check.key, p), m.cfg.Valid
	path.RTT = time.Since(check.at)
	m.mu.Unlock()
	p.wake()
	if first && tell != nil {
		tell(path)
	}
}
