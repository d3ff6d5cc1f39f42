package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tcppunch/tcppunch/lanfind"
	"github.com/tcppunch/tcppunch/tcppunch/pair"
)

// newSearch is a search for anna, who is known by a key, and what its screen and its events
// show.
func newSearch(t *testing.T) (c *contact, said func() string) {
	t.Helper()
	configHere(t)
	if _, err := meetPeer("anna", keyOf(1)); err != nil {
		t.Fatal(err)
	}
	out, events, human := captured(t)
	w := &toWay{common: &cli{Timeout: time.Minute}, typed: "anna", called: "anna", meant: addressee{key: keyOf(1)}, out: out}
	c = newContact(w)
	c.key, c.stands, c.began, c.end = keyOf(1), standsKnown, time.Now(), func() {}
	return c, func() string { return events.String() + human.String() }
}

func waiting(id, name string, key pair.PublicKey) lanfind.Peer {
	return lanfind.Peer{ID: id, Name: name, Key: key.String()}
}

// failure is how the search has ended, or "".
func (c *contact) failure() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == nil {
		return ""
	}
	return classify(c.failed).code
}

// TestPretender: somebody has the name of who is known, and another key.
func TestPretender(t *testing.T) {
	anna, other := waiting("1", "anna", keyOf(1)), waiting("2", "Anna", keyOf(2))
	type step struct {
		after time.Duration
		kind  lanfind.Kind
		peer  lanfind.Peer
	}
	cases := []struct {
		name   string
		proven bool // in this run
		steps  []step
		want   string
	}{
		{"it stays", false, []step{{0, lanfind.Found, other}}, "key-changed"},
		{"under a name that would be remembered so", false, []step{{0, lanfind.Found, waiting("2", "#anna@home", keyOf(2))}}, "key-changed"},
		{"anna comes", false, []step{{0, lanfind.Found, other}, {changeTime - time.Second, lanfind.Found, anna}}, ""},
		{"anna goes", false, []step{{0, lanfind.Found, other}, {0, lanfind.Found, anna}, {time.Minute, lanfind.Gone, anna}}, "key-changed"},
		{"it goes", false, []step{{0, lanfind.Found, other}, {changeTime - time.Second, lanfind.Gone, other}}, ""},
		{"it takes another name", false, []step{{0, lanfind.Found, other}, {time.Second, lanfind.Changed, waiting("2", "ben", keyOf(2))}}, ""},
		{"it is sending something", false, []step{{0, lanfind.Found, lanfind.Peer{ID: "2", Name: "anna", Room: "to-x", Key: keyOf(2).String()}}}, ""},
		{"after a break", true, []step{{0, lanfind.Found, other}}, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			search, said := newSearch(t)
			if c.proven {
				search.peer = search.key
			}
			synctest.Test(t, func(t *testing.T) {
				search.began = time.Now()
				for _, s := range c.steps {
					time.Sleep(s.after)
					search.heard(lanfind.Event{Kind: s.kind, Peer: s.peer})
				}
				time.Sleep(6 * time.Second) // as long as a sweep takes
				if got := search.failure(); got != "" {
					t.Errorf("already %s", got)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if search.doubt != nil {
					search.doubt.Stop()
				}
			})
			if got := search.failure(); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if alarm := strings.Contains(said(), "HAS CHANGED") && strings.Contains(said(), `"identity","name":"anna"`); alarm != (c.want != "") {
				t.Errorf("said %s", said())
			}
		})
	}
}

// TestLate: what the end of the time for a search means.
func TestLate(t *testing.T) {
	other := waiting("2", "anna", keyOf(2))
	cases := []struct {
		name      string
		proven    bool // in this run
		reached   bool // by a connection that was not chosen in time
		stands    standing
		impostors int
		here      []lanfind.Peer
		want      string
		advice    string // begins so
	}{
		{"nobody", false, false, standsKnown, 0, nil, "timeout", "on the other machine"},
		{"a connection with another key", false, false, standsKnown, 3, nil, "timeout", ""},
		{"the same, of a stranger", false, false, standsUnknown, 3, nil, "bad-peer", ""},
		{"who announces the key", false, false, standsKnown, 3, []lanfind.Peer{waiting("2", "anna", keyOf(1))}, "timeout", ""},
		{"who announces another key", false, false, standsKnown, 3, []lanfind.Peer{other}, "key-changed", "if that is as it should be"},
		{"the same, without a connection", false, false, standsKnown, 0, []lanfind.Peer{other}, "key-changed", "if that is as it should be"},
		{"the same, and she is there", false, false, standsKnown, 3, []lanfind.Peer{other, waiting("1", "ann", keyOf(1))}, "timeout", ""},
		{"the same, and she was reached", false, true, standsKnown, 3, []lanfind.Peer{other}, "timeout", ""},
		{"all of it after a break", true, false, standsKnown, 3, []lanfind.Peer{other}, "timeout", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			search, _ := newSearch(t)
			if search.stands, search.impostors = c.stands, c.impostors; c.proven {
				search.peer = search.key
			}
			if c.reached {
				search.words["x"] = wordKnown
			}
			for _, p := range c.here {
				search.note(lanfind.Event{Kind: lanfind.Found, Peer: p})
			}
			f := classify(search.late(context.DeadlineExceeded))
			if f.code != c.want || !strings.HasPrefix(f.advice, c.advice) || c.advice == "" && f.advice != "" {
				t.Errorf("got %s: %v; %q", f.code, f, f.advice)
			}
			if c.proven && untrusted(f) {
				t.Errorf("%v ends the search", f)
			}
		})
	}
}

