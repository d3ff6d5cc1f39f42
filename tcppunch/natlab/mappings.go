package natlab

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab/internal/ip"
)

const (
	defaultUDPLifetime = 2 * time.Minute
	defaultTCPLifetime = 124 * time.Minute // RFC 5382 REQ-5
	transitoryLifetime = 4 * time.Minute
	echoLifetime       = time.Minute // RFC 5508 REQ-2

	lowPort  = 1024
	highPort = 65535
)

// mappingKey is what an outbound packet is looked up by. The remote endpoint is as complete as the mapping behavior
// demands.
type mappingKey struct {
	proto  byte
	inside netip.AddrPort
	remote netip.AddrPort
}

// outsideKey is what an inbound packet is looked up by.
type outsideKey struct {
	proto   byte
	outside netip.AddrPort
}

// mapping is one external endpoint that belongs to an inside one, with the sessions that use it.
type mapping struct {
	key      mappingKey
	outside  netip.AddrPort
	sessions map[netip.AddrPort]*session // by remote endpoint
	answers  []netip.AddrPort            // remote endpoints that came first, by which byAnswer has it
}

// session is what goes on between a mapping and one remote endpoint.
type session struct {
	expires         int64
	sentAck, gotAck bool // TCP segments beyond the SYN, by direction
	closing         bool // a FIN or RST was seen
}

// mappings is the table of a NAT, or of an IPv6 firewall, where outside and inside endpoints are the same.
type mappings struct {
	cfg       NAT
	outside   netip.Addr
	rng       *rand.Rand
	last      map[byte]uint16 // last sequential port by protocol
	byInside  map[mappingKey]*mapping
	byOutside map[outsideKey]*mapping
	byAnswer  map[mappingKey]*mapping // with whole remote endpoints: who was let in, and is answered from there
	made      uint64
	sessions  uint64
	peak      int // of len(byInside)
	swept     int64
	nextUser  int64 // when another user takes a port, with ChurnRate
}

func newMappings(cfg NAT, outside netip.Addr, rng *rand.Rand) *mappings {
	t := &mappings{cfg: cfg, outside: outside, rng: rng}
	t.clear()
	return t
}

// clear forgets everything, as after a reboot.
func (t *mappings) clear() {
	t.byInside = make(map[mappingKey]*mapping)
	t.byOutside = make(map[outsideKey]*mapping)
	t.byAnswer = make(map[mappingKey]*mapping)
	t.last = make(map[byte]uint16)
}

// narrow keeps of a remote endpoint what a behavior depends on.
func narrow(b Behavior, remote netip.AddrPort) netip.AddrPort {
	switch b {
	case AddressDependent:
		return netip.AddrPortFrom(remote.Addr(), 0)
	case AddressAndPortDependent:
		return remote
	}
	return netip.AddrPort{}
}

func (t *mappings) keyFor(proto byte, inside, remote netip.AddrPort) mappingKey {
	return mappingKey{proto, inside, narrow(t.cfg.Mapping, remote)}
}

// outbound finds or makes the mapping for a packet from inside to remote. It returns nil when no port is free.
func (t *mappings) outbound(now int64, h *ip.Header) *mapping {
	inside, remote := h.Src, h.Dst
	key := t.keyFor(h.Proto, inside, remote)
	m := t.lookUp(key, remote)
	if m != nil && t.prune(m, now) {
		m = nil
	}
	if m == nil {
		t.sweep(now)
		outside := inside
		if !h.V6 {
			port := t.choosePort(now, h.Proto, inside.Port())
			if port == 0 {
				return nil
			}
			outside = netip.AddrPortFrom(t.outside, port)
		}
		m = &mapping{key: key, outside: outside, sessions: make(map[netip.AddrPort]*session)}
		t.byInside[key], t.byOutside[outsideKey{h.Proto, outside}] = m, m
		t.made++
		t.peak = max(t.peak, len(t.byInside))
	}
	s := m.sessions[remote]
	if s == nil {
		s = new(session)
		m.sessions[remote] = s
		t.sessions++
	}
	if h.Proto == ip.TCP && h.Flags&(ip.SYN|ip.RST) == 0 {
		s.sentAck = true
	}
	t.touch(now, h, s)
	return m
}

// lookUp finds the mapping of what is sent from inside. An answer to what was let in goes by the same mapping, whatever
// would be chosen for a packet that nothing preceded.
func (t *mappings) lookUp(key mappingKey, remote netip.AddrPort) *mapping {
	if m := t.byInside[key]; m != nil {
		return m
	}
	if m := t.byAnswer[mappingKey{key.proto, key.inside, remote}]; m != nil && m.sessions[remote] != nil {
		return m
	}
	return nil
}

