package bench

import (
	"context"
	"errors"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestRun: both sides have the same figures, over every kind of connection.
func TestRun(t *testing.T) {
	for _, k := range connKinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			a, b := k.make(t)
			m, n := newMarket(t, k.make), newMarket(t, tcpPair)
			o := &Options{Time: 200 * time.Millisecond, Transports: []Transport{
				{Name: "one", Dial: m.dial}, {Name: "two", Dial: n.dial, Streams: 2},
			}}
			ea, eb := both(t.Context(), a, b, o, o)
			if ea.err != nil || eb.err != nil {
				t.Fatal(ea.err, eb.err)
			}
			if ea.report.Controller == eb.report.Controller {
				t.Error("both sides, or none, led")
			}
			if len(ea.report.Results) != 2 || len(eb.report.Results) != 2 {
				t.Fatalf("%d and %d results, want 2", len(ea.report.Results), len(eb.report.Results))
			}
			for i := range 2 {
				checkMirrored(t, ea.report.Results[i], eb.report.Results[i])
				checkResult(t, ea.report.Results[i], o.Time)
			}
		})
	}
}

// checkMirrored: what one side sent the other received.
func checkMirrored(t *testing.T, a, b Result) {
	t.Helper()
	b.Sent, b.Received = b.Received, b.Sent
	if diff := cmp.Diff(a, b, cmpopts.IgnoreFields(Direction{}, "CPU", "PeerCPU"), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the two sides differ:\n%s", diff)
	}
	if a.Sent.CPU != b.Sent.PeerCPU || a.Received.PeerCPU != b.Received.CPU {
		t.Errorf("the CPU times of the two sides differ: %v %v, %v %v", a.Sent.CPU, b.Sent.PeerCPU, a.Received.PeerCPU, b.Received.CPU)
	}
}

func checkResult(t *testing.T, r Result, time time.Duration) {
	t.Helper()
	if r.Err != nil || r.Setup <= 0 || r.RTT.Count != idlePings || r.RTT.Min <= 0 || r.RTT.Min > r.RTT.Median || r.RTT.Median > r.RTT.Max {
		t.Errorf("%s: error %v, set-up %v, round trips %+v", r.Transport, r.Err, r.Setup, r.RTT)
	}
	for _, d := range []Direction{r.Sent, r.Received} {
		if d.Bytes <= 0 || d.Carried < d.Bytes || d.Elapsed <= 0 || d.Elapsed > time || d.Elapsed < time/2 || d.Rate() < 1e6 {
			t.Errorf("%s: %d of %d bytes in %v, %v bit/s", r.Transport, d.Bytes, d.Carried, d.Elapsed, d.Rate())
		}
		if len(d.Series) < 2 || d.Series[len(d.Series)-1].Bytes != d.Carried {
			t.Errorf("%s: the series is %v, want %d bytes at its end", r.Transport, d.Series, d.Carried)
		}
		if d.Loaded.Count == 0 || len(d.Pings) != d.Loaded.Count {
			t.Errorf("%s: %d round trips under load, %d in the sum", r.Transport, len(d.Pings), d.Loaded.Count)
		}
		if here, there := d.PerGB(); runtime.GOOS == "linux" && (here <= 0 || there <= 0) {
			t.Errorf("%s: %v and %v CPU seconds for each GB", r.Transport, here, there)
		}
		known := d.Packets > 0 && d.Retransmits >= 0 && d.Congestion != "" && d.Resent() >= 0
		if r.Transport == "two" && runtime.GOOS == "linux" && !known {
			t.Errorf("%s: %d packets, %d sent again, congestion control %q", r.Transport, d.Packets, d.Retransmits, d.Congestion)
		}
	}
}

