// Package datagram shares one UDP socket between STUN connectivity checks and
// streams.
//
//	h := &datagram.Handler{
//		STUN: func(s *datagram.Socket, msg []byte, from netip.AddrPort) { … },
//		Data: func(s *datagram.Socket, first []byte, from netip.AddrPort) { kcpconn.New(s, from, cfg) },
//	}
//	s, err := datagram.Listen(ctx, "udp4", 7070, h)
//	defer s.Close()
//	err = s.SendTTL(check, peer, 4) // opens our NAT, and dies before the peer's
//
// What arrives goes to whom it belongs, by its first byte and its sender:
//
//	        first two bits 0 (RFC 8489) ──► Handler.STUN
//	recv ──┤             tag known ─────► the Stream with the tag, which may follow its peer to a new address
//	        otherwise ──┤ sender known ──► its Stream
//	                     neither ───────► Handler.Data, which may attach a Stream
//
// On Linux it reads and writes many datagrams with one system call, and lets the
// kernel cut and join them (UDP GSO and GRO) where it can. The large buffers for
// this come with the first Attach: punching by chance opens thousands of sockets,
// of which one gets a stream.
package datagram

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// socketBuffer is what is asked of the kernel in each direction: 60 ms at 500 Mbit/s.
const socketBuffer = 4 << 20

// plainSize is more than a datagram has that the kernel did not join.
const plainSize = 2048

// A Handler is told what arrives. The socket's reading goroutine calls its
// functions one at a time; they must not block, nor close the socket, and the
// bytes are reused after they return. Functions may be nil.
type Handler struct {
	// STUN gets every datagram whose first two bits are 0, whoever sent it.
	STUN func(s *Socket, msg []byte, from netip.AddrPort)
	// Data gets any other datagram that belongs to no stream. When it attaches a
	// stream for the address, the stream gets this datagram too.
	Data func(s *Socket, first []byte, from netip.AddrPort)
}

// A Stream takes the datagrams of one peer. The socket's reading goroutine calls
// its methods one at a time; they must not block.
type Stream interface {
	// Input takes a datagram that has one of the stream's tags, or came from its
	// address. The bytes stay valid until Flush returns.
	Input(b []byte, from netip.AddrPort)
	// Flush is called after Input when nothing more is waiting in the socket's
	// batch: the time to answer.
	Flush()
	// Gone says that the socket is closed.
	Gone()
}

// A Socket is one UDP port of one family. Its methods may be called from
// several goroutines.
type Socket struct {
	conn  *net.UDPConn
	v6    bool
	h     Handler
	port  *port
	used  atomic.Bool // a stream has been attached
	ended chan struct{}

	ttl sync.RWMutex // held for writing while the socket has a TTL of its own for one datagram

	mu     sync.Mutex
	byAddr map[netip.AddrPort]Stream
	byTag  map[uint32]Stream
	closed bool
}

// Listen binds a UDP port of one family, "udp4" or "udp6"; port 0 means any. An
// error that wraps syscall.EADDRINUSE says that another program has the port.
func Listen(ctx context.Context, network string, number uint16, h *Handler) (*Socket, error) {
	if network != "udp4" && network != "udp6" {
		return nil, fmt.Errorf("listening: %w", net.UnknownNetworkError(network))
	}
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(ctx, network, ":"+strconv.Itoa(int(number)))
	if err != nil {
		return nil, fmt.Errorf("listening on %s port %d: %w", network, number, inUse(err))
	}
	s := &Socket{
		conn: pc.(*net.UDPConn), v6: network == "udp6", ended: make(chan struct{}),
		byAddr: map[netip.AddrPort]Stream{}, byTag: map[uint32]Stream{},
	}
	if h != nil {
		s.h = *h
	}
	s.port = newPort(s.conn, s.v6)
	go s.read()
	return s, nil
}

