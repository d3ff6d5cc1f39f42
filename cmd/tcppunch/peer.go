package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch"
	"github.com/tcppunch/tcppunch/tcppunch/pair"
	"github.com/tcppunch/tcppunch/tcppunch/transfer"
)

// peerFlags are the flags of commands that connect to a peer.
type peerFlags struct {
	Peer string `placeholder:"ADDR" env:"TCPPUNCH_PEER" help:"The other side's address: ip:port, several joined by commas, then perhaps /word-word-word; or 'ask'."`
	Port uint16 `default:"7070" help:"This side's port. The three after it are used too."`
	// A lab's hosts share one clock, which no two machines do.
	ClockOffset time.Duration `hidden:"" env:"TCPPUNCH_CLOCK_OFFSET"`
	Yes         bool          `short:"y" help:"Ask nothing: accept the offer, and trust the network where no words were given."`
}

// maxUnproven bounds the connections with the peer's first address that end after
// it has seen our proof and before it gave its own: each may have tested a guess
// at the words.
const maxUnproven = 16

// checkTime bounds the making of check words, where no person takes part.
const checkTime = 30 * time.Second

// ownWords is how many words an address line carries: 31 bits, for an attacker
// who has a handful of tries.
const ownWords = 3

// A meeting is what is needed to connect to a peer without a server, also more than once.
type meeting struct {
	flags  *peerFlags
	stun   []string // the servers to ask for this side's address, where a person is told it
	via    *viaFlags
	common *cli
	side   tcppunch.Side
	out    *output

	line     pair.Line // the peer's
	ownWords string
	secret   pair.Secret
	asked    *tcppunch.Config // with what was gathered to ask, or nil
	unproven atomic.Int32

	// Of the present connect.
	key   pair.Key // that the peer may have too, or none
	mu    sync.Mutex
	known map[string]bool // by exporter: where the peer has proven to have it; guarded by mu
}

// serverless finds the peer at its address and returns an authenticated connection.
func (f *findFlags) serverless(ctx context.Context, common *cli, via *viaFlags, side tcppunch.Side, out *output) (*tcppunch.Conn, error) {
	m := &meeting{flags: &f.peerFlags, stun: f.stun(common.STUN), via: via, common: common, side: side, out: out}
	if err := m.prepare(ctx); err != nil {
		return nil, err
	}
	conn, _, err := m.connect(ctx, pair.Key{})
	return conn, err
}

// prepare checks the flags and learns the peer's address.
func (m *meeting) prepare(ctx context.Context) error {
	if m.flags.Port == 0 || m.flags.Port > 65535-tcppunch.SparePorts {
		return usage(fmt.Errorf("--port must be 1 to %d", 65535-tcppunch.SparePorts))
	}
	if m.flags.Peer != "ask" {
		if err := m.setPeer(m.flags.Peer); err != nil {
			return usage(err)
		}
		return m.mayTrust()
	}
	if !hasTerminal() {
		return usage(errors.New("--peer ask needs a terminal to ask on"))
	}
	cfg := m.config()
	cfg.STUN = m.stun
	local, err := m.gather(ctx, cfg)
	if err != nil {
		return err
	}
	if err := m.askPeer(ctx, local); err != nil {
		local.Close()
		return err
	}
	cfg.Local, m.asked = local, cfg
	return nil
}

func (m *meeting) config() *tcppunch.Config {
	return &tcppunch.Config{Side: m.side, Port: m.flags.Port, Spare: nextSpare(m.flags.Port, time.Now()), ClockOffset: m.flags.ClockOffset,
		Via: m.via.transport(), HeadStart: m.via.HeadStart}
}

func (m *meeting) gather(ctx context.Context, cfg *tcppunch.Config) (*tcppunch.Local, error) {
	local, err := tcppunch.Gather(ctx, cfg)
	if errors.Is(err, fs.ErrPermission) {
		return nil, &failure{statusFailed, "permission", err, "choose a port above 1023 with --port, and tell the other side"}
	}
	return local, err
}

// connect finds the peer after prepare. If there is a key that the peer may have too,
// known tells whether it has. Somebody else has told the person then what is waited for.
func (m *meeting) connect(ctx context.Context, key pair.Key) (conn *tcppunch.Conn, known bool, err error) {
	m.key, m.known = key, make(map[string]bool)
	cfg := m.asked
	m.asked = nil
	if cfg == nil {
		cfg = m.config()
		if cfg.Local, err = m.gather(ctx, cfg); err != nil {
			return nil, false, err
		}
	}
	cfg.Peer, cfg.Auth, cfg.Trace = m.line.Addrs, m.authenticate, verbose(m.out)
	return m.dial(ctx, cfg)
}

