package bench

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"testing"
	"time"
)

// The other side is led by a script in these tests. Its preface is the smallest, so
// that the side under test is the controller, or the largest.
func helloOf(change func(*hello)) []byte {
	h := hello{Magic: magic, Version: version, Preface: make([]byte, prefaceSize), TimeMS: 200, Transports: []offer{{"tcp", 1, ""}}}
	if change != nil {
		change(&h)
	}
	b, _ := json.Marshal(h)
	return appendFrame(nil, kindHello, b)
}

func doneOf(step int, change func(*done)) []byte {
	d := nothing()
	d.Step = step
	if change != nil {
		change(&d)
	}
	b, _ := json.Marshal(d)
	return appendFrame(nil, kindDone, b)
}

func failOf(code, message string) []byte {
	b, _ := json.Marshal(fail{code, message})
	return appendFrame(nil, kindFail, b)
}

// playing runs one side against a peer that says what it is told to, reads what comes,
// and leaves when it is told to, or when the other side gives up.
func playing(t *testing.T, dial func(context.Context, *Signals) (net.Conn, error), hangUp bool, says ...[]byte) (*Report, error) {
	t.Helper()
	a, b := tcpPair(t)
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		for {
			k, body, err := readFrame(b)
			if err != nil {
				return
			}
			if d, err := parseDone(body); k == kindDone && err == nil { // agrees to all, and is soon done itself
				b.Write(doneOf(d.Step+1, nil)) //nolint:errcheck // it may be over
			}
			if k == kindFail || k == kindBye { // an honest program leaves then
				b.Close()
				return
			}
		}
	}()
	for _, s := range says {
		if _, err := b.Write(s); err != nil {
			t.Fatal(err)
		}
	}
	if hangUp {
		b.Close()
	}
	if dial == nil {
		dial = func(ctx context.Context, _ *Signals) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
	}
	began := time.Now()
	rep, err := Run(t.Context(), a, &Options{
		Time: 200 * time.Millisecond, Silence: time.Second, Transports: []Transport{{Name: "tcp", Dial: dial}},
	})
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v to give up", took)
	}
	a.Close()
	<-heard
	return rep, err
}

func TestHostileControl(t *testing.T) {
	cases := []struct {
		name string
		says [][]byte
		want error
		text string
	}{
		{"nothing", nil, ErrPeerGone, "silent"},
		{"a web server", [][]byte{[]byte("HTTP/1.1 400 Bad Request\r\n\r\n")}, ErrProtocol, ""},
		{"receives files", [][]byte{{0x01, 0, 0, 16}, []byte("tcppunch-transfer")}, ErrProtocol, "0x01"},
		{"no hello", [][]byte{doneOf(0, nil)}, ErrProtocol, "instead of HELLO"},
		{"hello without the word", [][]byte{helloOf(func(h *hello) { h.Magic = "other" })}, ErrProtocol, "does not run a benchmark"},
		{"hello that is no JSON", [][]byte{appendFrame(nil, kindHello, []byte("{"))}, ErrProtocol, ""},
		{"another version", [][]byte{helloOf(func(h *hello) { h.Version = 9 })}, ErrVersion, "9"},
		{"an hour", [][]byte{helloOf(func(h *hello) { h.TimeMS = 3_600_000 })}, ErrProtocol, "1h0m0s"},
		{"no time", [][]byte{helloOf(func(h *hello) { h.TimeMS = 0 })}, ErrProtocol, "0s"},
		{"time that overflows", [][]byte{helloOf(func(h *hello) { h.TimeMS = 1 << 62 })}, ErrProtocol, ""},
		{"a million streams", [][]byte{helloOf(func(h *hello) { h.Transports[0].Streams = 1_000_000 })}, ErrProtocol, "streams"},
		{"no transports", [][]byte{helloOf(func(h *hello) { h.Transports = nil })}, ErrProtocol, "0 transports"},
		{"a name for the terminal", [][]byte{helloOf(func(h *hello) { h.Transports[0].Name = "\x1b[2J" })}, ErrProtocol, ""},
		{"two hellos", [][]byte{helloOf(nil), helloOf(nil)}, ErrProtocol, "second HELLO"},
		{"half a frame", [][]byte{helloOf(nil), {byte(kindDone), 0, 0, 100, '{'}}, ErrPeerGone, "silent"},
		{"a frame that is too long", [][]byte{helloOf(nil), {byte(kindDone), 0xff, 0xff, 0xff}}, ErrProtocol, "16777215"},
		{"a short ping", [][]byte{helloOf(nil), {byte(kindPing), 0, 0, 1, 0}}, ErrProtocol, "PING"},
		{"data on the control connection", [][]byte{helloOf(nil), {byte(kindData), 0, 0, 1, 0}}, ErrProtocol, "DATA"},
		{"another step", [][]byte{helloOf(nil), doneOf(7, nil)}, ErrProtocol, "step 7"},
		{"two DONEs", [][]byte{helloOf(nil), doneOf(0, nil), doneOf(1, nil), doneOf(2, nil)}, ErrProtocol, ""},
		{"a time that has not begun", [][]byte{helloOf(nil), doneOf(0, func(d *done) { d.Setup = -1 })}, ErrProtocol, ""},
		{"more bytes than came", [][]byte{helloOf(nil), doneOf(0, func(d *done) { d.Bytes, d.Elapsed = 1, 1 })}, ErrProtocol, ""},
		{"a series that runs backwards", [][]byte{helloOf(nil), doneOf(0, func(d *done) { d.Series = [][2]int64{{2, 2}, {1, 2}} })}, ErrProtocol, "backwards"},
		{"a flood of signals", [][]byte{helloOf(nil), flood(kindSignal, make([]byte, 100))}, ErrProtocol, "too many signals"},
		{"a signal without a number", [][]byte{helloOf(nil), appendFrame(nil, kindSignal, []byte{1})}, ErrProtocol, "SIGNAL"},
		{"answers that nobody asked for", [][]byte{helloOf(nil), flood(kindPong, make([]byte, 8)), flood(kindCount, make([]byte, 8))}, ErrPeerGone, "silent"},
		{"it gives up", [][]byte{helloOf(nil), failOf("failed", "I \x1b[31mgive up\n")}, nil, "the other side says: I [31mgive up"},
		{"it is interrupted", [][]byte{helloOf(nil), failOf("interrupted", "")}, ErrInterrupted, "interrupted"},
		{"FAIL without a word", [][]byte{helloOf(nil), appendFrame(nil, kindFail, []byte("{}"))}, ErrProtocol, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := playing(t, nil, false, c.says...)
			if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %v, want %v that says %q", err, c.want, c.text)
			}
			if err != nil && strings.ContainsAny(err.Error(), "\x1b\n") {
				t.Errorf("the error would change the terminal: %q", err)
			}
		})
	}
}

