package kcpconn

import (
	"crypto/subtle"
	"encoding/binary"

	"github.com/zeebo/blake3"
)

// version is of everything on the wire; peers of two versions do not understand each other.
const version = 1

// A KCP segment's header, little-endian.
const (
	headerSize = 24

	cmdPush = 81
	cmdAck  = 82
	cmdAsk  = 83 // for the window
	cmdTell = 84 // the window
)

// header is what there is to know about a KCP segment.
type header struct {
	cmd, frg byte
	wnd      uint16
	ts       uint32
	sn, una  uint32
	data     int
}

func (h *header) put(b []byte, conv uint32) {
	binary.LittleEndian.PutUint32(b, conv)
	b[4], b[5] = h.cmd, h.frg
	binary.LittleEndian.PutUint16(b[6:], h.wnd)
	binary.LittleEndian.PutUint32(b[8:], h.ts)
	binary.LittleEndian.PutUint32(b[12:], h.sn)
	binary.LittleEndian.PutUint32(b[16:], h.una)
	binary.LittleEndian.PutUint32(b[20:], uint32(h.data))
}

// parseSegment reads the segment that b begins with, and returns its size.
func parseSegment(b []byte, conv uint32) (h header, size int, ok bool) {
	if len(b) < headerSize || binary.LittleEndian.Uint32(b) != conv {
		return h, 0, false
	}
	n := binary.LittleEndian.Uint32(b[20:])
	if n > uint32(len(b)-headerSize) {
		return h, 0, false
	}
	h = header{
		cmd: b[4], frg: b[5],
		wnd: binary.LittleEndian.Uint16(b[6:]), ts: binary.LittleEndian.Uint32(b[8:]),
		sn: binary.LittleEndian.Uint32(b[12:]), una: binary.LittleEndian.Uint32(b[16:]),
		data: int(n),
	}
	switch h.cmd {
	case cmdPush:
		ok = h.frg == 0 && h.data > 0 && h.data <= maxMTU-headerSize
	case cmdAck, cmdAsk, cmdTell:
		ok = h.data == 0
	}
	return h, headerSize + h.data, ok
}

// before says whether sequence number a comes before b.
func before(a, b uint32) bool { return int32(a-b) < 0 }

// The last byte of a segment's data.
const (
	moreFollows = version << 4
	endOfStream = version<<4 | 1
)

// kind is the kind of a control datagram.
type kind byte

const (
	ping      kind = iota // body: the sender's clock, 8 bytes
	pong                  // body: that of the ping
	probe                 // body: zeros up to the size that is probed
	arrived               // body: the size of the probe, 2 bytes
	challenge             // body: a random number, 8 bytes, to an address that is new
	response              // body: that of the challenge
	reset                 // no body: the stream is over, nothing more will be delivered
	closed                // body: the una that has been received, 4 bytes; the stream is over, everything has been delivered
	half                  // body: id 4, which half 1, half of a datagram of segments
	kinds
)

const (
	macSize      = 16
	controlStart = 4 + 1 + 8
	controlSize  = controlStart + macSize
)

// secrets is what follows from a Config.
type secrets struct {
	conv, tag uint32 // of KCP segments and of control datagrams
	key       [32]byte
	mine      byte // what tells our direction from the peer's
	counter   uint64
	seen      replay
}

func newSecrets(cfg *Config) *secrets {
	material := binary.BigEndian.AppendUint32(nil, cfg.ID)
	material = append(material, cfg.Key...)
	var out [36]byte
	blake3.DeriveKey("tcppunch kcpconn 1", material, out[:])
	s := &secrets{key: [32]byte(out[:32])}
	s.conv = binary.LittleEndian.Uint32(out[32:])&^0xC0 | 0x80
	s.tag = s.conv | 0x40
	if cfg.Client {
		s.mine = 1
	}
	return s
}

// seal appends a control datagram to b, which must be empty.
func (s *secrets) seal(b []byte, k kind, body []byte) []byte {
	s.counter++
	b = binary.LittleEndian.AppendUint32(b, s.tag)
	b = append(b, version<<4|byte(k))
	b = binary.BigEndian.AppendUint64(b, s.counter)
	b = append(b, body...)
	mac := s.mac(b, s.mine)
	return append(b, mac[:]...)
}

// open checks a control datagram. Newest says that no later one has been seen.
func (s *secrets) open(b []byte) (k kind, body []byte, newest, ok bool) {
	if len(b) < controlSize || binary.LittleEndian.Uint32(b) != s.tag || b[4]>>4 != version {
		return 0, nil, false, false
	}
	k = kind(b[4] & 15)
	signed := b[:len(b)-macSize]
	mac := s.mac(signed, 1-s.mine)
	if k >= kinds || subtle.ConstantTimeCompare(mac[:], b[len(signed):]) != 1 {
		return 0, nil, false, false
	}
	newest, ok = s.seen.take(binary.BigEndian.Uint64(b[5:]))
	return k, signed[controlStart:], newest, ok
}

func (s *secrets) mac(b []byte, direction byte) [macSize]byte {
	h, err := blake3.NewKeyed(s.key[:])
	if err != nil {
		panic(err) // the key has 32 bytes
	}
	h.Write([]byte{direction}) //nolint:errcheck // never fails
	h.Write(b)                 //nolint:errcheck // never fails
	var sum [macSize]byte
	h.Digest().Read(sum[:]) //nolint:errcheck // never fails
	return sum
}

// replay remembers which of the last 64 counters have been seen.
type replay struct {
	last uint64
	bits uint64 // bit i: last-i has been seen
}

// take says whether n is the largest counter yet, and whether it is new at all.
func (r *replay) take(n uint64) (newest, ok bool) {
	if n == 0 {
		return false, false
	}
	if n > r.last {
		r.bits <<= min(n-r.last, 64)
		r.bits |= 1
		r.last = n
		return true, true
	}
	age := r.last - n
	if age >= 64 || r.bits>>age&1 == 1 {
		return false, false
	}
	r.bits |= 1 << age
	return false, true
}
