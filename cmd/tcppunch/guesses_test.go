package main

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
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