// TestMatch: of two programs with one key, the one that was meant, while it is there.
func TestMatch(t *testing.T) {
	desk, door := waiting("aaaa000000000001", "desk", keyOf(1)), waiting("aaaa000000000002", "door", keyOf(1))
	stranger := waiting("aaaa000000000003", "door", keyOf(2))
	cases := []struct {
		name string
		by   means
		here []lanfind.Peer
		at   time.Duration // since the search began
		want string        // who match
	}{
		{"by key", byKey, []lanfind.Peer{desk, door, stranger}, 0, "desk door"},
		{"by name", byName, []lanfind.Peer{desk, door, stranger}, time.Hour, "door"},
		{"by the ID", byID, []lanfind.Peer{desk, door, stranger}, time.Hour, "door"},
		{"by the ID, which two have", byID, []lanfind.Peer{desk, waiting(door.ID+"#2", "bell", keyOf(1))}, time.Hour, "bell"},
		{"by name, and not there yet", byName, []lanfind.Peer{desk, stranger}, changeTime - 1, ""},
		{"by name, and not there", byName, []lanfind.Peer{desk, stranger}, changeTime, "desk"},
		{"by the ID, and not there yet", byID, []lanfind.Peer{desk}, 0, ""},
		{"by the ID, and not there", byID, []lanfind.Peer{desk}, changeTime, "desk"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			search, _ := newSearch(t)
			search.meant, search.by = addressee{door.ID, door.Name, keyOf(1)}, c.by
			synctest.Test(t, func(t *testing.T) {
				search.began = time.Now()
				for _, p := range c.here {
					search.note(lanfind.Event{Kind: lanfind.Found, Peer: p})
				}
				time.Sleep(c.at)
				var got []string
				for _, p := range c.here {
					if search.match(p) {
						got = append(got, p.Name)
					}
				}
				if strings.Join(got, " ") != c.want {
					t.Errorf("got %v, want %s", got, c.want)
				}
			})
		})
	}
}

// TestLookFit: whoever does not match is kept, as that may change with others.
func TestLookFit(t *testing.T) {
	out, _, _ := captured(t)
	gone := false
	l := &lanLook{out: out, match: func(p lanfind.Peer) bool { return p.ID == "meant" || gone }}
	l.heard = func(e lanfind.Event) { gone = gone || e.Kind == lanfind.Gone }
	known := map[string]*neighbour{}
	fit := func() (all []string) {
		for id, n := range known {
			if !n.other {
				all = append(all, id)
			}
		}
		slices.Sort(all)
		return all
	}
	for _, s := range []struct {
		kind lanfind.Kind
		id   string
		want []string
	}{
		{lanfind.Found, "other", nil},
		{lanfind.Found, "meant", []string{"meant"}},
		{lanfind.Changed, "other", []string{"meant"}},
		{lanfind.Gone, "meant", []string{"other"}},
	} {
		l.take(known, lanfind.Event{Kind: s.kind, Peer: lanfind.Peer{ID: s.id}})
		if got := fit(); !slices.Equal(got, s.want) {
			t.Errorf("after %v %s: got %v, want %v", s.kind, s.id, got, s.want)
		}
	}
	gone = false
	l.fit(known)
	if got := fit(); len(got) > 0 {
		t.Errorf("got %v, and nobody matches", got)
	}
}

func TestSettles(t *testing.T) {
	anna := addressee{"1", "anna", keyOf(1)}
	for _, c := range []struct {
		of   whom
		want time.Duration
	}{
		{whom{}, 0},
		{whom{found: &anna}, settleTime},
		{whom{several: []addressee{anna, anna}}, settleTime},
		{whom{changed: &anna}, changeTime}, // even if another one was found just before
	} {
		if got := c.of.settles(); got != c.want {
			t.Errorf("%v: got %v, want %v", c.of, got, c.want)
		}
	}
}

// TestUnchecked: with --yes alone nobody is remembered.
func TestUnchecked(t *testing.T) {
	cases := []struct {
		due, yes bool
		stands   standing
		want     bool
	}{
		{true, true, standsUnknown, true},
		{true, true, standsKnown, true},    // the other side does not know this one
		{true, true, standsChanged, false}, // which is asked about all the same
		{true, false, standsUnknown, false},
		{true, false, standsChanged, false},
		{false, true, standsKnown, false},
		{false, false, standsKnown, false},
	}
	for _, c := range cases {
		if got := unchecked(c.due, c.yes, c.stands); got != c.want {
			t.Errorf("due %v, --yes %v, %v: got %v", c.due, c.yes, c.stands, got)
		}
	}
}

func TestRemember(t *testing.T) {
	configHere(t)
	cases := []struct {
		name             string
		key              int
		known, unchecked bool
		called, says     string
	}{
		{"anna", 1, false, true, "anna", "anna is not remembered, as nobody here has compared the check words."},
		{"anna", 2, false, false, "anna", "anna is remembered. From now on its key is enough."},
		{"anna", 2, true, false, "anna", ""},
		{"anna", 2, true, true, "anna", ""},
		{"anna", 3, false, false, "anna-2", "anna is remembered as anna-2, as another one has that name."},
		{"#carl@home", 4, false, false, "carl", "#carl@home is remembered as carl. From now on its key is enough."},
	}
	for _, c := range cases {
		out, _, human := captured(t)
		called := out.remember(c.name, keyOf(c.key), c.known, c.unchecked)
		if got := strings.TrimSpace(human.String()); called != c.called || got != c.says {
			t.Errorf("%s: called %q and said %q, want %q and %q", c.name, called, got, c.called, c.says)
		}
	}
	all, err := readKnown()
	if got := fmt.Sprint(len(all), err); got != "3 <nil>" {
		t.Errorf("got %s, want 3 who are known", got)
	}
}
