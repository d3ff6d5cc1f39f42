package tcppunch

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
)

const (
	// maxRecord is the most data that one TLS record holds, and recordHeader what
	// is in front of it (RFC 8446, section 5.1).
	maxRecord    = 16 << 10
	recordHeader = 5
	// recordOverhead is what a record has besides its data, in any cipher suite.
	recordOverhead = recordHeader + 1 + 16
	// maxBatch is how much data is encrypted for one system call. It should still
	// be in the processor's cache when the system copies it.
	maxBatch = 8 * maxRecord
	// firstRead is enough for a handshake, which many connections of a race may
	// be in; the buffer of one that has much to read grows to maxRead.
	firstRead = 2 << 10
	maxRead   = 128 << 10
)

// A buffered connection is what TLS runs on. crypto/tls writes each record with a
// system call of its own, and reads little more than one with another. A buffered
// connection collects those of one Conn.Write, and reads as much as there is.
//
// TLS gets no byte from it that is not of the record that it is in. So when it has
// read its last one, what follows is still here: see Conn.Plain.
type buffered struct {
	net.Conn

	// One goroutine at a time reads: crypto/tls sees to that.
	in   []byte
	r, w int // what is read and not taken
	left int // what is missing of the record that is being taken

	mu      sync.Mutex
	holding bool   // what is written waits for flush
	out     []byte // that waits
}

func newBuffered(c net.Conn) *buffered { return &buffered{Conn: c} }

// Read returns bytes of one record.
func (b *buffered) Read(p []byte) (int, error) {
	if b.left == 0 {
		if err := b.need(recordHeader); err != nil {
			return 0, err
		}
		b.left = recordHeader + int(binary.BigEndian.Uint16(b.in[b.r+3:]))
	}
	if err := b.need(1); err != nil {
		return 0, err
	}
	n := b.take(p[:min(len(p), b.left)])
	b.left -= n
	return n, nil
}

// rest reads what is behind the last record.
func (b *buffered) rest(p []byte) (int, error) {
	if b.r < b.w {
		return b.take(p), nil
	}
	return b.Conn.Read(p)
}

func (b *buffered) take(p []byte) int {
	n := copy(p, b.in[b.r:b.w])
	b.r += n
	return n
}

// need reads until n bytes are here. An end before the first of them is io.EOF.
func (b *buffered) need(n int) error {
	for b.w-b.r < n {
		if err := b.fill(); err != nil {
			if err == io.EOF && b.r < b.w { //nolint:errorlint // as it comes from a connection
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// fill reads once. Of a record no more than a part of its header is here.
func (b *buffered) fill() error {
	from := b.in
	if b.w == len(b.in) && len(b.in) < maxRead { // there may have been more
		b.in = make([]byte, min(max(4*len(b.in), firstRead), maxRead))
	}
	b.w = copy(b.in, from[b.r:b.w])
	b.r = 0
	n, err := b.Conn.Read(b.in[b.w:])
	b.w += n
	if n > 0 {
		return nil
	}
	return err
}

// Write sends p at once, or leaves it to flush.
func (b *buffered) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.holding {
		b.out = append(b.out, p...)
		return len(p), nil
	}
	return b.Conn.Write(p)
}

// hold has what is written wait for flush.
func (b *buffered) hold() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.out == nil {
		b.out = make([]byte, 0, maxBatch+maxBatch/maxRecord*recordOverhead)
	}
	b.holding = true
}

// flush sends what waits. What is written from now on waits no more.
func (b *buffered) flush() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.holding = false
	if len(b.out) == 0 {
		return nil
	}
	_, err := b.Conn.Write(b.out)
	b.out = b.out[:0]
	return err
}
