package tcppunch

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// TCP has a head start, and what completes in the grace after it still wins.
func TestHeadStart(t *testing.T) {
	const never = time.Hour
	tests := []struct {
		name          string
		cfg           Config
		kcp, tcp      time.Duration // when they are authenticated
		shaking       time.Duration // when TCP's handshake begins
		noTCP         time.Duration // when TCP is known to lead nowhere
		want          string
		after, before time.Duration
	}{
		{"TCP in time", Config{}, 300 * time.Millisecond, 1500 * time.Millisecond, never, never, "tcp", 1500 * time.Millisecond, 1600 * time.Millisecond},
		{"TCP first", Config{}, 300 * time.Millisecond, 200 * time.Millisecond, never, never, "tcp", 200 * time.Millisecond, 300 * time.Millisecond},
		{"no TCP", Config{}, 300 * time.Millisecond, never, never, never, "kcp", headStart, headStart + 100*time.Millisecond},
		{"no TCP, known", Config{}, 300 * time.Millisecond, never, never, 0, "kcp", 300 * time.Millisecond, 400 * time.Millisecond},
		{"no TCP, found out", Config{}, 300 * time.Millisecond, never, never, time.Second, "kcp", time.Second, 1100 * time.Millisecond},
		{"TCP in the grace", Config{}, 300 * time.Millisecond, headStart + grace/2, headStart - time.Millisecond, never, "tcp", headStart, headStart + grace},
		{"TCP after the grace", Config{}, 300 * time.Millisecond, headStart + 2*grace, headStart - time.Millisecond, never, "kcp", headStart, headStart + grace + 100*time.Millisecond},
		{"UDP alone", Config{Via: ViaKCP}, 300 * time.Millisecond, never, never, never, "kcp", 300 * time.Millisecond, 400 * time.Millisecond},
		{"a head start of one's own", Config{HeadStart: 5 * time.Second}, 300 * time.Millisecond, 4 * time.Second, never, never, "tcp", 4 * time.Second, 5 * time.Second},
		{"none", Config{HeadStart: -1}, 300 * time.Millisecond, 400 * time.Millisecond, never, never, "kcp", 300 * time.Millisecond, 400 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNominators(t)
				c := n.controller
				c.cfg.Via, c.cfg.HeadStart, c.cfg.Signaler, c.known, c.planned = tt.cfg.Via, tt.cfg.HeadStart, noSignaler{}, time.Now(), true
				begin := time.Now()
				gotC, gotO := n.start(c), n.start(n.other)
				kc, ko := n.connectBy("kcp", KindPublic)
				tc, to := n.connectBy("tcp", KindPredicted)
				at := func(d time.Duration, do func()) {
					if d != never {
						time.AfterFunc(d, do)
					}
				}
				give := func(l *link) func() {
					return func() {
						select {
						case c.links <- l:
						case <-n.ctx.Done():
						}
					}
				}
				n.other.links <- ko
				n.other.links <- to
				at(tt.kcp, give(kc))
				at(tt.tcp, give(tc))
				at(tt.shaking, func() { c.count(c.shaking, KindPredicted, 1) })
				at(tt.noTCP, func() { c.judge(roundPlan{}, unused) })
				got, gotOther := <-gotC, <-gotO
				took := time.Since(begin)
				if got.err != nil || gotOther.err != nil || got.l.path.Network != tt.want || gotOther.l.path.Network != tt.want {
					t.Fatalf("got %v and %v, want %s", got, gotOther, tt.want)
				}
				if took < tt.after || took > tt.before {
					t.Errorf("after %v, want %v to %v", took, tt.after, tt.before)
				}
				n.finish(got.l, gotOther.l)
			})
		})
	}
}

// noSignaler stands for a Signaler that nobody uses.
type noSignaler struct{}

func (noSignaler) Send(context.Context, []byte) error   { return errors.New("not used") }
func (noSignaler) Recv(context.Context) ([]byte, error) { return nil, errors.New("not used") }

// echo checks that bytes pass both ways and that the end is seen.
func echo(t *testing.T, a, b net.Conn) {
	t.Helper()
	for _, p := range [][2]net.Conn{{a, b}, {b, a}} {
		go fmt.Fprint(p[0], "through the hole")
		buf := make([]byte, 16)
		if _, err := io.ReadFull(p[1], buf); err != nil || string(buf) != "through the hole" {
			t.Errorf("got %q, %v", buf, err)
		}
	}
	closed := make(chan error, 1)
	go func() { closed <- a.Close() }()
	if _, err := b.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after the other side's Close: %v, want EOF", err)
	}
	b.Close()
	<-closed
}