func (m *meeting) setPeer(s string) error {
	line, err := pair.ParseLine(s)
	if err != nil {
		return err
	}
	m.line = line
	m.secret, err = pair.NewSecret(m.ownWords, line.Words)
	return err
}

// mayTrust refuses early what could not be confirmed later.
func (m *meeting) mayTrust() error {
	if !m.secret.Empty() || m.flags.Yes || hasTerminal() {
		return nil
	}
	return errNoTerminal
}

// askPeer shows this side's address line and asks for the other's.
func (m *meeting) askPeer(ctx context.Context, local *tcppunch.Local) error {
	m.ownWords = pair.Words(ownWords)
	public := local.Public()
	if len(public) == 0 {
		public = local.PublicUDP()
	}
	addrs := append([]netip.AddrPort(nil), public...)
	addrs = append(addrs, local.Hosts()...)
	if len(addrs) == 0 {
		return tcppunch.ErrNoNetwork
	}
	if err := local.STUNError(); err != nil {
		m.out.say("Warning: the public address is unknown, so this reaches your own network only (%v).", oneLine(err))
	}
	m.tellAddress(local)
	m.out.say("Your address, for the other side:  %s", pair.Line{Addrs: addrs, Words: m.ownWords})
	t, err := openTerminal()
	if err != nil {
		return err
	}
	defer t.Close()
	for {
		s, err := t.ask(ctx, "The other side's address:          ")
		if err != nil {
			return err
		}
		if err = m.setPeer(s); err == nil {
			return nil
		}
		m.out.say("%v", err)
	}
}

func (m *meeting) tellAddress(local *tcppunch.Local) {
	e := struct {
		TCP   string   `json:"tcp,omitempty"`
		UDP   string   `json:"udp,omitempty"`
		Local []string `json:"local"`
	}{Local: []string{}}
	if public := local.Public(); len(public) > 0 {
		e.TCP = public[0].String()
	}
	if public := local.PublicUDP(); len(public) > 0 {
		e.UDP = public[0].String()
	}
	for _, a := range local.Hosts() {
		e.Local = append(e.Local, a.String())
	}
	m.out.event("address", e)
}

// authenticate runs on every connection, before one is chosen.
func (m *meeting) authenticate(ctx context.Context, conn net.Conn, exporter []byte) error {
	byKey := func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.known[string(exporter)] = true
	}
	err := pair.Auth{Secret: m.secret, Key: m.key, ByKey: byKey}.Run(ctx, conn, begins(conn, m.side), exporter)
	switch {
	case errors.Is(err, pair.ErrWrongWords), errors.Is(err, pair.ErrWordsOnOneSide):
		return fmt.Errorf("%w: %w", tcppunch.ErrRejected, err)
	case pair.Guess(err) && (m.stranger(conn) || m.unproven.Add(1) > maxUnproven):
		return fmt.Errorf("%w: %w", tcppunch.ErrRejected, err)
	}
	return err
}

// begins tells whether this side is the one of the two that says something first.
func begins(conn net.Conn, side tcppunch.Side) bool {
	if c, ok := conn.(*tcppunch.Conn); ok && side == tcppunch.SideEither {
		return c.Controls()
	}
	return side == tcppunch.SideA
}

// stranger tells whether the other end is not at the peer's first address, where
// it may be any host with that private address.
func (m *meeting) stranger(conn net.Conn) bool {
	from, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	return err != nil || from.Addr().Unmap() != m.line.Addrs[0].Addr()
}