// Local returns the unspecified address and the port.
func (s *Socket) Local() netip.AddrPort {
	a := s.conn.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// Send sends one datagram. An error is about this datagram; the socket lives on
// unless the error is net.ErrClosed.
func (s *Socket) Send(b []byte, to netip.AddrPort) error {
	s.ttl.RLock()
	defer s.ttl.RUnlock()
	_, err := s.conn.WriteToUDPAddrPort(b, to)
	if transient(err) { // an ICMP error about an earlier datagram was waiting
		_, err = s.conn.WriteToUDPAddrPort(b, to)
	}
	if err != nil {
		return fmt.Errorf("sending to %v: %w", to, err)
	}
	return nil
}

// SendBatch sends every datagram of a batch, with as few system calls as the
// system allows. It goes on after an error, and returns the first one.
func (s *Socket) SendBatch(b *Batch, to netip.AddrPort) error {
	s.ttl.RLock()
	defer s.ttl.RUnlock()
	if err := s.port.write(b, to); err != nil {
		return fmt.Errorf("sending to %v: %w", to, err)
	}
	return nil
}

// SendTTL sends one datagram that dies after ttl routers.
func (s *Socket) SendTTL(b []byte, to netip.AddrPort, ttl int) error {
	s.ttl.Lock() // the option is the socket's: nothing else may leave meanwhile
	defer s.ttl.Unlock()
	before, err := s.hops()
	if err != nil || before <= 0 {
		before = 64
	}
	if err := s.setHops(ttl); err != nil {
		return fmt.Errorf("sending to %v with TTL %d: %w", to, ttl, err)
	}
	_, err = s.conn.WriteToUDPAddrPort(b, to)
	if transient(err) {
		_, err = s.conn.WriteToUDPAddrPort(b, to)
	}
	if err := s.setHops(before); err != nil {
		return fmt.Errorf("restoring the TTL: %w", err)
	}
	if err != nil {
		return fmt.Errorf("sending to %v with TTL %d: %w", to, ttl, err)
	}
	return nil
}

func (s *Socket) hops() (int, error) {
	if s.v6 {
		return ipv6.NewPacketConn(s.conn).HopLimit()
	}
	return ipv4.NewPacketConn(s.conn).TTL()
}

func (s *Socket) setHops(n int) error {
	if s.v6 {
		return ipv6.NewPacketConn(s.conn).SetHopLimit(n)
	}
	return ipv4.NewPacketConn(s.conn).SetTTL(n)
}

// Attach gives the stream all datagrams that begin with one of its tags,
// little-endian, or, if it has none, those from remote with a tag that is nobody's:
// what comes from there for another stream than one that is known goes to
// Handler.Data. A stream that had the address loses it.
func (s *Socket) Attach(st Stream, remote netip.AddrPort, tags ...uint32) {
	if s.used.CompareAndSwap(false, true) {
		enlarge(s.conn) // the kernel's buffers; ours are the reading goroutine's to change
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(tags) == 0 {
		s.byAddr[remote] = st
	}
	for _, t := range tags {
		s.byTag[t] = st
	}
}

// Move gives the stream the address to instead of from, but takes neither from
// another stream.
func (s *Socket) Move(st Stream, from, to netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byAddr[from] != st {
		return // it goes by its tags
	}
	delete(s.byAddr, from)
	if s.byAddr[to] == nil {
		s.byAddr[to] = st
	}
}

// Detach takes everything from the stream that is still its own.
func (s *Socket) Detach(st Stream, remote netip.AddrPort, tags ...uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byAddr[remote] == st {
		delete(s.byAddr, remote)
	}
	for _, t := range tags {
		if s.byTag[t] == st {
			delete(s.byTag, t)
		}
	}
}

// Close closes the socket and waits for the reading goroutine to end. Streams
// are told. A second Close returns net.ErrClosed.
func (s *Socket) Close() error {
	err := s.conn.Close()
	<-s.ended
	if err != nil {
		return fmt.Errorf("closing the socket: %w", err)
	}
	return nil
}

// read is the reading goroutine.
func (s *Socket) read() {
	defer close(s.ended)
	defer s.end()
	pause := time.Duration(0)
	d := delivery{s: s}
	wide := false
	for {
		if !wide && s.used.Load() {
			s.port.widen()
			wide = true
		}
		err := s.port.read(d.deliver)
		d.flush()
		switch {
		case err == nil || transient(err):
			pause = 0
		case errors.Is(err, net.ErrClosed):
			return
		default: // never end for an error, but do not spin either
			pause = min(max(2*pause, time.Millisecond), 100*time.Millisecond)
			<-time.After(pause)
		}
	}
}

// end tells the streams.
func (s *Socket) end() {
	s.mu.Lock()
	s.closed = true
	told := make(map[Stream]bool)
	for _, st := range s.byAddr {
		told[st] = true
	}
	for _, st := range s.byTag {
		told[st] = true
	}
	s.mu.Unlock()
	for st := range told {
		st.Gone()
	}
}

// delivery hands out one batch of datagrams.
type delivery struct {
	s     *Socket
	dirty []Stream // had an Input since their last Flush
}

func (d *delivery) deliver(b []byte, from netip.AddrPort) {
	if len(b) == 0 {
		return
	}
	s := d.s
	if b[0]>>6 == 0 {
		if s.h.STUN != nil {
			s.h.STUN(s, b, from)
		}
		return
	}
	st := s.stream(b, from)
	if st == nil && s.h.Data != nil {
		s.h.Data(s, b, from)
		st = s.stream(b, from)
	}
	if st == nil {
		return
	}
	st.Input(b, from)
	for _, other := range d.dirty {
		if other == st {
			return
		}
	}
	d.dirty = append(d.dirty, st)
}

func (d *delivery) flush() {
	for i, st := range d.dirty {
		st.Flush()
		d.dirty[i] = nil
	}
	d.dirty = d.dirty[:0]
}

// stream finds the stream by the tag, which tells even streams between the same two
// addresses apart, else by the address.
func (s *Socket) stream(b []byte, from netip.AddrPort) Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(b) >= 4 {
		if st := s.byTag[binary.LittleEndian.Uint32(b)]; st != nil {
			return st
		}
	}
	return s.byAddr[from]
}
