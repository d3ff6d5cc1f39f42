package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/tcppunch/tcppunch/tcppunch/pair"
)

func TestCompleteCode(t *testing.T) {
	cases := []struct{ line, want string }{
		{"", ""},
		{"482", "482"},         // only the server knows rooms
		{"abd", "abd"},         // nor is this a word yet
		{"4821-", "4821-"},     // all words would do
		{"4821-a", "4821-a"},   // many
		{"4821-ab", "4821-ab"}, // several, which differ in the next letter
		{"4821-abd", "4821-abdomen-"},
		{"4821-abdomen", "4821-abdomen-"},
		{"4821 abd", "4821 abdomen-"},
		{"4821-ABD", "4821-abdomen-"},
		{"4821-abdomen-yog", "4821-abdomen-yogurt"},
		{"4821-abdomen-yogurt", "4821-abdomen-yogurt"},
		{"4821-abdomen-zoo", "4821-abdomen-zookeeper"},
		{"4821-abdomen-qqq", "4821-abdomen-qqq"},
		{"4821-abdomen-\x00", "4821-abdomen-\x00"},
	}
	for _, c := range cases {
		if got := completeCode(c.line); got != c.want {
			t.Errorf("%q is completed to %q, want %q", c.line, got, c.want)
		}
	}
}

func TestReceiveCommand(t *testing.T) {
	cases := []struct {
		code, server string
		typed        bool
		want         string
	}{
		{"4821-otter-lamp", "example.org", false, "tcppunch recv 4821-otter-lamp"},
		{"4821-otter-lamp", "example.org", true, "tcppunch recv 4821-otter-lamp --server example.org"},
		{"4821-otter-lamp", "https://example.org/a", true, "tcppunch recv 4821-otter-lamp --server https://example.org/a"},
		{"home-it's-größer", "[2001:db8::1]", true, `tcppunch recv 'home-it'\''s-größer' --server '[2001:db8::1]'`},
		{"home-$HOME-`id`;x", "a", false, "tcppunch recv 'home-$home-`id`;x'"},
	}
	for _, c := range cases {
		code, err := pair.ParseCode(c.code)
		if err != nil {
			t.Fatal(err)
		}
		f := &codeFlags{serverFlags: serverFlags{Server: c.server}, serverTyped: c.typed}
		if got := f.commandFor("recv", code); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

func TestServerFlags(t *testing.T) {
	cases := []struct {
		server, host string
		stun         []string // without --stun
	}{
		{"", "", publicSTUN},
		{"example.org", "example.org", []string{"example.org:3478", "example.org:3479"}},
		{" example.org:99 ", "example.org", []string{"example.org:3478", "example.org:3479"}},
		{"https://example.org/rooms", "example.org", []string{"example.org:3478", "example.org:3479"}},
		{"2001:db8::1", "2001:db8::1", []string{"[2001:db8::1]:3478", "[2001:db8::1]:3479"}},
		{"[2001:db8::1]:99", "2001:db8::1", []string{"[2001:db8::1]:3478", "[2001:db8::1]:3479"}},
		{"ws://[2001:db8::1]", "2001:db8::1", []string{"[2001:db8::1]:3478", "[2001:db8::1]:3479"}},
	}
	for _, c := range cases {
		f := &serverFlags{Server: c.server}
		if host, err := f.host(); host != c.host || err != nil {
			t.Errorf("%q: host %q, %v, want %q", c.server, host, err, c.host)
		}
		if got := f.stun(nil); !slices.Equal(got, c.stun) {
			t.Errorf("%q: STUN servers %q, want %q", c.server, got, c.stun)
		}
		if got := f.stun([]string{"192.0.2.1"}); !slices.Equal(got, []string{"192.0.2.1:3478"}) {
			t.Errorf("%q: STUN servers %q, although others were given", c.server, got)
		}
	}
	for _, s := range []string{"ftp://example.org", "http://", "a b", ":99", "%"} {
		if host, err := (&serverFlags{Server: s}).host(); err == nil {
			t.Errorf("%q: host %q", s, host)
		}
	}
}

// TestQRLines: a square with its quiet zone, whose corners are those of a QR code.
func TestQRLines(t *testing.T) {
	for _, text := range []string{"x", "tcppunch recv 4821-otter-lamp", strings.Repeat("long ", maxQR/5)} {
		lines := qrLines(text)
		width := utf8.RuneCountInString(lines[0])
		if (width-4-17)%4 != 0 || len(lines) != (width+1)/2 {
			t.Errorf("%d bytes: %d lines of %d", len(text), len(lines), width)
		}
		for _, l := range lines {
			if utf8.RuneCountInString(l) != width || strings.Trim(l, " ▀▄█") != "" {
				t.Errorf("%d bytes: line %q", len(text), l)
			}
		}
		if !strings.HasPrefix(lines[1], "██ ▄▄▄▄▄ █") || !strings.HasSuffix(lines[1], "█ ▄▄▄▄▄ ██") {
			t.Errorf("%d bytes: the corners look like %q", len(text), lines[1])
		}
	}
}

// TestServerWatch: a lost connection is told if it lasts, once, and so is its return.
func TestServerWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out, _, human := captured(t)
		w := &serverWatch{out: out, server: "example.org"}
		trace := w.trace()
		wait := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
		}
		lost := errors.New("lost")
		trace.Disconnected(lost) // back before anybody notices
		wait(quietTime - 1)
		trace.Rejoined()
		wait(time.Hour)
		if human.Len() > 0 || w.isLost() {
			t.Errorf("told %q", human)
		}
		trace.Disconnected(lost) // for long
		trace.Failed(lost)
		wait(quietTime + 1)
		trace.Failed(lost)
		wait(time.Hour)
		if !w.isLost() {
			t.Error("not lost")
		}
		trace.Rejoined()
		want := "Warning: the server example.org cannot be reached; still trying …\nThe server example.org is back.\n"
		if human.String() != want || w.isLost() {
			t.Errorf("told %q, want %q", human, want)
		}
		trace.Disconnected(lost) // when nobody is interested any more
		w.stop()
		wait(time.Hour)
		trace.Disconnected(lost)
		wait(time.Hour)
		if human.String() != want {
			t.Errorf("told %q after the end", human)
		}
	})
}

// TestReadLine: one line, of what may not end, or nothing.
func TestReadLine(t *testing.T) {
	cases := []struct{ in, want string }{
		{"", ""},
		{"\n", ""},
		{" 4821-otter-lamp \r\nmore", "4821-otter-lamp"},
		{"4821-otter-lamp", "4821-otter-lamp"},
	}
	for _, c := range cases {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		w.WriteString(c.in)
		w.Close()
		if got, err := readLine(t.Context(), r); got != c.want || err != nil {
			t.Errorf("%q: read %q, %v, want %q", c.in, got, err, c.want)
		}
		r.Close()
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	go func() {
		w.WriteString(strings.Repeat("x", 1<<16))
		w.Close()
	}()
	if got, err := readLine(t.Context(), r); len(got) > 4096 || err != nil {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	silent, never, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	defer never.Close() // ends the reading
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if got, err := readLine(ctx, silent); got != "" || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("read %q, %v from what says nothing", got, err)
	}
}
