package tcppunch

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/internal/sock"
	"github.com/tcppunch/tcppunch/tcppunch/internal/udppunch"
)

const (
	// handshakeTime bounds TLS and Auth on one connection.
	handshakeTime = 15 * time.Second
	// maxAccepted bounds the accepted connections, and those of neighbours once more.
	maxAccepted = 64
	// maxTrying bounds the connections with one address that are not yet
	// authenticated, together with its failed authentications. Two honest
	// sides have several at once.
	maxTrying = 4
	// maxStrikes is how many failed authentications an address is allowed
	// that is not the peer's first, and maxStrikesAll how many all of them.
	maxStrikes    = 2
	maxStrikesAll = 16
)

// A race is the attempts of one Dial, and the connections that they led to.
type race struct {
	cfg  *Config
	id   *identity
	life context.Context // of the whole Dial; attempts may have less

	// set before any connection is run
	controller bool             // with SideEither, of what was nominated
	preface    [prefaceLen]byte // of SideEither

	links    chan *link    // authenticated connections
	peerSeen chan struct{} // a SYN of the peer's has come
	rejected chan error    // the peer failed Auth
	noTCP    chan struct{} // closed when TCP is known to lead nowhere
	accepted atomic.Int32  // connections that listeners gave us, but for Near's
	udpFirst atomic.Int64  // when a UDP path was valid, in Unix nanoseconds
	nears    nears
	wg       sync.WaitGroup

	mu         sync.Mutex
	pin        fingerprint // set before any connection is run that is not Near's
	known      time.Time   // when the peer's addresses were known; zero until then
	samePublic bool        // both sides have one public address
	finished   bool        // nothing may be started any more
	planned    bool        // in a room: it is known what TCP has to do
	searches   bool        // TCP has to find a port by chance
	udp        datagrams
	log        attemptLog
	dialling   map[Kind]int // attempts in connect
	shaking    map[Kind]int // connections in TLS or Auth
	trying     map[netip.Addr]int
	strikes    map[netip.Addr]int
	strikesAll int
	all        map[*link]bool // authenticated, and not given up
}

func newRace(ctx context.Context, cfg *Config, id *identity) *race {
	return &race{
		life: ctx, cfg: cfg, id: id, controller: controls(cfg.Side),
		links:    make(chan *link),
		peerSeen: make(chan struct{}, 1),
		rejected: make(chan error, 1),
		noTCP:    make(chan struct{}),
		udp:      datagrams{live: map[pathKey]*stream{}, begun: map[udppunch.StreamID]bool{}},
		dialling: map[Kind]int{}, shaking: map[Kind]int{},
		trying: map[netip.Addr]int{}, strikes: map[netip.Addr]int{}, all: map[*link]bool{},
	}
}

// A link is an authenticated connection that may be nominated.
type link struct {
	*tls.Conn
	below    *buffered
	path     Path
	controls bool          // this side is the controller
	ended    chan struct{} // closed when it is of no more use
	once     sync.Once
}

func (l *link) drop() {
	l.once.Do(func() {
		close(l.ended)
		discard(l.below.Conn)
	})
}

// hold keeps a tuple dialled until ctx ends. What it returns is closed when the
// first SYN is out.
func (r *race) hold(ctx context.Context, t tuple, at timetable) (begun <-chan struct{}) {
	h := &holder{tuple: t, race: r, at: at, begun: make(chan struct{})}
	r.wg.Go(func() { h.run(ctx) })
	return h.begun
}

// A door says who may come in at a listener.
type door struct {
	open   func(netip.AddrPort) bool
	kind   func(netip.Addr) Kind
	inside *atomic.Int32 // how many are
}

func anybody(netip.AddrPort) bool { return true }

// admit counts one who comes in, or refuses it.
func (d *door) admit() bool {
	if d.inside.Add(1) > maxAccepted {
		d.inside.Add(-1)
		return false
	}
	return true
}

// listen accepts on a lane until ctx ends.
func (r *race) listen(ctx context.Context, port *sock.Port, lane int, at timetable, d door) {
	for _, ln := range port.Listeners() {
		r.wg.Go(func() {
			defer context.AfterFunc(ctx, func() { ln.Close() })()
			for {
				conn, err := ln.AcceptTCP()
				if errors.Is(err, net.ErrClosed) {
					return
				}
				if err != nil { // out of descriptors, most likely
					if sleep(ctx, 50*time.Millisecond) != nil {
						return
					}
					continue
				}
				from := remoteAddr(conn)
				if !d.open(from) || !d.admit() {
					sock.Discard(conn)
					continue
				}
				now := time.Now()
				role := at(now)
				a := Attempt{
					Network: "tcp", Local: localAddr(conn), Remote: from, Kind: d.kind(from.Addr()), Technique: Accepted,
					Lane: lane, Round: role.round, Start: now, Connected: now,
				}
				r.wg.Go(func() {
					defer d.inside.Add(-1)
					r.run(conn, a, role.began)
				})
			}
		})
	}
}

