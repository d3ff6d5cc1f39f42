package main

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/tcppunch/tcppunch/lanfind"
	"github.com/tcppunch/tcppunch/tcppunch/pair"
)

// An addressee waits for files and says of itself, without proof:
type addressee struct {
	id   string // of the program
	name string
	key  pair.PublicKey
}

// toRoom is where a sender announces to wait: this, and the beginning of the receiver's
// key. Whoever waits for files knows by it that somebody comes to it.
const toRoom = "to-"

// roomTo is the room in which the owner of a key is waited for. 128 bits are more than
// anybody can make a key for, and leave room in a room.
func roomTo(key pair.PublicKey) string { return toRoom + hex.EncodeToString(key[:16]) }

// waitsForFiles tells who a peer is that waits for files from whoever knows its name.
func waitsForFiles(p lanfind.Peer) (addressee, bool) {
	key, err := pair.ParsePublicKey(p.Key)
	if err != nil || p.Room != "" {
		return addressee{}, false
	}
	id, _, _ := strings.Cut(p.ID, "#") // the number is this side's, where two claim one ID
	return addressee{id, pair.CleanName(p.Name), key}, true
}

// allWaiting are those of the peers who wait for files.
func allWaiting(peers map[string]lanfind.Peer) (here []addressee) {
	for _, p := range peers {
		if n, ok := waitsForFiles(p); ok {
			here = append(here, n)
		}
	}
	slices.SortFunc(here, func(a, b addressee) int { return strings.Compare(a.String()+a.id, b.String()+b.id) })
	return here
}

// String is what a person types to mean this one.
func (n addressee) String() string { return n.name + "@" + shortKey(n.key) }

// called is how a stranger is called on the screen.
func (n addressee) called() string { return cmp.Or(n.name, shortKey(n.key)) }

// A whom is who of those who are there is meant. At most one of found, several and changed
// is set.
type whom struct {
	found   *addressee
	by      means       // of found: what it was found by
	unsaid  *knownPeer  // whom found is known as, if that is not what was typed: ask whether it is meant
	several []addressee // strangers: it could be any of them
	changed *addressee  // who has the name of somebody known, and another key
}

func (c whom) none() bool { return c.found == nil && c.several == nil && c.changed == nil }

// A means is what somebody was found by. It tells apart programs that have one key.
type means int

const (
	byKey  means = iota // by that, or the name under which it is known: any of its programs will do
	byName              // that it announces
	byID                // of the program
)

// same tells whether a program is one that is meant as m was.
func (by means) same(m, n addressee) bool {
	switch by {
	case byName:
		return n.key == m.key && strings.EqualFold(n.name, m.name)
	case byID:
		return n.key == m.key && n.id == m.id
	}
	return n.key == m.key
}

// whoIs finds whom a person means. Who is known is meant by the name that they had when
// they were met, and is found by the key, whatever they call themselves today. Others are
// meant by the name that they announce, all of it, without regard to capitals; by the ID of
// the program; by as much of the name as only one has; or by one of these and, behind an @,
// the beginning of their key. Somebody known who is found by a name that anybody can announce
// must not get what is for another one: then the person is to be asked.
func whoIs(typed string, known knownPeers, here []addressee) whom {
	if p, ok := known.byName(typed); ok {
		return whoIsKnown(p, known, here)
	}
	name, digits := splitDigits(typed)
	of, by, beginning := matching(name, digits, here)
	if len(of) == 0 {
		return whom{}
	}
	sure := digits != "" || by == byID
	if p, ok := known.byName(pinnable(of[0].name)); ok && beginning && !sure && !slices.ContainsFunc(of, func(n addressee) bool { return !strings.EqualFold(n.name, of[0].name) }) {
		of := whoIsKnown(p, known, here)
		if of.found != nil {
			of.unsaid = &p
		}
		return of
	}
	if slices.ContainsFunc(of, func(n addressee) bool { return n.key != of[0].key }) {
		return whom{several: of}
	}
	is := whom{found: &of[0], by: by}
	if p, ok := known.byKey(of[0].key); ok && !sure {
		is.unsaid = &p
	}
	return is
}

// question asks whether somebody known is meant by what was typed.
func (c whom) question(typed string) string {
	if strings.EqualFold(pinnable(c.found.name), c.unsaid.name) {
		return fmt.Sprintf("Only %s, whom you know, is called like %s. Send to it?", c.unsaid.name, pair.CleanName(typed))
	}
	return fmt.Sprintf("%s is whom you know as %s. Send to it?", c.found.called(), c.unsaid.name)
}

// whoIsKnown finds somebody who is known: only who has the key will do.
func whoIsKnown(p knownPeer, known knownPeers, here []addressee) whom {
	var changed *addressee
	for _, n := range here {
		if n.key == p.key {
			return whom{found: &n}
		}
		if _, other := known.byKey(n.key); !other && strings.EqualFold(pinnable(n.name), p.name) {
			changed = &n
		}
	}
	return whom{changed: changed}
}

// leastDigits is how many digits of a key tell that it is meant.
const leastDigits = 4

// splitDigits splits what was typed into a name and the beginning of a key.
func splitDigits(typed string) (name, digits string) {
	i := strings.LastIndex(typed, "@")
	if i < 0 {
		return typed, ""
	}
	digits = strings.ToLower(strings.ReplaceAll(typed[i+1:], "-", ""))
	if len(digits) < leastDigits || strings.Trim(digits, "0123456789abcdef") != "" {
		return typed, ""
	}
	return typed[:i], digits
}

// matching are those who may be meant, and by what. beginning tells that it is only that of
// the name.
func matching(name, digits string, here []addressee) (of []addressee, by means, beginning bool) {
	only := func(yes func(addressee) bool) []addressee {
		return slices.DeleteFunc(slices.Clone(here), func(n addressee) bool {
			return !strings.HasPrefix(hex.EncodeToString(n.key[:]), digits) || !yes(n)
		})
	}
	if name == "" { // there are digits, or nobody is meant
		return only(func(addressee) bool { return digits != "" }), byKey, false
	}
	for _, way := range []struct {
		by        means
		beginning bool
		same      func(n addressee) bool
	}{
		{byName, false, func(n addressee) bool { return n.name == name }},
		{byName, false, func(n addressee) bool { return strings.EqualFold(n.name, name) }},
		{byID, false, func(n addressee) bool { return isID(name) && strings.EqualFold(n.id, name) }},
		{byName, true, func(n addressee) bool {
			return len(n.name) >= len(name) && strings.EqualFold(n.name[:len(name)], name)
		}},
	} {
		if of = only(way.same); len(of) > 0 {
			return of, way.by, way.beginning
		}
	}
	return nil, byKey, false
}

// isID tells whether that can be the ID of a program. Those that have none count as having
// one that is like a name.
func isID(s string) bool {
	return len(s) == 16 && strings.Trim(strings.ToLower(s), "0123456789abcdef") == ""
}

// maxListed is how many neighbours are listed in an error.
const maxListed = 5

// list names neighbours, each once.
func list(here []addressee) string {
	var names []string
	for _, n := range here {
		if s := n.String(); !slices.Contains(names, s) {
			names = append(names, s)
		}
	}
	if more := len(names) - maxListed; more > 0 {
		names = append(names[:maxListed], fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}

// ambiguous tells who could be meant.
func ambiguous(typed string, several []addressee) error {
	return &failure{statusFailed, "ambiguous", fmt.Errorf("more than one neighbour could be %s: %s", pair.CleanName(typed), list(several)),
		"say which: --to " + shellWord(several[0].String()) + ", for instance"}
}
