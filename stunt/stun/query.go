package stun

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"
)

// The schedule of RFC 8489 section 6.2.1: requests at 0, 0.5, 1.5, 3.5, 7.5, 15.5 and 31.5 s, the end at 39.5 s.
const (
	firstRTO  = 500 * time.Millisecond
	maxSends  = 7
	finalWait = 16 * firstRTO
	maxTime   = 39500 * time.Millisecond
)

const maxStrays = 16 // messages on a stream that belong to earlier, abandoned requests

// Query asks the STUN server at the other end of conn, a TCP or TLS connection, for this side's public address. It
// reads exactly one answer and leaves conn open: keep it so for as long as the mapping is wanted, and query again
// to keep it alive. Nothing else may read, write or set deadlines on conn meanwhile; Query leaves it without a deadline.
// It gives up when ctx ends, at the latest after 39.5 s. After any error but an [*Error], close conn: the stream may have
// stopped inside a message.
func Query(ctx context.Context, conn net.Conn) (Result, error) {
	res, err := new(Request).Query(ctx, conn)
	return res.Result, err
}

// Query is [Query] with what the request asks for beyond the address. Nothing of RFC 5780 is meant for streams.
func (q *Request) Query(ctx context.Context, conn net.Conn) (Response, error) {
	limited, cancel := context.WithTimeoutCause(ctx, maxTime, ErrNoAnswer)
	defer cancel()
	defer guard(limited, conn.SetDeadline)()
	res, err := q.query(limited, conn)
	if err != nil {
		return Response{}, fmt.Errorf("querying STUN server %v: %w", conn.RemoteAddr(), cause(limited, err))
	}
	return res, nil
}

func (q *Request) query(ctx context.Context, conn net.Conn) (Response, error) {
	if err := ctx.Err(); err != nil {
		return Response{}, err
	}
	req, id := q.Encode()
	if _, err := conn.Write(req); err != nil {
		return Response{}, err
	}
	for range maxStrays {
		b, err := readFrame(conn)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF // the server owed us an answer
		}
		if err != nil {
			return Response{}, err
		}
		if answers(b, id) {
			return ParseResponse(b)
		}
	}
	return Response{}, fmt.Errorf("%w: none of %d messages answers the request", ErrMalformed, maxStrays)
}

// QueryPacket asks a STUN server over UDP for this side's public address, as seen from server. Requests are repeated as
// RFC 8489 says, until ctx ends or 39.5 s have passed ([ErrNoAnswer]). Packets that come from elsewhere or do not
// answer the request are dropped, so nothing else may read from pc meanwhile; deadlines on pc are cleared.
func QueryPacket(ctx context.Context, pc net.PacketConn, server netip.AddrPort) (Result, error) {
	defer guard(ctx, pc.SetDeadline)()
	res, err := queryPacket(ctx, pc, server)
	if err != nil {
		return Result{}, fmt.Errorf("querying STUN server %v: %w", server, cause(ctx, err))
	}
	return res, nil
}

func queryPacket(ctx context.Context, pc net.PacketConn, server netip.AddrPort) (Result, error) {
	req, id := newRequest()
	to := net.UDPAddrFromAddrPort(server)
	buf := make([]byte, 1<<16) // Windows makes an error of a packet that does not fit
	for i := range maxSends {
		wait := firstRTO << i
		if i == maxSends-1 {
			wait = finalWait
		}
		if err := pc.SetReadDeadline(time.Now().Add(wait)); err != nil {
			return Result{}, err
		}
		// Looked at after setting the deadline, which may just have overwritten the one that guard set.
		if err := ctx.Err(); err != nil {
			return Result{}, err
		}
		if _, err := pc.WriteTo(req, to); err != nil {
			return Result{}, err
		}
		b, err := awaitPacket(pc, server, id, buf)
		if err == nil {
			return parseResponse(b)
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() != nil {
			return Result{}, err
		}
	}
	return Result{}, ErrNoAnswer
}

// awaitPacket reads until server answers the request with this ID, or pc's deadline.
func awaitPacket(pc net.PacketConn, server netip.AddrPort, id TransactionID, buf []byte) ([]byte, error) {
	for {
		n, addr, err := pc.ReadFrom(buf)
		if err != nil {
			return nil, err
		}
		if from, ok := addrPort(addr); ok && from == unmap(server) && answers(buf[:n], id) {
			return buf[:n], nil
		}
	}
}

// guard makes the reads and writes of a connection fail once ctx ends, by way of its setDeadline. The function that it
// returns ends that and takes the deadline away.
func guard(ctx context.Context, setDeadline func(time.Time) error) func() {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = setDeadline(time.Unix(1, 0))
	})
	return func() {
		if !stop() {
			<-done
		}
		_ = setDeadline(time.Time{})
	}
}

// cause replaces the time-out that guard provoked by the reason why ctx ended.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, ctx.Err())) {
		return context.Cause(ctx)
	}
	return err
}

// addrPort gets the address and port out of a net.Addr, with IPv4 in its 4-byte form.
func addrPort(a net.Addr) (netip.AddrPort, bool) {
	if a, ok := a.(interface{ AddrPort() netip.AddrPort }); ok {
		ap := unmap(a.AddrPort())
		return ap, ap.IsValid()
	}
	if a == nil {
		return netip.AddrPort{}, false
	}
	ap, err := netip.ParseAddrPort(a.String())
	return unmap(ap), err == nil
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