// try counts a connection that is to be authenticated, or refuses it: each may
// test a guess at what Config.Auth protects.
func (r *race) try(from netip.Addr) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.strikes[from] >= maxStrikes || r.strikes[from]+r.trying[from] >= maxTrying {
		return false
	}
	r.trying[from]++
	return true
}

func (r *race) tried(from netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.trying[from]--; r.trying[from] == 0 {
		delete(r.trying, from)
	}
}

// run authenticates a connection and stays with it until it is of no more use,
// or the race ends.
func (r *race) run(raw net.Conn, a Attempt, began time.Time) {
	ctx := r.life
	pin, auth := r.trust(a)
	guessing := pin.isZero() || auth != nil // else a certificate decides, which nobody guesses
	if guessing && !r.try(a.Remote.Addr()) {
		discard(raw)
		return
	}
	shaking := func(by int) {
		if a.Network == "tcp" { // nobody waits for the other
			r.count(r.shaking, a.Kind, by)
		}
	}
	shaking(1)
	l, err := r.authenticate(raw, a, pin, auth)
	if err != nil && ctx.Err() == nil {
		r.failed(a, err)
	}
	if guessing {
		r.tried(a.Remote.Addr())
	}
	if err != nil {
		shaking(-1)
		closeAfter(raw, err)
		return
	}
	l.path.Punch = time.Since(r.punchedFrom(a, began))
	r.keep(l, true)
	if f := r.cfg.Trace.Authenticated; f != nil {
		f(a)
	}
	select {
	case r.links <- l:
	case <-ctx.Done():
	}
	shaking(-1)
	select {
	case <-l.ended:
		r.keep(l, false)
	case <-ctx.Done():
	}
}

// punchedFrom is when an attempt had what it needed.
func (r *race) punchedFrom(a Attempt, began time.Time) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case a.Kind == KindLAN && a.Technique == Accepted:
		return a.Start
	case a.Kind != KindLAN && (r.cfg.room() || began.Before(r.known)): // the slot may be older than this Dial
		return r.known
	}
	return began
}

// An authenticator is what Config.Auth is.
type authenticator func(ctx context.Context, conn net.Conn, exporter []byte) error

// trust is which certificate a connection must show, and what else decides about it.
func (r *race) trust(a Attempt) (pin fingerprint, auth authenticator) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a.Kind == KindLAN {
		return r.pin, r.cfg.Near.Auth
	}
	return r.pin, r.cfg.Auth
}

// knows notes that the peer's addresses are known.
func (r *race) knows() {
	r.mu.Lock()
	r.known = time.Now()
	r.mu.Unlock()
	if f := r.cfg.Trace.PeerKnown; f != nil {
		f()
	}
}

// oneRouter tells whether both sides are behind one.
func (r *race) oneRouter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.samePublic
}

// keep notes which links finish has to close.
func (r *race) keep(l *link, yes bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if yes {
		r.all[l] = true
	} else {
		delete(r.all, l)
	}
}

// closeAfter closes gracefully after a failed authentication, so that the
// verdict reaches the other side, and with a RST otherwise.
func closeAfter(raw net.Conn, err error) {
	if errors.Is(err, ErrRejected) {
		raw.Close()
		return
	}
	discard(raw)
}

// authenticate runs TLS, with the peer's certificate if that is known, and auth.
func (r *race) authenticate(raw net.Conn, a Attempt, pin fingerprint, auth authenticator) (*link, error) {
	ctx, cancel := context.WithTimeout(r.life, handshakeTime)
	defer cancel()
	conf := r.id.tlsConfig(pin)
	// One round trip: to the server's answer, or from the ClientHello to what
	// answers ours. The kernel's own figure is wrong where SYNs have crossed.
	start := time.Now()
	conf.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		start = time.Now()
		return nil, nil
	}
	controls, err := r.controls(ctx, raw)
	if err != nil {
		return nil, fmt.Errorf("drawing roles with %v: %w", a.Remote, err)
	}
	below := newBuffered(raw)
	conn := tls.Server(below, conf)
	if controls {
		conn = tls.Client(below, conf)
	}
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS with %v: %w", a.Remote, err)
	}
	rtt := time.Since(start)
	if auth != nil {
		state := conn.ConnectionState()
		exporter, err := state.ExportKeyingMaterial(exporterLabel, nil, exporterLen)
		if err != nil {
			return nil, fmt.Errorf("TLS with %v: %w", a.Remote, err)
		}
		stop := context.AfterFunc(ctx, func() { raw.SetDeadline(time.Unix(1, 0)) }) //nolint:errcheck // closed: over anyway
		err = auth(ctx, &Conn{Conn: conn, below: below, controls: controls}, exporter)
		if !stop() && err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("authenticating %v: %w", a.Remote, err)
		}
	}
	return &link{Conn: conn, below: below, controls: controls, ended: make(chan struct{}), path: Path{
		Network: a.Network, Kind: a.Kind, Local: a.Local, Remote: a.Remote, Technique: a.Technique,
		Lane: a.Lane, Round: a.Round, RTT: rtt,
	}}, nil
}

