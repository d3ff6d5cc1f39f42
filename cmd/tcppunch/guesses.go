package main

import (
	"errors"
	"net/netip"
	"sync"

	"github.com/tcppunch/tcppunch/tcppunch/pair"
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

// counted runs an authentication with an address, unless there must be none, and counts it
// if it ends with a guess.
func (g *lanGuesses) counted(a netip.Addr, auth *pair.Auth, run func() error) error {
	if err := g.may(a); err != nil {
		return err // a handshake that could only end so is not worth its price
	}
	spent := false
	auth.Spend = func() error {
		err := g.spend(a)
		spent = err == nil
		return err
	}
	err := run()
	if spent && !pair.Guess(err) { // right, and maybe this side could not say so any more
		g.giveBack(a)
	}
	return err
}

// may tells why there must not be another guess of an address, or nil.
func (g *lanGuesses) may(a netip.Addr) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mayLocked(a)
}

func (g *lanGuesses) mayLocked(a netip.Addr) error {
	switch {
	case g.all >= maxLANGuesses:
		return errLANGuesses
	case g.by[a] >= maxHostGuesses:
		return errHostGuesses
	}
	return nil
}

// spend counts one of an address, or tells why there must not be another one.
func (g *lanGuesses) spend(a netip.Addr) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.mayLocked(a); err != nil {
		return err
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
