package main

import (
	"errors"
	"net/netip"
	"sync"
)

const (
	// maxHostGuesses is how many wrong guesses at a code an address on the local network
	// has, and maxLANGuesses how many all of them together: each is one in 1.68 million.
	maxHostGuesses = 2
	maxLANGuesses  = 16
)

var (
	errHostGuesses = errors.New("whoever is at that address has had its guesses at the code")
	errLANGuesses  = errors.New("there were too many wrong guesses at the code on the local network")
)

// lanGuesses counts guesses at a code by neighbours, over all connections, in all attempts
// of a run: from before a guess can be tested until it has turned out to be none.
type lanGuesses struct {
	mu   sync.Mutex
	by   map[netip.Addr]int
	all  int
	told map[uint16]bool // of which programs, by their port: each may come from several addresses
}

// spend counts one of an address, or tells why there must not be another one.
func (g *lanGuesses) spend(a netip.Addr) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.all >= maxLANGuesses:
		return errLANGuesses
	case g.by[a] >= maxHostGuesses:
		return errHostGuesses
	}
	if g.by == nil {
		g.by = map[netip.Addr]int{}
	}
	g.by[a]++
	g.all++
	return nil
}

// giveBack takes back one that was right.
func (g *lanGuesses) giveBack(a netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.by[a]--
	g.all--
}

// wrong notes whose guess was wrong. It returns how many there were in all, and whether
// this is the program's first.
func (g *lanGuesses) wrong(a netip.AddrPort) (all int, first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.told == nil {
		g.told = map[uint16]bool{}
	}
	first = !g.told[a.Port()]
	g.told[a.Port()] = true
	return g.all, first
}

// spent tells whether there must be no more.
func (g *lanGuesses) spent() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.all >= maxLANGuesses
}
