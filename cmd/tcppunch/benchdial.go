package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/tcppunch/tcppunch/stunt/stun"
	"github.com/tcppunch/tcppunch/tcppunch"
	"github.com/tcppunch/tcppunch/tcppunch/bench"
	"github.com/tcppunch/tcppunch/tcppunch/pair"
)

// The ways of --via.
const (
	viaTCP = "tcp"
	viaKCP = "kcp"
)

var errNoKCP = errors.New("this version cannot connect by UDP yet")

// dial makes one connection to the other side, whose dial runs at the same time. What
// the two have to tell each other goes through the control connection, which vouches
// for both.
func (m *measuring) dial(ctx context.Context, via string, s *bench.Signals) (*tcppunch.Conn, error) {
	if via == viaKCP {
		return nil, errNoKCP
	}
	cfg := &tcppunch.Config{Side: tcppunch.SideB, Signaler: s, STUN: m.stun, Sockets: m.cmd.Sockets, Trace: verbose(m.out)}
	if s.First() {
		cfg.Side = tcppunch.SideA
	}
	if m.routers != nil {
		cfg.NAT = m.routers.know
	}
	return tcppunch.Dial(ctx, cfg)
}

// kcpCounters tells what a KCP connection has counted.
func kcpCounters(net.Conn) (bench.Counters, bool) { return bench.Counters{}, false }

// side tells the two sides of --peer apart, which run the same command: whose address
// comes first is SideA.
func (m *measuring) side(ctx context.Context) (tcppunch.Side, error) {
	switch m.cmd.Role {
	case "a":
		return tcppunch.SideA, nil
	case "b":
		return tcppunch.SideB, nil
	}
	if m.cmd.Peer == "ask" {
		return 0, usage(errors.New("--peer ask cannot be used with bench yet: give the other side's address"))
	}
	line, err := pair.ParseLine(m.cmd.Peer)
	if err != nil {
		return 0, usage(err)
	}
	peer := line.Addrs[0]
	own, err := m.ownAddr(ctx, peer)
	if err != nil {
		return 0, err
	}
	order := cmp.Or(own.Compare(peer.Addr()), cmp.Compare(m.cmd.Port, peer.Port()))
	if order == 0 {
		return 0, usage(errors.New("the other side's address is this side's own"))
	}
	if order < 0 {
		return tcppunch.SideA, nil
	}
	return tcppunch.SideB, nil
}

// ownAddr is this side's address as the peer has been told it.
func (m *measuring) ownAddr(ctx context.Context, peer netip.AddrPort) (netip.Addr, error) {
	conn, err := net.Dial("udp", peer.String()) // sends nothing
	if err != nil {
		return netip.Addr{}, tcppunch.ErrNoNetwork
	}
	conn.Close()
	own := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	if peer.Addr().IsPrivate() || peer.Addr().IsLoopback() || !own.IsPrivate() {
		return own, nil
	}
	var failed error
	for _, server := range stunServers(m.common.STUN) {
		mapped, err := askOwn(ctx, server)
		if err == nil {
			return mapped, nil
		}
		failed = errors.Join(failed, err)
	}
	return netip.Addr{}, fmt.Errorf("this side's public address is needed and unknown: %w", failed)
}

func askOwn(ctx context.Context, server string) (netip.Addr, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", server)
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	res, err := stun.Query(ctx, conn)
	return res.Mapped.Addr().Unmap(), err
}