// inbound finds the mapping that a packet from outside is for, when the filtering behavior lets it in.
func (t *mappings) inbound(now int64, proto byte, outside, remote netip.AddrPort) *mapping {
	m := t.byOutside[outsideKey{proto, outside}]
	if m == nil || t.prune(m, now) {
		return nil
	}
	switch t.cfg.Filtering {
	case EndpointIndependent:
		return m
	case AddressDependent:
		for peer := range m.sessions {
			if peer.Addr() == remote.Addr() {
				return m
			}
		}
		return nil
	}
	if m.sessions[remote] == nil {
		return nil
	}
	return m
}

// refresh notes an inbound packet of a mapping, and ends the session when that is what a RST does here.
func (t *mappings) refresh(now int64, h *ip.Header, m *mapping) {
	remote := h.Src
	s := m.sessions[remote]
	if h.Proto == ip.TCP && h.Flags&ip.RST != 0 && t.cfg.RSTEndsSession {
		delete(m.sessions, remote)
		t.prune(m, now)
		return
	}
	if s == nil {
		if h.Proto == ip.TCP && h.Flags&ip.RST != 0 {
			return
		}
		s = new(session)
		m.sessions[remote] = s
		t.sessions++
		if t.cfg.Mapping != EndpointIndependent {
			t.byAnswer[mappingKey{m.key.proto, m.key.inside, remote}] = m
			m.answers = append(m.answers, remote)
		}
	}
	if h.Proto == ip.TCP && h.Flags&(ip.SYN|ip.RST) == 0 {
		s.gotAck = true
	}
	t.touch(now, h, s)
}

func (t *mappings) touch(now int64, h *ip.Header, s *session) {
	life := echoLifetime
	switch h.Proto {
	case ip.UDP:
		life = orDefault(t.cfg.UDPLifetime, defaultUDPLifetime)
	case ip.TCP:
		s.closing = s.closing || h.Flags&(ip.FIN|ip.RST) != 0
		life = orDefault(t.cfg.TCPLifetime, defaultTCPLifetime)
		if s.closing || !s.sentAck || !s.gotAck {
			life = min(life, orDefault(t.cfg.TransitoryLifetime, transitoryLifetime))
		}
	}
	s.expires = now + int64(life)
}

func orDefault(d, def time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return def
}

// prune removes dead sessions, and the mapping with the last of them. It reports whether the mapping is gone.
func (t *mappings) prune(m *mapping, now int64) bool {
	for remote, s := range m.sessions {
		if s.expires <= now {
			delete(m.sessions, remote)
		}
	}
	if len(m.sessions) > 0 {
		return false
	}
	delete(t.byInside, m.key)
	delete(t.byOutside, outsideKey{m.key.proto, m.outside})
	for _, remote := range m.answers {
		if key := (mappingKey{m.key.proto, m.key.inside, remote}); t.byAnswer[key] == m {
			delete(t.byAnswer, key)
		}
	}
	return true
}

// sweep prunes everything, once per second at most.
func (t *mappings) sweep(now int64) {
	if now-t.swept >= int64(time.Second) {
		t.pruneAll(now)
	}
}

func (t *mappings) pruneAll(now int64) {
	t.swept = now
	for _, m := range t.byInside {
		t.prune(m, now)
	}
}

func (t *mappings) free(now int64, proto byte, port uint16) bool {
	m := t.byOutside[outsideKey{proto, netip.AddrPortFrom(t.outside, port)}]
	return m == nil || t.prune(m, now)
}

// othersUntil returns how many ports other users have taken since it was last called.
func (t *mappings) othersUntil(now int64) int {
	if t.cfg.ChurnRate <= 0 {
		return 0
	}
	taken := 0
	for t.nextUser <= now {
		if t.nextUser > 0 {
			taken++
		}
		t.nextUser = max(t.nextUser, 1) + int64(t.rng.ExpFloat64()*float64(time.Second)/t.cfg.ChurnRate)
	}
	return taken
}

// choosePort returns a free external port, or 0.
func (t *mappings) choosePort(now int64, proto byte, inside uint16) uint16 {
	const span = highPort - lowPort + 1
	port, step := int(inside), 1
	switch t.cfg.Ports {
	case Sequential:
		step = max(1, t.cfg.Step)
		last := t.last[proto]
		if last == 0 {
			last = uint16(20000 + t.rng.IntN(20000))
		}
		port = int(last) + step
		if t.cfg.Churn > 0 {
			port += step * t.rng.IntN(t.cfg.Churn+1)
		}
		port += step * t.othersUntil(now)
	case Random:
		port = lowPort + t.rng.IntN(span)
	}
	for range span {
		if port > highPort {
			port = lowPort + port%span
		}
		if port > 0 && t.free(now, proto, uint16(port)) {
			t.last[proto] = uint16(port)
			return uint16(port)
		}
		if t.cfg.Ports == Random {
			step = 1
		}
		port += step
	}
	return 0
}
