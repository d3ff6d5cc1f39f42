package natcheck

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/tcppunch/tcppunch/stunt/stun"
)

// maxGrowth is by how many bytes an answer over UDP may exceed its request: three addresses in IPv6, which is what
// RFC 5780 demands, and PROBE. With its IP and UDP headers, an answer has at most 2.2 times the size of its request.
const maxGrowth = 3*24 + 8

// A packetSocket is a UDP socket that knows, and sets, which of this machine's addresses a packet came to or comes
// from, where the system can tell.
type packetSocket struct {
	*net.UDPConn
	local netip.AddrPort
	v4    *ipv4.PacketConn // set if it is bound to no address but can tell which one was asked
	v6    *ipv6.PacketConn
}

func newPacketSocket(pc *net.UDPConn) *packetSocket {
	p := &packetSocket{UDPConn: pc, local: unmap(pc.LocalAddr().(*net.UDPAddr).AddrPort())}
	switch {
	case !p.local.Addr().IsUnspecified():
	case p.local.Addr().Is4():
		if v4 := ipv4.NewPacketConn(pc); v4.SetControlMessage(ipv4.FlagDst, true) == nil {
			p.v4 = v4
		}
	default:
		if v6 := ipv6.NewPacketConn(pc); v6.SetControlMessage(ipv6.FlagDst, true) == nil {
			p.v6 = v6
		}
	}
	return p
}

// read returns a packet, where it is from and which local address it was sent to.
func (p *packetSocket) read(b []byte) (n int, from, to netip.AddrPort, err error) {
	var addr net.Addr
	asked := p.local.Addr()
	switch {
	case p.v4 != nil:
		var cm *ipv4.ControlMessage
		if n, cm, addr, err = p.v4.ReadFrom(b); cm != nil {
			asked, _ = netip.AddrFromSlice(cm.Dst)
		}
	case p.v6 != nil:
		var cm *ipv6.ControlMessage
		if n, cm, addr, err = p.v6.ReadFrom(b); cm != nil {
			asked, _ = netip.AddrFromSlice(cm.Dst)
		}
	default:
		n, addr, err = p.ReadFrom(b)
	}
	if err != nil {
		return 0, from, to, err
	}
	if a, ok := addr.(*net.UDPAddr); ok {
		from = unmap(a.AddrPort())
	}
	return n, from, netip.AddrPortFrom(asked.Unmap(), p.local.Port()), nil
}

// write sends a packet from one of this machine's addresses.
func (p *packetSocket) write(b []byte, from netip.Addr, to netip.AddrPort) error {
	var err error
	addr := net.UDPAddrFromAddrPort(to)
	switch {
	case from.IsUnspecified():
		_, err = p.WriteTo(b, addr)
	case p.v4 != nil:
		_, err = p.v4.WriteTo(b, &ipv4.ControlMessage{Src: from.AsSlice()}, addr)
	case p.v6 != nil:
		_, err = p.v6.WriteTo(b, &ipv6.ControlMessage{Src: from.AsSlice()}, addr)
	default:
		_, err = p.WriteTo(b, addr)
	}
	return err
}

// servePackets answers what p receives.
func (s *Server) servePackets(ctx context.Context, p *packetSocket) error {
	defer p.Close()
	stop := context.AfterFunc(ctx, func() { _ = p.Close() })
	defer stop()
	buf := make([]byte, 2048) // longer packets are not STUN
	for {
		n, from, local, err := p.read(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("reading STUN packets: %w", err)
			}
			if !pause(ctx) {
				return nil
			}
			continue
		}
		if !from.IsValid() {
			continue
		}
		if resp, src, to := s.answerPacket(buf[:n], from, local); resp != nil && s.affords(from, local, src, to) {
			if out := s.socketFor(src); out != nil {
				// What cannot be sent is as good as lost: the client will ask again.
				_ = out.write(resp, src.Addr(), to)
			}
		}
	}
}

// affords reports whether the sender of a packet, or who passes himself off as it, may have one more answer.
func (s *Server) affords(from, local, src, to netip.AddrPort) bool {
	now := time.Now()
	if (src != local || to != from) && !s.detours.take(from.Addr(), now) {
		return false
	}
	return s.answers.take(from.Addr(), now)
}

// answerPacket decides what is answered to a packet, from which address and to which port of its sender. It returns
// no answer to what deserves none.
func (s *Server) answerPacket(b []byte, from, local netip.AddrPort) (resp []byte, src, to netip.AddrPort) {
	q, err := stun.ParseRequest(b)
	if err != nil {
		return nil, src, to
	}
	src, to = local, from
	if q.Understood() {
		other := s.otherAddr(local.Addr())
		// Where the system does not tell which address was asked, it chooses what answers are sent from too.
		if q.ChangeIP && (!other.IsValid() || local.Addr().IsUnspecified()) {
			if resp, err = q.RefuseExtended(); err != nil {
				return nil, src, to
			}
			return resp, src, to
		}
		if q.ChangeIP {
			src = netip.AddrPortFrom(other, src.Port())
		}
		if q.ChangePort {
			src = netip.AddrPortFrom(src.Addr(), s.otherPort(src.Port()))
		}
		if q.ResponsePort != 0 {
			to = netip.AddrPortFrom(from.Addr(), q.ResponsePort)
		}
	}
	r := stun.Response{Result: s.describe(from, local)}
	r.Origin = src
	if p, ok := findProbe(q.Extra); ok && p.op == opHello {
		hello := probe{opHello, s.abilities(local) &^ (canDial | canSilence), s.otherPort(local.Port())}
		r.Extra = []stun.Attribute{hello.attribute()}
	}
	if resp, err = q.Respond(r); err != nil || len(resp) > len(b)+maxGrowth {
		return nil, src, to
	}
	return resp, src, to
}

// socketFor returns the socket that can send from a.
func (s *Server) socketFor(a netip.AddrPort) *packetSocket {
	for _, p := range s.packets {
		if p.local == a || p.local.Port() == a.Port() && p.local.Addr().IsUnspecified() && p.local.Addr().Is4() == a.Addr().Is4() {
			return p
		}
	}
	return nil
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// pause waits a moment after a read that failed, as when the system is out of memory. It reports whether ctx lives.
func pause(ctx context.Context) bool {
	t := time.NewTimer(10 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
