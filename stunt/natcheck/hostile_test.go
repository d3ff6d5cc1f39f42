package natcheck

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/stunt/stun"
)

// A liar is a server that answers what it likes, or nothing.
type liar struct {
	// lie makes the answer to a request; nil means none.
	lie func(q *stun.Request, from netip.AddrPort) []byte
}

// session answers a connection's requests in the same way.
type lyingSession struct {
	liar
	from netip.AddrPort
}

func (s lyingSession) Respond(ctx context.Context, b []byte) ([]byte, error) {
	q, err := stun.ParseRequest(b)
	if err != nil {
		return nil, err
	}
	if resp := s.lie(q, s.from); resp != nil {
		return resp, nil
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

func (lyingSession) Close() {}

// serve lies over TCP and UDP, on one port, until the test ends.
func (l liar) serve(t *testing.T) string {
	t.Helper()
	ln := check(net.Listen("tcp", "127.0.0.1:0"))(t)
	at := ln.Addr().String()
	pc := check(net.ListenPacket("udp", at))(t)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		pc.Close()
		wg.Wait()
	})
	s := &stun.Server{NewSession: func(c net.Conn) stun.Session {
		return lyingSession{l, unmap(c.RemoteAddr().(*net.TCPAddr).AddrPort())}
	}}
	wg.Go(func() {
		if err := s.Serve(ctx, ln); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		b := make([]byte, 2048)
		for {
			n, addr, err := pc.ReadFrom(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			q, perr := stun.ParseRequest(b[:n])
			if err != nil || perr != nil {
				continue
			}
			if resp := l.lie(q, unmap(addr.(*net.UDPAddr).AddrPort())); resp != nil {
				pc.WriteTo(resp, addr) //nolint:errcheck // it may be gone
			}
		}
	})
	return at
}

func answer(q *stun.Request, r stun.Response) []byte {
	b, err := q.Respond(r)
	if err != nil {
		return nil
	}
	return b
}

// Whatever a server says, a check ends in time.
func TestHostileServers(t *testing.T) {
	lies := map[string]func(*stun.Request, netip.AddrPort) []byte{
		"silent": func(*stun.Request, netip.AddrPort) []byte { return nil },
		"garbage": func(*stun.Request, netip.AddrPort) []byte {
			return []byte("HTTP/1.1 400 Bad Request\r\n\r\nwho are you, and what do you want?")
		},
		"able, then silent": func(q *stun.Request, from netip.AddrPort) []byte {
			if p, ok := findProbe(q.Extra); ok && p.op != opHello {
				return nil
			}
			return answer(q, stun.Response{Result: stun.Result{Mapped: from}, Extra: []stun.Attribute{probe{opHello, 0xFF, 9}.attribute()}})
		},
		"by chance": func(q *stun.Request, from netip.AddrPort) []byte {
			p, _ := findProbe(q.Extra)
			p = probe{p.op, byte(rand.IntN(256)), uint16(rand.IntN(65536))}
			mapped := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(rand.IntN(256))}), uint16(1+rand.IntN(65535)))
			return answer(q, stun.Response{
				Result: stun.Result{Mapped: mapped, Other: netip.AddrPortFrom(mapped.Addr().Next(), 9), Software: string(make([]byte, 127))},
				Extra:  []stun.Attribute{p.attribute(), {Type: 0xC000, Value: make([]byte, 900)}},
			})
		},
		"the asker as its other address": func(q *stun.Request, from netip.AddrPort) []byte {
			return answer(q, stun.Response{Result: stun.Result{Mapped: from, Other: from}})
		},
		"refusing": func(q *stun.Request, _ netip.AddrPort) []byte {
			b, err := q.RefuseExtended()
			if err != nil {
				return nil
			}
			return b
		},
	}
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := liar{lie}.serve(t)
			began := time.Now()
			r, err := Run(t.Context(), &Options{Servers: []string{at}, Slow: true, MaxLifetime: time.Second})
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("it took %v", took)
			}
			if err == nil {
				t.Log(r.Meaning(), fmt.Sprintf("%+v", *r))
			} else if !errors.Is(err, ErrNoAnswer) {
				t.Error(err)
			}
		})
	}
}

// A check that is interrupted ends at once.
func TestRunInterrupted(t *testing.T) {
	at := liar{func(*stun.Request, netip.AddrPort) []byte { return nil }}.serve(t)
	stop := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(100*time.Millisecond, func() { cancel(stop) })
	began := time.Now()
	if r, err := Run(ctx, &Options{Servers: []string{at}}); !errors.Is(err, stop) {
		t.Errorf("got %+v, %v", r, err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestRunRefuses(t *testing.T) {
	for name, servers := range map[string][]string{
		"no server": nil, "no port": {"127.0.0.1"}, "port 0": {"127.0.0.1:0"}, "no number": {"127.0.0.1:stun"},
	} {
		if r, err := Run(t.Context(), &Options{Servers: servers}); err == nil || errors.Is(err, ErrNoAnswer) {
			t.Errorf("%s: got %+v, %v", name, r, err)
		}
	}
}

// Whatever ports servers tell of, the classification holds together.
func FuzzClassify(f *testing.F) {
	f.Add([]byte{0, 0, 1, 1, 2, 2, 3, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		var pairs []pair
		for i := 0; i+3 < len(b) && i < 64; i += 4 {
			pairs = append(pairs, pair{uint16(b[i])<<8 | uint16(b[i+1]), uint16(b[i+2])<<8 | uint16(b[i+3])})
		}
		kind, step, churn := ports(pairs)
		if (kind == Sequential) != (step != 0) || churn < 0 || step > maxStep || step < -maxStep {
			t.Errorf("%v are %q, step %d, churn %d", pairs, kind, step, churn)
		}
		if kind == Sequential && len(pairs) <= minSteps || kind == "" && len(pairs) > 2*minSteps {
			t.Errorf("%v are %q", pairs, kind)
		}
	})
}
