package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/pair"
)

func TestWelcome(t *testing.T) {
	asks, trusts, takesAll := door{terminal: true}, door{trust: true}, door{yes: true}
	trustsOrAsks, takesAllOrAsks := door{trust: true, terminal: true}, door{yes: true, terminal: true}
	const strange, known, changed = standsUnknown, standsKnown, standsChanged
	cases := []struct {
		name    string
		door    door
		stands  standing
		theirs  word
		shunned bool
		want    word
		words   bool // to compare
		accepts bool // without asking
	}{
		{"asks: known", asks, known, wordKnown, false, wordKnown, false, false},
		{"asks: known, who does not know us", asks, known, wordStranger, false, wordKnown, true, false},
		{"asks: stranger", asks, strange, wordStranger, false, wordStranger, true, false},
		{"asks: stranger, who knows us", asks, strange, wordKnown, false, wordStranger, true, false},
		{"asks: changed", asks, changed, wordKnown, false, wordStranger, true, false},
		{"asks: shunned", asks, known, wordKnown, true, wordLater, false, false},
		{"trusts: known", trusts, known, wordKnown, false, wordKnown, false, true},
		{"trusts: known, who does not know us", trusts, known, wordStranger, false, wordNobody, true, true},
		{"trusts: stranger", trusts, strange, wordStranger, false, wordNobody, true, false},
		{"trusts: changed", trusts, changed, wordStranger, false, wordNobody, true, false},
		{"trusts or asks: known", trustsOrAsks, known, wordKnown, false, wordKnown, false, true},
		{"trusts or asks: stranger", trustsOrAsks, strange, wordStranger, false, wordStranger, true, false},
		{"trusts or asks: changed", trustsOrAsks, changed, wordKnown, false, wordStranger, true, false},
		{"takes all: known", takesAll, known, wordKnown, false, wordKnown, false, true},
		{"takes all: known, who does not know us", takesAll, known, wordStranger, false, wordKnown, true, true},
		{"takes all: stranger", takesAll, strange, wordStranger, false, wordStranger, true, true},
		{"takes all: changed", takesAll, changed, wordStranger, false, wordNobody, true, false},
		{"takes all or asks: changed", takesAllOrAsks, changed, wordStranger, false, wordStranger, true, false},
		{"takes all: shunned", takesAll, strange, wordStranger, true, wordLater, true, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			g := &guest{stands: c.stands}
			if got := c.door.welcome(g, c.theirs, c.shunned); got != c.want || g.words != c.words {
				t.Errorf("got the word %#x and words %v, want %#x and %v", got, g.words, c.want, c.words)
			}
			if got := c.door.accepts(g); got != c.accepts {
				t.Errorf("accepts %v, want %v", got, c.accepts)
			}
		})
	}
}

// What is held against a guest, and how long a question about it stands.
func TestMind(t *testing.T) {
	cases := []struct {
		err  error
		want bool
	}{
		{fmt.Errorf("%w: %w", pair.ErrNotConfirmed, errSaidNo), true},
		{fmt.Errorf("%w: %w", pair.ErrNotConfirmed, errNobodyAnswered), true},
		{unconfirmed(fmt.Errorf("%w: %w", pair.ErrNotConfirmed, errGuestSilent)), true},
		{pair.ErrNotConfirmed, false}, // by the other side
		{unconfirmed(io.ErrUnexpectedEOF), false},
		{context.Canceled, false},
	}
	for _, c := range cases {
		w, g := &waiter{}, &guest{key: keyOf(1)}
		w.mind(g, c.err)
		if got := w.shy.shuns(time.Now(), g); got != c.want {
			t.Errorf("%v: ignored %v, want %v", c.err, got, c.want)
		}
	}
	for trust, want := range map[bool]time.Duration{false: answerTime, true: strangeTime} {
		d := door{terminal: true, trust: trust}
		if got := d.asksFor(&guest{}); got != want {
			t.Errorf("trust %v: a question about a stranger stands %v, want %v", trust, got, want)
		}
		if got := d.asksFor(&guest{stands: standsKnown}); got != answerTime {
			t.Errorf("trust %v: a question about a friend stands %v", trust, got)
		}
	}
}

