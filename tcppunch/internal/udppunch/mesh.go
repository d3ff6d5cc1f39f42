// Package udppunch opens paths for datagrams between two peers, through the NATs
// between them, and asks STUN servers from the sockets that it does so with.
//
//	mesh := udppunch.New()
//	port, err := mesh.Listen(ctx, 0)
//	res, err := port.Query(ctx, server)              // our public address
//	mesh.Start(&udppunch.Config{Peer: credentials, Valid: use})
//	mesh.Hold(ctx, port, remote, schedule, nil)      // checks, until a path is there
//	id := mesh.Choose(path)                          // here a stream begins: Config.Data, on the other side
//
// The checks are ICE's connectivity checks (RFC 8445, section 7): STUN Binding
// requests, authenticated by credentials that the two sides have told each other.
// When they are sent is up to the caller, because that is what decides on
// some NATs. A router that takes a datagram from outside for one to itself gives
// the reply's port away: what its inside host then sends leaves from another one.
// So one side, the opener, sends with a TTL so low that its datagram opens its
// own NAT and never reaches the other one:
//
//	opener              NAT     NAT            connector
//	  |--check, ttl 4---+->x     |                 |
//	  |<----------------+--------+------check------|
//	  |--response-------+--------+---------------->|  valid for the connector
//	  |--check----------+--------+---------------->|
//	  |<----------------+--------+---response------|  valid for the opener
//
// A path is valid when a check of our own was answered: then datagrams arrive in
// both directions. Which of the two sides chooses a path is settled elsewhere. It
// says so in one more check, with USE-CANDIDATE and the number of the stream, so
// that datagrams are taken from nobody who does not know the credentials:
//
//	chooses                                        the other
//	  |--check, USE-CANDIDATE, stream 7 ------------->|
//	  |--datagrams of stream 7 ---------------------->|  Config.Data
package udppunch

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/internal/datagram"
)

const (
	// maxReflexive bounds the peer's addresses that nobody has foreseen.
	maxReflexive = 64
	// maxPairs bounds all pairs of a socket and a remote address.
	maxPairs = 1 << 14
	// maxPending bounds the checks that wait for their answer.
	maxPending = 1 << 14
	// answerTime is how long an answer to a check is waited for.
	answerTime = 5 * time.Second
)

// Credentials authenticate checks (RFC 8445, section 5.3).
type Credentials struct {
	Ufrag string `json:"ufrag"` // the username fragment, 4 to 32 characters
	Pwd   string `json:"pwd"`   // the password, 22 to 64 characters
}

// Valid tells whether they are of the form that they should have.
func (c Credentials) Valid() bool {
	return len(c.Ufrag) >= 4 && len(c.Ufrag) <= 32 && len(c.Pwd) >= 22 && len(c.Pwd) <= 64 &&
		iceChars(c.Ufrag) && iceChars(c.Pwd)
}

func iceChars(s string) bool {
	for _, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '+' || r == '/') {
			return false
		}
	}
	return true
}

func newCredentials() Credentials {
	random := func(n int) string {
		b := make([]byte, n)
		rand.Read(b) //nolint:errcheck // never fails
		return base64.RawStdEncoding.EncodeToString(b)
	}
	return Credentials{Ufrag: random(6), Pwd: random(18)}
}

// Config is what Start needs.
type Config struct {
	// Local replaces the mesh's own credentials, where no others could be told.
	Local Credentials
	// Peer is the other side's.
	Peer Credentials
	// Allowed tells whether the peer may be at an address. Default: anywhere.
	Allowed func(netip.Addr) bool
	// Valid is called once for each path, from the goroutine that reads its
	// socket, and must not block.
	Valid func(Path)
	// Data is called, likewise, for what is not a STUN message and comes from
	// where the peer's checks have come from, unless a stream takes it.
	Data func(p Path, b []byte)
}

// A Path is a socket and a remote address between which checks went.
type Path struct {
	Socket *datagram.Socket
	Remote netip.AddrPort
	RTT    time.Duration // of the check that was answered; 0 for Data
	Tag    any           // what Hold or Probe was given, nil if the peer came first
	Peer   uint64        // the peer's number, see Mesh.Number
	Stream StreamID      // with Data; see Choose
}

