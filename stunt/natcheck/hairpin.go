package natcheck

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/tcppunch/tcppunch/stunt/natcheck/internal/syn"
)

const (
	hairpinTime  = 1200 * time.Millisecond // and four round trips: one packet of each kind may be lost
	hairpinLater = 700 * time.Millisecond  // for the second attempt
	hairpinTries = 6                       // dials, where they are refused
	hairpinPause = 30 * time.Millisecond   // between them
	nonceSize    = 16
)

// hairpin finds out whether two ports of ours reach each other by their mapped addresses. That they do not has to be
// seen twice.
func (c *tcpCheck) hairpin(ctx context.Context, server netip.AddrPort) Answer {
	return agree(ctx, Yes, func(ctx context.Context, n int) Answer {
		if !sleep(ctx, time.Duration(n)*hairpinLater) {
			return ""
		}
		return c.tryHairpin(ctx, server)
	})
}

// tryHairpin has two ports of ours dial each other's mapped addresses at the same time, so that whatever the filtering,
// each NAT session has been opened from inside.
func (c *tcpCheck) tryHairpin(parent context.Context, server netip.AddrPort) Answer {
	ctx := parent
	var lanes [2]*lane
	var mapped [2]netip.AddrPort
	certain := true
	for i := range lanes {
		l, err := newLane(ctx, server.Addr())
		if err != nil {
			return ""
		}
		defer l.close()
		k, err := l.ask(ctx, server, probe{op: opHello})
		if err != nil {
			return ""
		}
		defer syn.Discard(k.conn) // it holds the mapping
		if !alike(server.Addr(), k.res.Mapped.Addr()) {
			return ""
		}
		lanes[i], mapped[i] = l, k.res.Mapped
		certain = certain && c.result.serves(l.port, k.res.Mapped)
	}
	ctx, cancel := context.WithTimeout(ctx, hairpinTime+4*min(c.rtt, maxRTT))
	defer cancel()
	nonce := make([]byte, nonceSize)
	_, _ = rand.Read(nonce) // never fails
	met := make(chan struct{}, 1)
	greet := func(conn net.Conn) {
		if greets(ctx, conn, nonce) {
			select {
			case met <- struct{}{}:
			default:
			}
			cancel()
		}
	}
	var wg sync.WaitGroup
	var sent [2]bool
	for i, l := range lanes {
		wg.Go(func() { acceptAll(ctx, l.ln, greet) })
		wg.Go(func() { sent[i] = dialUntil(ctx, l, mapped[1-i], greet) })
	}
	wg.Wait()
	select {
	case <-met:
		return Yes
	default:
	}
	if parent.Err() != nil || !certain || !sent[0] || !sent[1] {
		return ""
	}
	return No
}

// serves reports whether the mapping that a server saw of a local port is the one for other destinations too.
func (t *Transport) serves(local uint16, mapped netip.AddrPort) bool {
	return t.Mapping == EndpointIndependent || local == mapped.Port()
}

// acceptAll hands connections to greet, each in a goroutine of its own, until ctx ends.
func acceptAll(ctx context.Context, ln net.Listener, greet func(net.Conn)) {
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		wg.Go(func() { greet(conn) })
	}
}

// dialUntil dials, again if it is refused, until there is a connection for greet. It reports whether a SYN went out.
func dialUntil(ctx context.Context, l *lane, to netip.AddrPort, greet func(net.Conn)) (sent bool) {
	for range hairpinTries {
		call, err := l.dial(to)
		if err != nil {
			return sent
		}
		sent = true
		conn, err := call.Wait(ctx)
		if err == nil {
			greet(conn)
			return sent
		}
		if !sleep(ctx, hairpinPause) {
			return sent
		}
	}
	return sent
}

// greets exchanges the nonce, which only this process knows, and closes the connection.
func greets(ctx context.Context, conn net.Conn, nonce []byte) bool {
	defer syn.Discard(conn)
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := conn.Write(nonce); err != nil {
		return false
	}
	got := make([]byte, nonceSize)
	if _, err := io.ReadFull(conn, got); err != nil {
		return false
	}
	return bytes.Equal(got, nonce)
}