func TestDialKCP(t *testing.T) {
	a, b := loopback(t)
	a.Via, b.Via = ViaKCP, ViaKCP
	ra, rb := dialBoth(t, a, b)
	if ra.err != nil || rb.err != nil {
		t.Fatal(ra.err, rb.err)
	}
	pa, pb := ra.conn.Path(), rb.conn.Path()
	if pa.Network != "kcp" || pb.Network != "kcp" || pa.Local != pb.Remote || pa.Remote != pb.Local {
		t.Errorf("paths %v from %v, and %v from %v", pa, pa.Local, pb, pb.Local)
	}
	echo(t, ra.conn, rb.conn)
	// The ports are free again at once.
	ra, rb = dialBoth(t, a, b)
	if ra.err != nil || rb.err != nil {
		t.Fatal(ra.err, rb.err)
	}
	ra.conn.Abort()
	if _, err := rb.conn.Read(make([]byte, 1)); err == nil {
		t.Error("no error after the other side's Abort")
	}
	rb.conn.Close()
}

// Two programs that are the same draw who does what.
func TestDialEither(t *testing.T) {
	for _, via := range []Via{ViaAuto, ViaTCP, ViaKCP} {
		a, b := loopback(t)
		a.Side, b.Side, a.Via, b.Via = SideEither, SideEither, via, via
		controls := make(chan bool, 8)
		a.Auth = func(_ context.Context, conn net.Conn, _ []byte) error {
			controls <- conn.(*Conn).Controls()
			return nil
		}
		ra, rb := dialBoth(t, a, b)
		if ra.err != nil || rb.err != nil {
			t.Fatal(via, ra.err, rb.err)
		}
		if ra.conn.Controls() == rb.conn.Controls() || ra.conn.Controls() != <-controls {
			t.Errorf("%s: both sides say that they control: %v", via, ra.conn.Controls())
		}
		echo(t, ra.conn, rb.conn)
	}
}

// A rejected peer is rejected by UDP as well.
func TestDialKCPRejected(t *testing.T) {
	a, b := loopback(t)
	a.Via, b.Via = ViaKCP, ViaKCP
	a.Auth = func(context.Context, net.Conn, []byte) error { return ErrRejected }
	b.Auth = a.Auth
	ra, rb := dialBoth(t, a, b)
	if !errors.Is(ra.err, ErrRejected) || !errors.Is(rb.err, ErrRejected) {
		t.Errorf("got %v and %v", ra.err, rb.err)
	}
}

func TestDialKCPPortInUse(t *testing.T) {
	pc, err := net.ListenUDP("udp4", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	a, _ := loopback(t)
	a.Port, a.Via = netip.MustParseAddrPort(pc.LocalAddr().String()).Port(), ViaKCP
	if a.Port > 65500 {
		t.Skip("drew a port without room for the spares")
	}
	if _, err := Dial(t.Context(), a); !errors.Is(err, ErrPortInUse) {
		t.Errorf("got %v, want ErrPortInUse", err)
	}
}

// With SideEither a peer that is started again may have the other role.
func TestNominateTurned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNominators(t)
		c, o := n.controller, n.other
		c.cfg.Side, o.cfg.Side = SideEither, SideEither
		old, _ := n.connect(KindPublic) // the peer ends before it is nominated
		old.below.Close()
		gotC := n.start(c)
		c.links <- old
		synctest.Wait()
		gotO := n.start(o)
		lc, lo := n.connect(KindPublic)
		lc.controls, lo.controls = false, true
		c.links <- lc
		o.links <- lo
		a, b := <-gotC, <-gotO
		if a.err != nil || b.err != nil || a.l != lc || b.l != lo {
			t.Errorf("got %v and %v", a, b)
		}
		n.finish(lc, lo)
	})
}

// scripted is a Signaler that says what it was told to, one message for each that is
// sent.
type scripted struct {
	says chan []byte
}

func (s scripted) Send(context.Context, []byte) error { return nil }

func (s scripted) Recv(ctx context.Context) ([]byte, error) {
	select {
	case b, ok := <-s.says:
		if !ok {
			return nil, io.EOF
		}
		return b, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A peer that speaks of UDP only in a later round, or no more in one, harms nobody.
func TestRoomLateUDP(t *testing.T) {
	own := hostAddrs()
	if len(own) == 0 {
		t.Skip("this machine has no network")
	}
	// The peer is at this machine's own address, where nobody listens: nothing leaves it.
	report := fmt.Sprintf(`{"hosts":[%q],"lanes":[{"port":9}]}`, own[0])
	offer := func(round int, udp bool) []byte {
		more := ""
		if udp {
			more = `,"udp":` + report + `,"ice":{"ufrag":"abcd","pwd":"abcdabcdabcdabcdabcdabcd"}`
		}
		fp := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))
		return fmt.Appendf(nil, `{"type":"offer","round":%d,"fingerprint":%q,"report":%s%s}`, round, fp, report, more)
	}
	for _, order := range [][]bool{{false, true, true}, {true, false, true}} {
		s := scripted{make(chan []byte, 16)}
		for round, udp := range order {
			s.says <- offer(round, udp)
			s.says <- fmt.Appendf(nil, `{"type":"go","round":%d}`, round)
			s.says <- fmt.Appendf(nil, `{"type":"sync","round":%d}`, round)
		}
		close(s.says)
		_, err := Dial(t.Context(), &Config{Side: SideB, Signaler: s, RoundTime: 50 * time.Millisecond})
		if !errors.Is(err, ErrNoPath) {
			t.Errorf("got %v", err)
		}
	}
}