// StreamID is what both sides know of a path and nobody who has not seen its
// checks: the same on both, another one for each path, and if either side starts
// again.
type StreamID [sha256.Size]byte

// A Mesh is all sockets of a Dial, and the pairs with the peer's addresses.
type Mesh struct {
	own    Credentials
	number uint64 // tie-breaker: another one in each run

	closed context.Context
	end    context.CancelFunc
	wg     sync.WaitGroup

	mu        sync.Mutex
	cfg       *Config // nil before Start
	sockets   map[*datagram.Socket]bool
	queries   map[[12]byte]*query
	pending   map[[12]byte]sent // checks that wait for their answer
	pairs     map[pairKey]*pair
	reflexive int
}

type pairKey struct {
	socket *datagram.Socket
	remote netip.AddrPort
}

// A pair is a socket and a remote address; its fields are guarded by Mesh.mu.
type pair struct {
	tag   any
	heard bool          // the peer's check has come
	valid bool          // ours was answered
	held  bool          // a goroutine sends checks
	kick  chan struct{} // heard or valid has become true
	born  time.Time
	alone bool   // nobody has foreseen it: the peer came first
	peer  uint64 // the peer's number
	again func() // sends checks anew, as Hold was told
	token uint64 // of the stream that we may begin here
	begun uint64 // of the one that the peer begins
}

// sent is a check on its way.
type sent struct {
	key pairKey
	at  time.Time
}

// New makes a mesh without sockets. Close it.
func New() *Mesh {
	m := &Mesh{
		own: newCredentials(), number: random64(), sockets: map[*datagram.Socket]bool{},
		queries: map[[12]byte]*query{}, pending: map[[12]byte]sent{}, pairs: map[pairKey]*pair{},
	}
	m.closed, m.end = context.WithCancel(context.Background())
	return m
}

// Credentials are what the peer needs to send us checks.
func (m *Mesh) Credentials() Credentials { return m.own }

// Number is drawn by chance for each mesh: the larger of two tells the sides apart.
func (m *Mesh) Number() uint64 { return m.number }

// Start makes the mesh answer the peer's checks. It is called once.
func (m *Mesh) Start(cfg *Config) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if cfg.Local != (Credentials{}) {
		m.own = cfg.Local
	}
	m.cfg = cfg
}

// Close ends all checks and closes all sockets but those that were released.
func (m *Mesh) Close() {
	m.mu.Lock()
	m.end() // from here on nothing is started
	m.mu.Unlock()
	m.wg.Wait()
	m.mu.Lock()
	var open []*datagram.Socket
	for s := range m.sockets {
		open = append(open, s)
	}
	clear(m.sockets)
	m.mu.Unlock()
	for _, s := range open {
		s.Close() //nolint:errcheck // nothing to lose
	}
}

// Release leaves a socket to the caller, who has to close it.
func (m *Mesh) Release(s *datagram.Socket) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.sockets, s)
}

// A Port is one local UDP port, for IPv4 and, where there is one, IPv6.
type Port struct {
	mesh   *Mesh
	num    uint16
	v4, v6 *datagram.Socket
}

// Listen takes a local port; 0 lets the system choose.
func (m *Mesh) Listen(ctx context.Context, num uint16) (*Port, error) {
	p := &Port{mesh: m}
	var err4, err6 error
	if p.v4, err4 = m.listen(ctx, "udp4", num); err4 == nil {
		num = p.v4.Local().Port()
	}
	if p.v6, err6 = m.listen(ctx, "udp6", num); err6 == nil {
		num = p.v6.Local().Port()
	}
	p.num = num
	if err4 != nil && (err6 != nil || errors.Is(err4, ErrInUse)) {
		p.Close()
		return nil, err4
	}
	return p, nil
}

// ListenV4 takes a port that the system chooses, for IPv4 alone.
func (m *Mesh) ListenV4(ctx context.Context) (*Port, error) {
	s, err := m.listen(ctx, "udp4", 0)
	if err != nil {
		return nil, err
	}
	return &Port{mesh: m, num: s.Local().Port(), v4: s}, nil
}