// prefaceLen is the length of what both sides send first, before TLS, where the
// larger one tells who is the controller.
const prefaceLen = 16

// drawPreface draws the preface. Its first half is what tells the two sides of a UDP
// path apart too, so that both ways come to the same.
func (r *race) drawPreface(mesh *udppunch.Mesh) {
	rand.Read(r.preface[:]) //nolint:errcheck // never fails
	if mesh != nil {
		binary.BigEndian.PutUint64(r.preface[:], mesh.Number())
	}
}

// number is the preface's first half.
func (r *race) number() uint64 { return binary.BigEndian.Uint64(r.preface[:]) }

// controls tells whether this side is the controller of a connection.
func (r *race) controls(ctx context.Context, raw net.Conn) (bool, error) {
	if r.cfg.Side != SideEither {
		return r.controller, nil
	}
	stop := context.AfterFunc(ctx, func() { raw.SetDeadline(time.Unix(1, 0)) }) //nolint:errcheck // closed: over anyway
	defer stop()
	if _, err := raw.Write(r.preface[:]); err != nil {
		return false, err
	}
	var theirs [prefaceLen]byte
	if _, err := io.ReadFull(raw, theirs[:]); err != nil {
		return false, err
	}
	if theirs == r.preface {
		return false, errOwnCertificate
	}
	return bytes.Compare(r.preface[:], theirs[:]) > 0, nil
}

// judge notes what a round's plan says of TCP.
func (r *race) judge(p roundPlan, over string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.searches, r.planned = r.searches || p.searches(), true
	select {
	case <-r.noTCP:
	default:
		if over != "" {
			close(r.noTCP)
		}
	}
}

// failed notes a connection that did not authenticate. At the peer's first
// address, or with a pinned certificate, a rejection ends the Dial: it is the
// peer who has another secret. Elsewhere it may be another host that happens to
// have the peer's private address, or any neighbour.
func (r *race) failed(a Attempt, err error) {
	rejected := errors.Is(err, ErrRejected)
	near := a.Kind == KindLAN
	if near && rejected {
		r.nears.reject(a.Remote)
	}
	if near && a.Technique == Accepted {
		r.nears.vain(a.Remote.Addr(), time.Now())
	}
	r.mu.Lock()
	r.log.add(a, err)
	if rejected && !near {
		r.strikes[a.Remote.Addr()]++
		r.strikesAll++
	}
	enough := r.strikesAll >= maxStrikesAll
	r.mu.Unlock()
	if f := r.cfg.Trace.Failed; f != nil {
		f(a, err)
	}
	if rejected && !near && (enough || len(r.cfg.Peer) == 0 || a.Remote.Addr() == r.cfg.Peer[0].Addr()) {
		select {
		case r.rejected <- err:
		default:
		}
	}
}

func (r *race) count(in map[Kind]int, k Kind, by int) {
	r.mu.Lock()
	in[k] += by
	r.mu.Unlock()
}

func (r *race) attemptStarts(a Attempt) {
	r.count(r.dialling, a.Kind, 1)
	if f := r.cfg.Trace.AttemptStart; f != nil {
		f(a)
	}
}

func (r *race) attemptDone(a Attempt, err error) {
	r.count(r.dialling, a.Kind, -1)
	if err != nil {
		logged := err
		if errors.Is(err, errRedial) || isContext(err) {
			logged = errSilent
		}
		r.mu.Lock()
		r.log.add(a, logged)
		r.mu.Unlock()
	}
	if f := r.cfg.Trace.AttemptDone; f != nil {
		f(a, err)
	}
}

// finish waits for every goroutine of the race and closes all connections but
// the winner. The race's context has ended.
func (r *race) finish(winner *link) {
	r.mu.Lock()
	r.finished = true
	r.mu.Unlock()
	r.wg.Wait()
	r.mu.Lock() // the mesh's goroutines may still have something to say
	defer r.mu.Unlock()
	if !r.udp.through {
		for _, a := range r.udp.tried {
			r.log.add(a, errSilent)
		}
	}
	for l := range r.all {
		if l != winner {
			l.drop()
		}
	}
}

func isContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

func localAddr(c net.Conn) netip.AddrPort {
	return unmap(c.LocalAddr().(*net.TCPAddr).AddrPort())
}

func remoteAddr(c net.Conn) netip.AddrPort {
	return unmap(c.RemoteAddr().(*net.TCPAddr).AddrPort())
}
