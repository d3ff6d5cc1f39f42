package tcppunch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
)

// channels is a Signaler inside this process.
type channels struct {
	out chan<- []byte
	in  <-chan []byte
}

func (c channels) Send(_ context.Context, msg []byte) error {
	c.out <- msg
	return nil
}

func (c channels) Recv(ctx context.Context) ([]byte, error) {
	select {
	case m := <-c.in:
		return m, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// neighbours are two sides with a Near each, and how to tell each of addresses.
func neighbours(t *testing.T) (a, b *Config, tell [2]chan []netip.AddrPort, at [2]netip.AddrPort) {
	t.Helper()
	for i, cfg := range []**Config{&a, &b} {
		n, err := ListenNear(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		tell[i] = make(chan []netip.AddrPort, 4)
		n.Peers = tell[i]
		*cfg = &Config{Side: SideA + Side(i), Near: n}
		at[i] = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), n.Port())
	}
	return a, b, tell, at
}

func wantPath(t *testing.T, kind Kind, rs ...dialled) {
	t.Helper()
	for _, r := range rs {
		if r.err != nil {
			t.Fatal(r.err)
		}
		if p := r.conn.Path(); p.Kind != kind || p.Network != "tcp" {
			t.Errorf("path %v, want %s", p, kind)
		}
	}
	if rs[0].conn.Path().Local != rs[1].conn.Path().Remote {
		t.Errorf("the two sides use different connections: %v, %v", rs[0].conn.Path(), rs[1].conn.Path())
	}
}

func TestNear(t *testing.T) {
	for name, hears := range map[string][2]bool{"both hear": {true, true}, "one hears": {true, false}, "the other hears": {false, true}} {
		t.Run(name, func(t *testing.T) {
			a, b, tell, at := neighbours(t)
			var authenticated atomic.Int32
			for i, cfg := range []*Config{a, b} {
				cfg.Near.Auth = func(context.Context, net.Conn, []byte) error { authenticated.Add(1); return nil }
				cfg.Auth = func(context.Context, net.Conn, []byte) error { return errors.New("not this one") }
				if hears[i] {
					tell[i] <- []netip.AddrPort{at[1-i]}
				}
			}
			ra, rb := dialBoth(t, a, b)
			wantPath(t, KindLAN, ra, rb)
			if authenticated.Load() < 2 {
				t.Error("Near.Auth did not run on both sides")
			}
		})
	}
}

// What is no longer known is let go of, and what is too much is not dialled.
func TestNearList(t *testing.T) {
	a, b, tell, at := neighbours(t)
	var many []netip.AddrPort
	for i := range maxNear + 10 {
		many = append(many, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, 1, byte(i)}), 9))
	}
	var most, now atomic.Int32
	tried := map[netip.AddrPort]chan struct{}{many[0]: make(chan struct{}, 100), many[maxNear]: make(chan struct{}, 100)}
	a.Trace = &Trace{
		AttemptStart: func(at Attempt) {
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			if c := tried[at.Remote]; c != nil {
				select {
				case c <- struct{}{}:
				default:
				}
			}
		},
		AttemptDone: func(Attempt, error) { now.Add(-1) },
	}
	tell[0] <- many
	tell[1] <- nil
	go func() {
		<-tried[many[0]]
		tell[0] <- []netip.AddrPort{at[1]}
	}()
	ra, rb := dialBoth(t, a, b)
	wantPath(t, KindLAN, ra, rb)
	if len(tried[many[maxNear]]) > 0 || most.Load() > maxNear+1 {
		t.Errorf("%d at once, want at most %d", most.Load(), maxNear)
	}
}

// A program that is not the peer is not tried again, and does not end the Dial.
func TestNearWrong(t *testing.T) {
	a, b, tell, at := neighbours(t)
	wrong := errors.New("other words")
	var guesses atomic.Int32
	a.Near.Auth = func(context.Context, net.Conn, []byte) error {
		guesses.Add(1)
		return fmt.Errorf("%w: %w", ErrRejected, wrong)
	}
	b.Near.Auth = a.Near.Auth
	tell[0] <- []netip.AddrPort{at[1]}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	a.Near.Peers, b.Near.Peers = tell[0], tell[1]
	done := make(chan error, 2)
	for _, cfg := range []*Config{a, b} {
		go func() {
			_, err := Dial(ctx, cfg)
			done <- err
		}()
	}
	for range 2 {
		if err := <-done; !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrRejected) || !errors.Is(err, ErrNoPath) {
			t.Errorf("got %v, want the end of time, and what was wrong", err)
		}
	}
	if n := guesses.Load(); n < 2 || n > 2*maxTrying {
		t.Errorf("%d guesses on both sides, want 2, or some that ran at the same time", n)
	}
}

