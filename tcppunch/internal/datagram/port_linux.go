package datagram

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"unsafe"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

const (
	fewReads    = 4     // datagrams per recvmmsg before a stream is attached
	batchReads  = 32    // datagrams, or joined ones, per recvmmsg after that
	largest     = 65535 // bytes in a joined datagram
	mostCut     = 64    // datagrams that the kernel cuts from one, UDP_MAX_SEGMENTS of older kernels
	roomCut     = 65000 // bytes of them, below the largest UDP payload of either family
	controlRoom = 64    // bytes of ancillary data
)

// batcher is ipv4.PacketConn or ipv6.PacketConn.
type batcher interface {
	ReadBatch(ms []ipv4.Message, flags int) (int, error)
	WriteBatch(ms []ipv4.Message, flags int) (int, error)
}

// port reads and writes with recvmmsg, sendmmsg, UDP GRO and GSO.
type port struct {
	conn  *net.UDPConn
	batch batcher
	reads []ipv4.Message // belong to the reading goroutine
	cuts  atomic.Bool    // the kernel cuts datagrams, as far as is known
}

func newPort(conn *net.UDPConn, v6 bool) *port {
	p := &port{conn: conn}
	p.batch = ipv4.NewPacketConn(conn)
	if v6 {
		p.batch = ipv6.NewPacketConn(conn)
	}
	if raw, err := conn.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			_, err := unix.GetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT)
			p.cuts.Store(err == nil)
			dontFragment(int(fd), v6)
		})
	}
	p.reads = messages(fewReads, plainSize)
	return p
}

// widen makes the buffers fit for a stream, and lets the kernel join datagrams.
// Both happen between two reads: what is joined would not fit into the buffers of
// a read that has begun before.
func (p *port) widen() {
	size := plainSize
	if raw, err := p.conn.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			if unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_GRO, 1) == nil {
				size = largest
			}
		})
	}
	p.reads = messages(batchReads, size)
}

func messages(n, size int) []ipv4.Message {
	ms := make([]ipv4.Message, n)
	for i := range ms {
		ms[i].Buffers = [][]byte{make([]byte, size)}
		ms[i].OOB = make([]byte, controlRoom)
	}
	return ms
}

// dontFragment sets DF and makes path MTUs that the kernel heard of, perhaps
// from a liar, not count.
func dontFragment(fd int, v6 bool) {
	if v6 {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
		return
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
}

func enlarge(conn *net.UDPConn) {
	_ = conn.SetReadBuffer(socketBuffer)
	_ = conn.SetWriteBuffer(socketBuffer)
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { // beyond rmem_max, for root
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer)
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, socketBuffer)
	})
}

// read waits for datagrams and delivers those that are there.
func (p *port) read(deliver func(b []byte, from netip.AddrPort)) error {
	n, err := p.batch.ReadBatch(p.reads, 0)
	if err != nil {
		return err
	}
	for i := range p.reads[:n] {
		m := &p.reads[i]
		addr, ok := m.Addr.(*net.UDPAddr)
		if !ok || m.Flags&unix.MSG_TRUNC != 0 { // too large to be one of ours
			continue
		}
		from := addr.AddrPort()
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		b := m.Buffers[0][:m.N]
		size := joined(m.OOB[:m.NN])
		if size <= 0 {
			size = len(b)
		}
		for len(b) > 0 {
			k := min(size, len(b))
			deliver(b[:k], from)
			b = b[k:]
		}
	}
	return nil
}

// joined returns the size of the datagrams that the kernel joined, or 0.
func joined(oob []byte) int {
	for len(oob) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return 0
		}
		if h.Level == unix.SOL_UDP && h.Type == unix.UDP_GRO && len(data) >= 2 {
			if len(data) >= 4 {
				return int(int32(binary.NativeEndian.Uint32(data)))
			}
			return int(binary.NativeEndian.Uint16(data))
		}
		oob = rest
	}
	return 0
}

// write sends a batch, cut by the kernel where it can.
func (p *port) write(b *Batch, to netip.AddrPort) error {
	var first error
	note := func(err error) {
		if first == nil {
			first = err
		}
	}
	var oob [controlRoom]byte
	for n := 0; n < b.Len(); {
		k := 1
		if p.cuts.Load() {
			k = b.run(n, mostCut, roomCut)
		}
		if k == 1 {
			if !p.cuts.Load() {
				return p.writePlain(b, n, to)
			}
			note(p.send(b.Datagram(n), nil, to))
			n++
			continue
		}
		err := p.send(b.span(n, k), segment(oob[:0], len(b.Datagram(n))), to)
		switch {
		case errors.Is(err, unix.EIO) || errors.Is(err, unix.ENOPROTOOPT):
			p.cuts.Store(false) // the device has no checksum offload: it never will
			continue
		case errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EMSGSIZE):
			for i := range k { // larger than the device's MTU: not all of them, perhaps
				note(p.send(b.Datagram(n+i), nil, to))
			}
		default:
			note(err)
		}
		n += k
	}
	return first
}

// send sends one datagram, twice if an ICMP error about an earlier one was waiting.
func (p *port) send(b, oob []byte, to netip.AddrPort) error {
	_, _, err := p.conn.WriteMsgUDPAddrPort(b, oob, to)
	if transient(err) {
		_, _, err = p.conn.WriteMsgUDPAddrPort(b, oob, to)
	}
	return err
}

// segment makes the control message that says where to cut.
func segment(oob []byte, size int) []byte {
	oob = oob[:unix.CmsgSpace(2)]
	clear(oob)
	h := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
	h.Level, h.Type = unix.SOL_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(oob[unix.CmsgLen(0):], uint16(size))
	return oob
}

// writePlain sends the batch from the nth datagram on with sendmmsg.
func (p *port) writePlain(b *Batch, n int, to netip.AddrPort) error {
	addr := net.UDPAddrFromAddrPort(to)
	ms := make([]ipv4.Message, 0, b.Len()-n)
	for ; n < b.Len(); n++ {
		ms = append(ms, ipv4.Message{Buffers: [][]byte{b.Datagram(n)}, Addr: addr})
	}
	var first error
	for len(ms) > 0 {
		sent, err := p.batch.WriteBatch(ms, 0)
		if err != nil { // it is about the first one; the others have a chance
			if first == nil && !transient(err) {
				first = err
			}
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			sent = 1
		}
		ms = ms[max(sent, 1):]
	}
	return first
}