func flood(k kind, body []byte) []byte {
	var b []byte
	for range 1000 {
		b = appendFrame(b, k, body)
	}
	return b
}

// TestPeerDies: before, and in the middle.
func TestPeerDies(t *testing.T) {
	for name, says := range map[string][][]byte{"at once": nil, "after its hello": {helloOf(nil)}, "in the first step": {helloOf(nil), doneOf(0, nil)}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := playing(t, nil, true, says...); !errors.Is(err, ErrPeerGone) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestHostileData: what a peer may do on the connection that is measured. It is the
// transport that fails, on both sides.
func TestHostileData(t *testing.T) {
	huge := []byte{byte(kindData), 0xff, 0xff, 0xff}
	pong := appendFrame(nil, kindPong, binary.BigEndian.AppendUint64(nil, 0))
	cases := []struct {
		name string
		says []byte
		want string
	}{
		{"closes", nil, "the connection"},
		{"pongs before pings", pong, "PONG"},
		{"another pong", appendFrame(nil, kindPong, binary.BigEndian.AppendUint64(nil, 9)), "PONG"},
		{"data", appendFrame(nil, kindData, []byte{1}), "DATA"},
		{"a length that lies", huge, "16777215"},
		{"END at once", appendFrame(nil, kindEnd, nil), "END"},
		{"garbage", []byte("GET / HTTP/1.1\r\n"), "protocol violation"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rep, err := playing(t, func(ctx context.Context, _ *Signals) (net.Conn, error) {
				a, b := tcpPair(t)
				b.Write(c.says) //nolint:errcheck // small enough
				if c.says == nil {
					b.Close()
				}
				return a, nil
			}, false, helloOf(nil), doneOf(0, nil))
			if err != nil || len(rep.Results) != 1 || rep.Results[0].Err == nil || !strings.Contains(rep.Results[0].Err.Error(), c.want) {
				t.Fatalf("results %+v, error %v, want one that says %q", rep.Results, err, c.want)
			}
		})
	}
}

// TestParserRefuses: data after its end, and other frames among it.
func TestParserRefuses(t *testing.T) {
	for _, b := range [][]byte{
		appendFrame(appendFrame(nil, kindEnd, nil), kindData, []byte{1}),
		appendFrame(nil, kindPing, make([]byte, pingSize)),
		{byte(kindData), 0xff, 0, 0}, {0, 0, 0, 0},
	} {
		var p parser
		if _, err := p.feed(b); !errors.Is(err, ErrProtocol) {
			t.Errorf("%x: error %v", b, err)
		}
	}
}

// TestInterrupted: ctx ends Run at any moment, and the other side is told.
func TestInterrupted(t *testing.T) {
	for _, phase := range []Phase{PhaseDial, PhasePing, PhaseSend, PhaseReceive} {
		t.Run(string(phase), func(t *testing.T) {
			t.Parallel()
			a, b := tcpPair(t)
			m := newMarket(t, tcpPair)
			ctx, cancel := context.WithCancel(t.Context())
			o := &Options{Time: time.Second, Transports: []Transport{{Name: "tcp", Dial: m.dial}}}
			cuts := *o
			cuts.Trace = &Trace{Step: func(s Step) {
				if s.Phase == phase {
					cancel()
				}
			}}
			ended := make(chan error, 1)
			go func() {
				_, err := Run(t.Context(), b, o)
				b.Close()
				ended <- err
			}()
			began := time.Now()
			_, err := Run(ctx, a, &cuts)
			a.Close()
			if took := time.Since(began); !errors.Is(err, context.Canceled) || took > 8*time.Second {
				t.Errorf("error %v after %v", err, took)
			}
			if err := <-ended; !errors.Is(err, ErrInterrupted) {
				t.Errorf("the other side's error is %v", err)
			}
		})
	}
}

// TestPeerStalls: a peer that is alive, and takes nothing, is given up.
func TestPeerStalls(t *testing.T) {
	t.Parallel()
	a, b := pipePair(t)
	go func() {
		b.Write(helloOf(nil)) //nolint:errcheck // fails in the end
		for {
			if _, err := b.Write(appendFrame(nil, kindPing, make([]byte, pingSize))); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	o := &Options{Silence: 500 * time.Millisecond, Transports: []Transport{{Name: "tcp", Dial: newMarket(t, tcpPair).dial}}}
	if _, err := Run(t.Context(), a, o); !errors.Is(err, ErrPeerGone) || !strings.Contains(err.Error(), "taken nothing") {
		t.Errorf("error %v", err)
	}
	a.Close()
}