// TestTrace: the hooks tell all steps in their order, and the eyes see bytes on both
// sides.
func TestTrace(t *testing.T) {
	t.Parallel()
	a, b := tcpPair(t)
	m := newMarket(t, tcpPair)
	var phases [2][]string
	var moved [2]atomic.Int64
	options := func(i int) *Options {
		return &Options{Time: time.Duration(300+200*i) * time.Millisecond, Transports: []Transport{{Name: "tcp", Dial: m.dial}}, Trace: &Trace{
			Agreed: func(each, theirs time.Duration, n int) {
				if want := time.Duration(500-200*i) * time.Millisecond; each != 300*time.Millisecond || theirs != want || n != 1 {
					t.Errorf("agreed on %v, the other side wanted %v, for %d transports", each, theirs, n)
				}
			},
			Step: func(s Step) { phases[i] = append(phases[i], string(s.Phase)) },
			Progress: func(s Step, since time.Duration, bytes int64) {
				if bytes > 0 && since > 0 && s.Phase == PhaseSend {
					moved[i].Store(bytes)
				}
			},
			Result: func(r Result) { phases[i] = append(phases[i], "result of "+r.Transport) },
		}}
	}
	ea, eb := both(t.Context(), a, b, options(0), options(1))
	if ea.err != nil || eb.err != nil {
		t.Fatal(ea.err, eb.err)
	}
	for i, e := range []ending{ea, eb} {
		want := "connect ping receive send result of tcp"
		if e.report.Controller {
			want = "connect ping send receive result of tcp"
		}
		if got := strings.Join(phases[i], " "); got != want {
			t.Errorf("the steps were %q, want %q", got, want)
		}
		if moved[i].Load() == 0 {
			t.Error("the sender never saw what had arrived")
		}
		if e.report.Time != 300*time.Millisecond {
			t.Errorf("measured for %v each, want the smaller time of the two sides", e.report.Time)
		}
	}
}

// TestTransportFails: what cannot connect, on one side or both, or breaks, is a result,
// and the next transport is measured.
func TestTransportFails(t *testing.T) {
	errNo := errors.New("both routers say no")
	fails := func(context.Context, *Signals) (net.Conn, error) { return nil, errNo }
	hangs := func(ctx context.Context, _ *Signals) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
	breaks := func(t *testing.T) (a, b func(context.Context, *Signals) (net.Conn, error)) {
		m := newMarket(t, tcpPair)
		return m.dial, func(ctx context.Context, s *Signals) (net.Conn, error) {
			c, err := m.dial(ctx, s)
			return &brittle{Conn: c, left: 1 << 20}, err
		}
	}
	cases := []struct {
		name string
		make func(t *testing.T) (a, b func(context.Context, *Signals) (net.Conn, error))
		want string
	}{
		{"on both sides", func(*testing.T) (a, b func(context.Context, *Signals) (net.Conn, error)) { return fails, fails }, errNo.Error()},
		{"on one side", func(*testing.T) (a, b func(context.Context, *Signals) (net.Conn, error)) { return fails, hangs }, errNo.Error()},
		{"too slow", func(*testing.T) (a, b func(context.Context, *Signals) (net.Conn, error)) { return hangs, hangs }, "not done after"},
		{"breaks", breaks, "the connection"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a, b := tcpPair(t)
			good := newMarket(t, tcpPair)
			da, db := c.make(t)
			options := func(d func(context.Context, *Signals) (net.Conn, error)) *Options {
				return &Options{Time: MinTime, DialTime: 300 * time.Millisecond, Transports: []Transport{
					{Name: "bad", Dial: d}, {Name: "good", Dial: good.dial}, {Name: "worse", Dial: d, Like: "bad"},
				}}
			}
			ea, eb := both(t.Context(), a, b, options(da), options(db))
			for _, e := range []ending{ea, eb} {
				if e.err != nil || len(e.report.Results) != 3 {
					t.Fatalf("error %v, report %+v", e.err, e.report)
				}
				if bad := e.report.Results[0]; bad.Err == nil || !strings.Contains(bad.Err.Error(), c.want) {
					t.Errorf("the bad transport's error is %v", bad.Err)
				}
				worse := c.want
				if c.name != "breaks" {
					worse = "cannot connect, as bad"
				}
				if r := e.report.Results[2]; r.Err == nil || !strings.Contains(r.Err.Error(), worse) {
					t.Errorf("the transport like the bad one: %v", r.Err)
				}
				if r := e.report.Results[1]; r.Err != nil || r.Sent.Bytes == 0 {
					t.Errorf("the good transport: %v, %d bytes", r.Err, r.Sent.Bytes)
				}
			}
		})
	}
}

// brittle breaks after some bytes were written.
type brittle struct {
	net.Conn
	left int
}

func (b *brittle) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		b.Close()
		return 0, errors.New("it broke")
	}
	return b.Conn.Write(p)
}