func (m *Mesh) listen(ctx context.Context, network string, num uint16) (*datagram.Socket, error) {
	s, err := datagram.Listen(ctx, network, num, &datagram.Handler{STUN: m.message, Data: m.data})
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sockets[s] = true
	return s, nil
}

// Number is the port's number.
func (p *Port) Number() uint16 { return p.num }

// Close closes the port, unless a path of it is valid: that may be wanted still,
// so it is left to Mesh.Close.
func (p *Port) Close() {
	for _, s := range []*datagram.Socket{p.v4, p.v6} {
		if s != nil && p.mesh.abandon(s) {
			s.Close() //nolint:errcheck // nothing to lose
		}
	}
}

// abandon forgets a socket that has no valid path, if it is still ours.
func (m *Mesh) abandon(s *datagram.Socket) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.sockets[s] {
		return false
	}
	for k, p := range m.pairs {
		if k.socket == s && (p.valid || p.heard) {
			return false
		}
	}
	for k := range m.pairs {
		if k.socket == s {
			delete(m.pairs, k)
		}
	}
	delete(m.sockets, s)
	return true
}

// socket is the one that reaches an address, nil if there is none.
func (p *Port) socket(to netip.AddrPort) *datagram.Socket {
	if to.Addr().Is4() {
		return p.v4
	}
	return p.v6
}

// data takes what is no STUN message and belongs to no stream.
func (m *Mesh) data(s *datagram.Socket, b []byte, from netip.AddrPort) {
	m.mu.Lock()
	p := m.pairs[pairKey{s, from}]
	if m.cfg == nil || m.cfg.Data == nil || p == nil || p.begun == 0 || m.closed.Err() != nil {
		m.mu.Unlock()
		return
	}
	path, take := m.path(pairKey{s, from}, p), m.cfg.Data
	path.Stream = m.stream(p.peer, p.begun)
	m.mu.Unlock()
	take(path, b)
}

func (m *Mesh) path(k pairKey, p *pair) Path {
	return Path{Socket: k.socket, Remote: k.remote, Tag: p.tag, Peer: p.peer}
}

// Choose tells the peer that a stream begins on a path, and returns its ID. The
// datagrams of the stream may follow at once.
func (m *Mesh) Choose(p Path) StreamID {
	k := pairKey{p.Socket, p.Remote}
	m.mu.Lock()
	pair := m.pairs[k]
	if pair == nil || m.cfg == nil {
		m.mu.Unlock()
		return StreamID{}
	}
	pair.token++ // another stream than the last one here
	id := m.stream(p.Peer, pair.token)
	m.mu.Unlock()
	for range 2 { // one may be lost
		m.sendCheck(k, 0, true)
	}
	return id
}

// Forget has a path found valid anew: a stream on it has failed.
func (m *Mesh) Forget(p Path) {
	m.mu.Lock()
	pair := m.pairs[pairKey{p.Socket, p.Remote}]
	if pair == nil {
		m.mu.Unlock()
		return
	}
	pair.valid = false
	again := pair.again
	m.mu.Unlock()
	if again != nil {
		again()
	}
}

// stream mixes what both sides know, that of the larger number first.
func (m *Mesh) stream(peer, token uint64) StreamID {
	x, y, a, b := m.number, peer, m.own.Pwd, m.cfg.Peer.Pwd
	if x < y {
		x, y, a, b = y, x, b, a
	}
	mix := []byte("tcppunch/1 stream")
	for _, n := range []uint64{x, y, token} {
		mix = binary.BigEndian.AppendUint64(mix, n)
	}
	return sha256.Sum256(append(mix, a+" "+b...))
}

func newPair(tag any) *pair {
	return &pair{tag: tag, kick: make(chan struct{}, 1), born: time.Now(), token: random64()}
}

func random64() uint64 {
	var b [8]byte
	rand.Read(b[:]) //nolint:errcheck // never fails
	return binary.BigEndian.Uint64(b[:])
}