// The Signaler comes later than the Dial; whichever way is there first is taken, by both.
func TestMeet(t *testing.T) {
	for _, near := range []bool{true, false} {
		t.Run(fmt.Sprintf("near %t", near), func(t *testing.T) {
			a, b, tell, at := neighbours(t)
			ab, ba := make(chan []byte, 64), make(chan []byte, 64)
			for i, cfg := range []*Config{a, b} {
				s := channels{ab, ba}
				if i == 1 {
					s = channels{ba, ab}
				}
				cfg.Meet = func(ctx context.Context) (Signaler, *Local, error) {
					if near {
						<-ctx.Done()
						return nil, nil, ctx.Err()
					}
					l, err := Gather(ctx, &Config{Signaler: s, Via: ViaTCP})
					return s, l, err
				}
				cfg.Via = ViaTCP
				if near {
					tell[i] <- []netip.AddrPort{at[1-i]}
				}
			}
			if !near && len(hostAddrs()) == 0 {
				t.Skip("this machine has no address but loopback's")
			}
			ra, rb := dialBoth(t, a, b)
			if near {
				wantPath(t, KindLAN, ra, rb)
				return
			}
			for _, r := range []dialled{ra, rb} {
				if r.err != nil {
					t.Fatal(r.err)
				}
				if k := r.conn.Path().Kind; k == KindLAN {
					t.Errorf("path %v", r.conn.Path())
				}
			}
		})
	}
}

// An error of Meet ends the Dial and is found in its own; that it waits does not keep
// Dial from ending.
func TestMeetFails(t *testing.T) {
	cause := errors.New("no server")
	a, b, _, _ := neighbours(t)
	a.Meet = func(context.Context) (Signaler, *Local, error) { return nil, nil, cause }
	if _, err := Dial(t.Context(), a); !errors.Is(err, cause) {
		t.Errorf("got %v, want %v", err, cause)
	}
	b.Meet = func(ctx context.Context) (Signaler, *Local, error) {
		<-ctx.Done()
		return nil, nil, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, b); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// What neighbours cause is bounded.
func TestNears(t *testing.T) {
	var n nears
	now := time.Now()
	a, b := netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("10.0.0.1:2")
	if n.reject(a); !n.isWrong(a) || n.welcome(a, now) || n.isWrong(b) || !n.welcome(b, now) {
		t.Error("one program is out, another of its host is not")
	}
	for range maxNearBad {
		if !n.welcome(b, now) {
			t.Error("kept out too soon")
		}
		n.vain(b.Addr(), now)
	}
	if n.welcome(b, now.Add(nearPause(0)-time.Millisecond)) || !n.welcome(b, now.Add(nearPause(0))) {
		t.Error("an address that comes in vain must wait, and not for good")
	}
	for range 100 {
		n.vain(b.Addr(), now)
	}
	if !n.welcome(b, now.Add(maxNearPause)) {
		t.Errorf("kept out for more than %v", maxNearPause)
	}
	for i := range 10 * maxNearNoted {
		ip := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		n.vain(ip, now)
		n.reject(netip.AddrPortFrom(ip, 1))
	}
	if len(n.bad) > maxNearNoted || len(n.wrong) > maxNearNoted {
		t.Errorf("%d and %d addresses are noted", len(n.bad), len(n.wrong))
	}
	knocks := 0
	for n.mayKnock(b.Addr()) {
		knocks++
	}
	if knocks != maxNearKnocks || !n.mayKnock(netip.MustParseAddr("10.0.0.9")) {
		t.Errorf("%d quick dials of one address, want %d", knocks, maxNearKnocks)
	}
}