// dial waits for the peer and tells what came of it.
func (m *meeting) dial(ctx context.Context, cfg *tcppunch.Config) (_ *tcppunch.Conn, known bool, _ error) {
	if where := joinAddrs(m.line.Addrs); m.key.None() {
		m.out.waiting(where, fmt.Sprintf("Waiting for %s …", where))
	}
	limited, cancel := context.WithTimeout(ctx, m.common.Timeout)
	defer cancel()
	conn, err := tcppunch.Dial(limited, cfg)
	if err != nil {
		if ctx.Err() != nil {
			return nil, false, interrupted(err)
		}
		return nil, false, plainWords(err)
	}
	m.out.connected(conn.Path(), nil)
	exporter, err := conn.Exporter()
	if err != nil {
		conn.Close()
		return nil, false, err
	}
	m.mu.Lock()
	known = m.known[string(exporter)]
	m.mu.Unlock()
	if m.secret.Empty() && !known {
		err := showWords(ctx, conn, begins(conn, m.side), exporter, checkTime, m.out)
		if err == nil {
			err = pair.Confirm(ctx, conn, trustOrAsk(m.flags.Yes, m.out))
		}
		if err != nil {
			conn.Close()
			return nil, false, lost(err)
		}
	}
	return conn, known, nil
}

// plainWords leaves of a failed authentication what a person can use. It does so
// only where that ended the search: not where strangers at other addresses failed.
func plainWords(err error) error {
	if errors.Is(err, tcppunch.ErrNoPath) {
		return err
	}
	for _, plain := range []error{pair.ErrWrongWords, pair.ErrWordsOnOneSide} {
		if errors.Is(err, plain) {
			return plain
		}
	}
	return err
}

// showWords agrees with the other side on three words, in the given time, and shows them, as
// no secret was shared. Go on with pair.Confirm.
func showWords(ctx context.Context, conn *tcppunch.Conn, first bool, exporter []byte, most time.Duration, out *output) error {
	limited, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	words, err := pair.CheckWords(limited, conn, first, exporter)
	if err != nil {
		return err
	}
	out.event("check_words", struct {
		Words string `json:"words"`
	}{words})
	out.say("Check words: %s", words)
	return nil
}

const sameWords = "Does the other screen show the same words?"

// trustOrAsk is what the person at this side says to the check words.
func trustOrAsk(yes bool, out *output) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		if yes {
			out.say("Warning: --yes: the check words were not compared; whoever is on the network between you could be the other side.")
			return true, nil
		}
		t, err := openTerminal()
		if err != nil {
			return false, errNoTerminal
		}
		defer t.Close()
		return t.yes(ctx, sameWords, false)
	}
}

// lost tells a connection that broke while people compared words.
func lost(err error) error {
	var broken net.Error
	switch {
	case errors.Is(err, pair.ErrNotConfirmed): // also where the terminal is what broke
	case errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &broken):
		return transfer.ErrPeerGone
	}
	return err
}

// partTime is how long a side that was interrupted keeps the connection for its last
// word, which may stand behind much that is on its way.
const partTime = 6 * time.Second

// hangUp closes a connection that was used. What is still on its way to a peer who
// has gone silent never gets there, and neither we nor the kernel must wait for it.
// A peer who is to hear why we stop must get there: closing with data that nobody has
// read would take it away from it.
func hangUp(conn *tcppunch.Conn, err error) {
	switch {
	case errors.Is(err, transfer.ErrPeerGone):
		conn.Abort() //nolint:errcheck // over in any case
		return
	case errors.Is(err, context.Canceled):
		raw := conn.NetConn()
		if raw.SetReadDeadline(time.Now().Add(partTime)) == nil {
			io.Copy(io.Discard, raw) //nolint:errcheck // until the peer has heard it, or the time is over
		}
	}
	conn.Close() //nolint:errcheck // over in any case
}

// verbose turns what the engine does into lines for --verbose.
func verbose(out *output) *tcppunch.Trace {
	return &tcppunch.Trace{
		AttemptStart: func(a tcppunch.Attempt) { out.detail("trying: %v", a) },
		AttemptDone: func(a tcppunch.Attempt, err error) {
			if err != nil {
				out.detail("failed: %v: %v", a, err)
				return
			}
			out.detail("connected: %v", a)
		},
		Authenticated: func(a tcppunch.Attempt) { out.detail("authenticated: %v", a) },
		Failed: func(a tcppunch.Attempt, err error) {
			if errors.Is(err, tcppunch.ErrRejected) && a.Kind != tcppunch.KindLAN { // a neighbour may be anybody
				out.say("Warning: whoever answers at %v has other words.", a.Remote)
				return
			}
			out.detail("not the peer: %v: %v", a, err)
		},
	}
}

func joinAddrs(as []netip.AddrPort) string {
	var s []string
	for _, a := range as {
		s = append(s, a.String())
	}
	return strings.Join(s, ", ")
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