// TestStall: a connection over which nothing comes any more fails its transport.
func TestStall(t *testing.T) {
	t.Parallel()
	a, b := tcpPair(t)
	m := newMarket(t, tcpPair)
	o := &Options{Time: time.Second, Stall: 400 * time.Millisecond, Transports: []Transport{{Name: "tcp", Dial: func(ctx context.Context, s *Signals) (net.Conn, error) {
		c, err := m.dial(ctx, s)
		return &deaf{Conn: c, ctx: ctx}, err
	}}}}
	ea, eb := both(t.Context(), a, b, o, o)
	for _, e := range []ending{ea, eb} {
		if e.err != nil || len(e.report.Results) != 1 || !strings.Contains(e.report.Results[0].Err.Error(), "nothing has arrived") {
			t.Errorf("error %v, results %+v", e.err, e.report.Results)
		}
	}
}

// deaf swallows all that is written in large pieces.
type deaf struct {
	net.Conn
	ctx context.Context
}

func (d *deaf) Write(p []byte) (int, error) {
	if len(p) < 1000 {
		return d.Conn.Write(p)
	}
	return len(p), nil
}

// TestNothingInCommon and other plans.
func TestAgree(t *testing.T) {
	preface := func(b byte) []byte { return append([]byte{b}, make([]byte, prefaceSize-1)...) }
	side := func(b byte, ms int64, os ...offer) hello {
		return hello{Preface: preface(b), TimeMS: ms, Transports: os}
	}
	tcp, kcp, four := offer{"tcp", 1, ""}, offer{"kcp", 1, ""}, offer{"tcp", 4, ""}
	cases := []struct {
		name         string
		mine, theirs hello
		want         plan
		err          error
	}{
		{"larger preface leads", side(2, 500, tcp, kcp), side(1, 300, kcp, four), plan{true, 300 * time.Millisecond, []offer{four, kcp}}, nil},
		{"smaller one follows", side(1, 300, kcp, four), side(2, 500, tcp, kcp), plan{false, 300 * time.Millisecond, []offer{four, kcp}}, nil},
		{"only what both have", side(2, 500, tcp), side(1, 500, kcp, tcp), plan{true, 500 * time.Millisecond, []offer{tcp}}, nil},
		{"each once", side(1, 500, tcp), side(2, 500, tcp, tcp, tcp), plan{false, 500 * time.Millisecond, []offer{tcp}}, nil},
		{"nothing", side(1, 500, tcp), side(2, 500, kcp), plan{}, ErrNothing},
		{"a mirror", side(1, 500, tcp), side(1, 500, tcp), plan{}, ErrProtocol},
	}
	for _, c := range cases {
		got, err := agree(c.mine, c.theirs)
		if !errors.Is(err, c.err) {
			t.Errorf("%s: error %v, want %v", c.name, err, c.err)
			continue
		}
		if diff := cmp.Diff(got, c.want, cmp.AllowUnexported(plan{}, offer{})); err == nil && diff != "" {
			t.Errorf("%s:\n%s", c.name, diff)
		}
	}
}

// TestNothingInCommon: both sides say what they wanted.
func TestNothingInCommon(t *testing.T) {
	t.Parallel()
	a, b := tcpPair(t)
	m := newMarket(t, tcpPair)
	ea, eb := both(t.Context(), a, b, &Options{Transports: []Transport{{Name: "tcp", Dial: m.dial}}}, &Options{Transports: []Transport{{Name: "kcp", Dial: m.dial}}})
	for _, e := range []ending{ea, eb} {
		if !errors.Is(e.err, ErrNothing) || !strings.Contains(e.err.Error(), "kcp") {
			t.Errorf("error %v", e.err)
		}
	}
}

// TestOptions: what makes no sense is refused before anything is sent.
func TestOptions(t *testing.T) {
	dial := func(context.Context, *Signals) (net.Conn, error) { return nil, nil }
	for _, o := range []*Options{
		nil, {}, {Transports: []Transport{{Name: "tcp"}}}, {Transports: []Transport{{Dial: dial}}},
		{Transports: []Transport{{Name: "\x1b[2J", Dial: dial}}},
		{Transports: []Transport{{Name: "tcp", Dial: dial, Streams: MaxStreams + 1}}},
		{Transports: []Transport{{Name: "tcp", Dial: dial}}, Time: time.Hour},
		{Transports: []Transport{{Name: "tcp", Dial: dial}}, Time: -1},
		{Transports: make([]Transport, MaxTransports+1)},
	} {
		if _, err := Run(t.Context(), nil, o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}
