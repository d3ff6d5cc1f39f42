package main

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tcppunch/tcppunch/tcppunch/pair"
)

// TestLANGuesses: two of an address and sixteen in all, however many there are at once, and
// those that were right do not count.
func TestLANGuesses(t *testing.T) {
	host := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}) }
	var g lanGuesses
	for range 100 {
		if err := g.spend(host(1)); err != nil {
			t.Fatal(err)
		}
		g.giveBack(host(1))
	}
	for range maxHostGuesses {
		if err := g.spend(host(1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.spend(host(1)); !errors.Is(err, errHostGuesses) || g.spent() {
		t.Errorf("got %v, want %v", err, errHostGuesses)
	}
	var wg sync.WaitGroup
	var made atomic.Int32
	for i := range 200 {
		wg.Go(func() {
			if g.spend(host(2+i%100)) == nil {
				made.Add(1)
			}
		})
	}
	wg.Wait()
	if n := made.Load() + maxHostGuesses; n != maxLANGuesses || !g.spent() {
		t.Errorf("%d guesses in all, want %d", n, maxLANGuesses)
	}
	if err := g.spend(host(250)); !errors.Is(err, errLANGuesses) {
		t.Errorf("got %v, want %v", err, errLANGuesses)
	}
	a := netip.AddrPortFrom(host(1), 7)
	if all, first := g.wrong(a); all != maxLANGuesses || !first {
		t.Errorf("got %d and %t", all, first)
	}
	if _, first := g.wrong(a); first {
		t.Error("told twice of one program")
	}
}

// TestLANGuessesCounted: what counts is a guess, and not a connection that broke after the
// other side was right.
func TestLANGuessesCounted(t *testing.T) {
	broke := errors.New("the connection broke")
	cases := []struct {
		name  string
		spend bool
		err   error
		left  int // guesses that count
	}{
		{"right", true, nil, 0},
		{"wrong", true, pair.ErrWrongWords, 1},
		{"silent", true, pair.ErrUnproven, 1},
		{"right, and broken", true, broke, 0},
		{"broken before", false, broke, 0},
	}
	for _, c := range cases {
		var g lanGuesses
		a := netip.MustParseAddr("10.0.0.1")
		var auth pair.Auth
		err := g.counted(a, &auth, func() error {
			if c.spend {
				if err := auth.Spend(); err != nil {
					t.Fatal(err)
				}
			}
			return c.err
		})
		if !errors.Is(err, c.err) || g.all != c.left || g.by[a] != c.left {
			t.Errorf("%s: got %v and %d guesses, want %v and %d", c.name, err, g.all, c.err, c.left)
		}
	}
	var g lanGuesses
	a := netip.MustParseAddr("10.0.0.1")
	for range maxHostGuesses {
		g.spend(a) //nolint:errcheck // it may
	}
	if err := g.counted(a, new(pair.Auth), func() error { t.Error("it is tried"); return nil }); !errors.Is(err, errHostGuesses) {
		t.Errorf("got %v, want %v", err, errHostGuesses)
	}
}