func TestShunning(t *testing.T) {
	now := time.Unix(1e9, 0)
	address := func(n byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 1, n}) }
	someone := func(n int, stands standing) *guest {
		return &guest{key: keyOf(n), from: address(byte(n)), stands: stands}
	}
	var s shunning
	want := func(g *guest, yes bool) {
		t.Helper()
		if s.shuns(now, g) != yes {
			t.Errorf("shunned: %v, want %v", !yes, yes)
		}
	}
	anna, eve := someone(1, standsKnown), someone(2, standsUnknown)
	want(anna, false)
	want(eve, false)

	// Each time is twice as long as the one before.
	for _, d := range []time.Duration{1, 2, 4, 8} {
		s.refused(now, anna)
		now = now.Add(d*time.Minute - time.Second)
		want(anna, true)
		now = now.Add(time.Second)
		want(anna, false)
	}
	for range 100 {
		s.refused(now, anna)
	}
	now = now.Add(maxShun)
	want(anna, false)
	s.refused(now, anna)
	s.forgive(anna)
	want(anna, false)
	s.refused(now, anna)
	now = now.Add(time.Minute)
	want(anna, false)
	now = now.Add(shunMemory + time.Second)
	s.refused(now, anna)
	now = now.Add(time.Minute)
	want(anna, false) // the time before was too long ago

	// A stranger with another key is known by its address, and with another address by its key.
	s.refused(now, eve)
	want(&guest{key: keyOf(20), from: eve.from}, true)
	want(&guest{key: eve.key, from: address(99)}, true)
	want(&guest{key: keyOf(20), from: address(99)}, false)
	want(&guest{key: anna.key, from: eve.from, stands: standsKnown}, false)

	// With many keys and addresses, all strangers are.
	s.refused(now, someone(3, standsUnknown))
	want(someone(50, standsUnknown), false)
	s.refused(now, someone(4, standsChanged))
	want(someone(50, standsUnknown), true)
	want(someone(50, standsChanged), true)
	want(anna, false)
	now = now.Add(firstShun)
	want(someone(50, standsUnknown), false)

	// Unless a person says yes to one.
	s.refused(now, someone(5, standsUnknown))
	want(someone(50, standsUnknown), true)
	s.welcomed()
	want(someone(50, standsUnknown), false)
	want(someone(5, standsUnknown), true)

	// Who breaks off may do so a few times, and counts for others hardly.
	now = now.Add(maxShun + shunMemory)
	for n := range patience {
		for range patience {
			want(someone(100+n, standsUnknown), false)
			s.brokeOff(now, someone(100+n, standsUnknown))
		}
	}
	want(someone(100, standsUnknown), true)
	want(someone(50, standsUnknown), true)
	s.welcomed()
	want(someone(50, standsUnknown), false)
	s.forgive(someone(100, standsUnknown))
	want(someone(100, standsUnknown), false)
	want(someone(101, standsUnknown), true)
	for range patience {
		want(anna, false)
		s.brokeOff(now, anna)
	}
	want(anna, true)

	for n := range 2 * maxShunned {
		s.refused(now, &guest{key: keyOf(n), from: netip.AddrFrom4([4]byte{10, 1, byte(n >> 8), byte(n)})})
	}
	if len(s.of) > maxShunned {
		t.Errorf("%d are remembered", len(s.of))
	}
}

