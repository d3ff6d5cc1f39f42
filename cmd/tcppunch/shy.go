package main

import (
	"sync"
	"time"
)

const (
	// firstShun is how long somebody is ignored who was refused. Each further time is
	// twice as long as the one before.
	firstShun = time.Minute
	maxShun   = time.Hour
	// shunMemory is how long after that it counts as a further time.
	shunMemory = 10 * time.Minute
	// maxShunned bounds what is remembered.
	maxShunned = 1000
	// patience is how many strangers may be refused until all of them are ignored for a
	// while: keys cost nothing, and a neighbour may have many addresses. The same number of
	// times may somebody break off, whose network may be bad.
	patience = 3
)

// A shunning is the times for which those are ignored whom a person has refused, or who sit
// silent or break off again and again, so that nobody keeps the person busy. Who is known is
// ignored by key; a stranger also by address, and after some others for being one.
type shunning struct {
	mu sync.Mutex
	of map[any]shunned // guarded by mu
}

type shunned struct {
	times int
	until time.Time
}

// anyStranger stands for all of them.
type anyStranger struct{}

// brokenOff stands for somebody where it is counted how often it has broken off.
type brokenOff struct{ who any }

// refused notes that somebody was refused, or has sat silent.
func (s *shunning) refused(now time.Time, g *guest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(now, g.key, 0)
	if g.stands != standsKnown {
		s.add(now, g.from, 0)
		s.add(now, anyStranger{}, patience-1)
	}
}

// brokeOff notes that somebody was let in and has gone before there was an answer. A few times
// are nobody's fault.
func (s *shunning) brokeOff(now time.Time, g *guest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(now, brokenOff{g.key}, patience-1)
	if g.stands != standsKnown {
		s.add(now, brokenOff{g.from}, patience-1)
		s.add(now, brokenOff{anyStranger{}}, patience*patience-1)
	}
}

// add notes one more time, of which the first ones may be free.
func (s *shunning) add(now time.Time, who any, free int) {
	if s.of == nil {
		s.of = map[any]shunned{}
	}
	for other, e := range s.of {
		if now.After(e.until.Add(shunMemory)) {
			delete(s.of, other)
		}
	}
	e, old := s.of[who]
	if !old && len(s.of) >= maxShunned {
		return // anyStranger{} is there by then, of either sort
	}
	e.times++
	if e.until = now; e.times > free {
		e.until = now.Add(min(firstShun<<min(e.times-free-1, 10), maxShun))
	}
	s.of[who] = e
}

// shuns tells whether somebody is ignored now.
func (s *shunning) shuns(now time.Time, g *guest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	until := func(who any) bool { return now.Before(s.of[who].until) || now.Before(s.of[brokenOff{who}].until) }
	return until(g.key) || g.stands != standsKnown && (until(g.from) || until(anyStranger{}))
}

// forgive forgets that somebody was refused, who no longer is.
func (s *shunning) forgive(g *guest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, who := range []any{g.key, g.from} {
		delete(s.of, who)
		delete(s.of, brokenOff{who})
	}
}

// welcomed notes that a person has said yes to a stranger: not all of them are what those
// before were.
func (s *shunning) welcomed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.of, anyStranger{})
	delete(s.of, brokenOff{anyStranger{}})
}
