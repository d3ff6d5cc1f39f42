package main

import (
	"context"
	"net"

	"github.com/tcppunch/tcppunch/tcppunch"
	"github.com/tcppunch/tcppunch/tcppunch/bench"
)

// dial makes one connection to the other side, whose dial runs at the same time. What
// the two have to tell each other goes through the control connection, which vouches
// for both. Where no STUN server was named, the other side tells how it sees this one.
func (m *measuring) dial(ctx context.Context, via tcppunch.Via, s *bench.Signals) (*tcppunch.Conn, error) {
	cfg := &tcppunch.Config{
		Side: tcppunch.SideB, Via: via, Signaler: s, Hosts: m.hosts, STUN: m.stun, Public: s.Seen(), Sockets: m.cmd.Sockets, Congestion: m.cmd.Congestion, Trace: verbose(m.out),
	}
	if s.First() {
		cfg.Side = tcppunch.SideA
	}
	if m.routers != nil {
		cfg.NAT = m.routers.know
	}
	return tcppunch.Dial(ctx, cfg)
}

// kcpCounters tells what a KCP connection has counted.
func kcpCounters(conn net.Conn) (bench.Counters, bool) {
	c, ok := conn.(*tcppunch.Conn)
	if !ok {
		return bench.Counters{}, false
	}
	k, ok := c.KCPInfo()
	return bench.Counters{Retransmits: int64(k.Retransmits), Packets: int64(k.Packets), Congestion: "own"}, ok
}