// A round ends when strangers sit on their connections, and those who did are ignored.
func TestRound(t *testing.T) {
	ended := 0
	r := &round{waiter: &waiter{}, end: func() { ended++ }, guests: map[string]*guest{}, strangers: map[netip.Addr]int{}}
	letIn := func(n int, since time.Duration, words bool) (*guest, error) {
		conn, _ := net.Pipe()
		g := &guest{key: keyOf(n), from: netip.AddrFrom4([4]byte{10, 0, 1, byte(n)}), since: time.Now().Add(-since), words: words, conn: conn}
		return g, r.letIn(g, []byte{byte(n), byte(len(r.guests))})
	}
	for i := range maxOfStranger + 1 {
		if _, err := letIn(1, time.Hour, true); (err == nil) != (i < maxOfStranger) {
			t.Errorf("connection %d of a stranger: %v", i, err)
		}
	}
	for n := 2; n <= maxStrangers+1; n++ {
		if _, err := letIn(n, time.Hour, true); (err == nil) != (n <= maxStrangers) {
			t.Errorf("stranger %d: %v", n, err)
		}
	}
	known, err := letIn(50, time.Hour, false)
	if err != nil || ended != 0 {
		t.Errorf("somebody known is kept out: %v, ended %d times", err, ended)
	}
	r = &round{waiter: &waiter{}, end: r.end, guests: map[string]*guest{}, strangers: map[netip.Addr]int{}}
	letIn(50, time.Hour, false) //nolint:errcheck // seen above
	if r.timer != nil {
		t.Error("somebody known has no time")
	}
	sits, _ := letIn(1, time.Hour, true)
	fresh, _ := letIn(2, 0, true)
	left, _ := letIn(3, time.Hour, true)
	left.conn.Close() // as the engine does when the other side hangs up
	if r.timer == nil || !r.timer.Stop() {
		t.Error("strangers have all time")
	}
	r.tire()
	if _, err := r.over(nil, context.Canceled); !errors.Is(err, errStrangers) || !nobodys(err) || ended != 1 {
		t.Errorf("got %v, ended %d times, want %v", err, ended, errStrangers)
	}
	for g, want := range map[*guest]bool{known: false, sits: true, fresh: false, left: false} {
		if got := r.shy.shuns(time.Now(), g); got != want {
			t.Errorf("%v is ignored: %v, want %v", g.from, got, want)
		}
	}
	r.failed = nil
	for n := range maxGuests {
		r.guests[fmt.Sprint(n)] = known
	}
	if _, err := letIn(60, 0, false); !errors.Is(err, errCrowd) || ended != 2 {
		t.Errorf("one too many: %v, ended %d times", err, ended)
	}
	if _, err := r.over(nil, context.Canceled); !nobodys(err) {
		t.Errorf("a round with too many ends with %v", err)
	}
}

func TestGreet(t *testing.T) {
	for _, answer := range []word{wordStranger, wordKnown, wordNobody, wordLater, wordNo + 9} {
		a, b := net.Pipe()
		heard := make(chan word, 1)
		go func() {
			greet(t.Context(), b, false, func(theirs word) word { //nolint:errcheck // seen at the other end
				heard <- theirs
				return answer
			})
		}()
		theirs, err := greet(t.Context(), a, true, func(word) word { return wordKnown })
		if err != nil || theirs != answer || <-heard != wordKnown {
			t.Errorf("got %#x, %v, want %#x", theirs, err, answer)
		}
		if no := errors.Is(theirs.refusal(), errTurnedAway); no != (answer >= wordNo) {
			t.Errorf("%#x: a no is %v", answer, no)
		}
	}
}

// What is waited for ends with the context, also one that had ended before.
func TestGreetEnds(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, wait := range map[string]func(net.Conn){
		"greet":    func(c net.Conn) { greet(ended, c, false, func(word) word { return wordKnown }) }, //nolint:errcheck // seen below
		"turnAway": func(c net.Conn) { turnAway(ended, c) },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := net.Pipe()
			defer b.Close()
			a.SetDeadline(time.Unix(1, 0)) //nolint:errcheck // by whoever watches the context
			began := time.Now()
			wait(a)
			if took := time.Since(began); took > time.Second {
				t.Errorf("took %v", took)
			}
			if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the deadline is lifted: %v", err)
			}
		})
	}
}

func TestHear(t *testing.T) {
	cases := []struct {
		says string
		no   bool
		want error
	}{
		{"\x01\x01", false, nil},
		{"\x01\x02and more", true, nil},
		{"\x01\x81", true, nil},
		{"\x01\x81", false, pair.ErrProtocol},
		{"\x01\x00", true, pair.ErrProtocol},
		{"\x01\x03", true, pair.ErrProtocol},
		{"\x02\x01", true, pair.ErrVersion},
		{"\x01", true, io.ErrUnexpectedEOF},
		{"", true, io.EOF},
	}
	for _, c := range cases {
		if w, err := hear(bytes.NewBufferString(c.says), c.no); !errors.Is(err, c.want) || (err == nil) == (w == 0) {
			t.Errorf("%q: got %#x, %v, want %v", c.says, w, err, c.want)
		}
	}
}

func FuzzHear(f *testing.F) {
	f.Add([]byte{greetVersion, byte(wordKnown)}, false)
	f.Add([]byte{greetVersion, byte(wordLater)}, true)
	f.Fuzz(func(t *testing.T, says []byte, no bool) {
		w, err := hear(bytes.NewReader(says), no)
		if is := w == wordStranger || w == wordKnown || no && w >= wordNo; is != (err == nil) || err != nil && w != 0 {
			t.Errorf("%x: got %#x, %v", says, w, err)
		}
	})
}
