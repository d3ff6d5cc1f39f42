package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// attackCounts are what attackers did, and what came of it.
type attackCounts struct {
	silent, garbage, flooded            atomic.Int64
	guesses, hits, limited, unconnected atomic.Int64
}

func (c *attackCounts) String() string {
	return fmt.Sprintf("%d silent connections, %d of garbage, %d messages of 16 KiB to members that do not read, "+
		"%d guesses at rooms (%d refused for guessing, %d hits), %d joins and connections not taken",
		c.silent.Load(), c.garbage.Load(), c.flooded.Load(),
		c.guesses.Load(), c.limited.Load(), c.hits.Load(), c.unconnected.Load())
}

// attack begins all attacks at once; the returned function ends them. They are paced, so that they do not take the
// machine itself from those who share it.
func (l *loader) attack() (stop func()) {
	ctx, cancel := context.WithCancel(l.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { l.silent(ctx) })
	wg.Go(func() { every(ctx, 100, func() { l.garbage(ctx) }) })
	for i := range 4 {
		wg.Go(func() { l.slow(ctx, byte(i)) })
	}
	wg.Go(func() { every(ctx, 200, func() { l.guess(ctx) }) })
	return func() {
		cancel()
		wg.Wait()
	}
}

// every calls f so many times a second.
func every(ctx context.Context, perSecond int, f func()) {
	var wg sync.WaitGroup
	defer wg.Wait()
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			wg.Go(f)
		case <-ctx.Done():
			return
		}
	}
}

// silent opens 1000 connections of one network, and sends half a request on each.
func (l *loader) silent(ctx context.Context) {
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for i := range 1000 {
		conn, err := l.dial(ctx, netip.AddrFrom4([4]byte{127, 251, 0, byte(1 + i%250)}))
		if err != nil {
			continue
		}
		conns = append(conns, conn)
		fmt.Fprintf(conn, "GET /v1/join HTTP/1.1\r\nHost: ")
		l.attacks.silent.Add(1)
	}
	<-ctx.Done()
}

// garbage sends random bytes instead of a request, or after a good one.
func (l *loader) garbage(ctx context.Context) {
	from := netip.AddrFrom4([4]byte{127, 252, byte(rand.IntN(250)), 1})
	var conn net.Conn
	var err error
	if rand.IntN(2) == 0 {
		conn, err = l.dial(ctx, from)
	} else {
		var k *link
		if k, _, err = l.join(ctx, from, "", "send"); err == nil {
			conn = k
		}
	}
	if err != nil {
		l.attacks.unconnected.Add(1)
		return
	}
	defer conn.Close()
	b := make([]byte, 4096)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	if _, err := conn.Write(b); err != nil {
		l.attacks.unconnected.Add(1)
		return
	}
	l.attacks.garbage.Add(1)
	conn.SetReadDeadline(time.Now().Add(2 * time.Second))
	_, _ = conn.Read(b)
}

// slow has members that never read, and others that fill their queues.
func (l *loader) slow(ctx context.Context, i byte) {
	for ctx.Err() == nil {
		victim, _, err := l.join(ctx, netip.AddrFrom4([4]byte{127, 253, i, 1}), "", "send")
		if err != nil {
			l.attacks.unconnected.Add(1)
			return // over the limit on joins
		}
		l.flood(ctx, victim, i)
		victim.Close()
	}
}

func (l *loader) flood(ctx context.Context, victim *link, i byte) {
	writer, _, err := l.join(ctx, netip.AddrFrom4([4]byte{127, 254, i, 1}), victim.room, "recv")
	if err != nil {
		l.attacks.unconnected.Add(1)
		return
	}
	defer writer.Close()
	meeting, err := readMeeting(writer)
	if err != nil {
		return
	}
	data := maskedFrame(fmt.Appendf(nil, `{"type":"message","meeting":%d,"data":"%s"}`, meeting, zeros(16<<10)))
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 250 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if _, err := writer.Write(data); err != nil {
			return
		}
		l.attacks.flooded.Add(1)
	}
}

// guess asks for a room by chance.
func (l *loader) guess(ctx context.Context) {
	l.attacks.guesses.Add(1)
	from := netip.AddrFrom4([4]byte{127, 255, 0, byte(1 + rand.IntN(250))})
	k, status, err := l.join(ctx, from, strconv.Itoa(1000+rand.IntN(9000)), "recv")
	switch {
	case err == nil:
		defer k.Close()
		k.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err := readMeeting(k); err == nil {
			l.attacks.hits.Add(1)
		}
	case status == 429:
		l.attacks.limited.Add(1)
	default:
		l.attacks.unconnected.Add(1)
	}
}

// readMeeting reads the frame that tells of a meeting, which is a short one (RFC 6455, section 5.2).
func readMeeting(conn net.Conn) (uint64, error) {
	b := make([]byte, 2)
	if _, err := io.ReadFull(conn, b); err != nil {
		return 0, err
	}
	b = make([]byte, b[1])
	if _, err := io.ReadFull(conn, b); err != nil {
		return 0, err
	}
	var meeting uint64
	_, err := fmt.Sscanf(string(b), `{"type":"met","meeting":%d`, &meeting)
	return meeting, err
}

// maskedFrame is a text message of more than 125 and less than 64 Ki bytes, masked with zeros.
func maskedFrame(b []byte) []byte {
	frame := []byte{0x81, 0x80 | 126}
	frame = binary.BigEndian.AppendUint16(frame, uint16(len(b)))
	return append(append(frame, 0, 0, 0, 0), b...)
}

// zeros is the base64 of zeros.
func zeros(n int) string {
	b := make([]byte, n/3*4)
	for i := range b {
		b[i] = 'A'
	}
	return string(b)
}
