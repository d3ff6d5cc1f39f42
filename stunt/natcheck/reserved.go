package natcheck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"github.com/libp2p/go-reuseport"

	"github.com/tcppunch/tcppunch/stunt/natcheck/internal/syn"
	"github.com/tcppunch/tcppunch/stunt/stun"
)

// A reserved port is one that a client asked for, to open its NAT towards it. Only that client's address can make the
// server dial from it.
type reserved struct {
	local  netip.AddrPort
	client netip.Addr
	holder io.Closer // what keeps the port, and decides what a SYN meets there

	mu      sync.Mutex
	visitor netip.AddrPort // the last one of the client's that has asked there; guarded by mu
}

// reserve takes an unused port of local.
func reserve(ctx context.Context, local, client netip.Addr, how byte) (*reserved, error) {
	p := &reserved{local: netip.AddrPortFrom(local, 0), client: client}
	if err := p.become(ctx, how); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *reserved) port() uint16 { return p.local.Port() }

func (p *reserved) close() { _ = p.holder.Close() }

// become changes what a SYN meets at the port. The new socket is there before the old one goes, so that nobody else
// gets the port.
func (p *reserved) become(ctx context.Context, how byte) error {
	var holder io.Closer
	var local netip.AddrPort
	var err error
	switch how {
	case portSTUN:
		holder, local, err = p.listen(ctx, reuseport.Control)
	case portSilent:
		holder, local, err = p.listen(ctx, syn.Silence)
	case portRefuses:
		holder, local, err = syn.Hold(p.local)
	default:
		err = fmt.Errorf("reserving a port: %w", errors.ErrUnsupported)
	}
	if err != nil {
		return err
	}
	if p.holder != nil {
		p.close()
	}
	p.local, p.holder = local, holder
	return nil
}

// listen serves STUN at the port. What nothing reaches serves nobody.
func (p *reserved) listen(ctx context.Context, control func(network, address string, c syscall.RawConn) error) (io.Closer, netip.AddrPort, error) {
	lc := net.ListenConfig{Control: control}
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(ctx, "tcp", p.local.String())
	if err != nil {
		return nil, p.local, fmt.Errorf("reserving a port: %w", err)
	}
	// The port outlives the request; the session closes it.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	v := &visits{cancel: cancel, done: make(chan struct{})}
	server := &stun.Server{MaxConns: maxVisits, NewSession: p.newVisit}
	go func() {
		defer close(v.done)
		_ = server.Serve(ctx, ln) // if it breaks, the client learns nothing there
	}()
	return v, unmap(ln.Addr().(*net.TCPAddr).AddrPort()), nil
}

// maxVisits is how many connections a reserved port takes at one time.
const maxVisits = 4

// visits is a listener at a reserved port.
type visits struct {
	cancel context.CancelFunc
	done   chan struct{}
}

func (v *visits) Close() error {
	v.cancel()
	<-v.done
	return nil
}

// A visit is a connection to a reserved port.
type visit struct {
	port        *reserved
	from, local netip.AddrPort
}

func (p *reserved) newVisit(conn net.Conn) stun.Session {
	v := &visit{port: p}
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		v.from = unmap(a.AddrPort())
	}
	if a, ok := conn.LocalAddr().(*net.TCPAddr); ok {
		v.local = unmap(a.AddrPort())
	}
	return v
}

func (*visit) Close() {}

// errStranger ends the connections of others than the one who reserved the port.
var errStranger = errors.New("the port is reserved for another address")

// Respond answers, and notes who asked: that is who will be dialled.
func (v *visit) Respond(_ context.Context, request []byte) ([]byte, error) {
	if v.from.Addr() != v.port.client {
		return nil, errStranger
	}
	q, err := stun.ParseRequest(request)
	if err != nil {
		return nil, err
	}
	v.port.mu.Lock()
	v.port.visitor = v.from
	v.port.mu.Unlock()
	return q.Respond(stun.Response{Result: stun.Result{Mapped: v.from, Origin: v.local}})
}

// target is who is dialled from the port: the client's last visitor there, or else the client itself.
func (p *reserved) target(client netip.AddrPort) netip.AddrPort {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.visitor.IsValid() {
		return p.visitor
	}
	return client
}
