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

// A whom is who of those who are there is meant. At most one of the fields is set.
type whom struct {
	found   *addressee
	several []addressee // strangers: it could be any of them
	changed *addressee  // who has the name of somebody known, and another key
}

func (c whom) none() bool { return c.found == nil && c.several == nil && c.changed == nil }

// whoIs finds whom a person means. Who is known is meant by the name that they had when
// they were met, and is found by the key, whatever they call themselves today. Others are
// meant by the name that they announce, all of it, without regard to capitals, or as much of
// it as only one has; by that and, behind an @, the beginning of their key; or by the ID
// of the program.
func whoIs(typed string, known knownPeers, here []addressee) whom {
	if p, ok := known.byName(typed); ok {
		return whoIsKnown(p, known, here)
	}
	name, digits := splitDigits(typed)
	of, exact := matching(name, digits, here)
	if len(of) == 0 {
		return whom{}
	}
	if p, ok := known.byName(of[0].name); ok && !exact && !slices.ContainsFunc(of, func(n addressee) bool { return !strings.EqualFold(n.name, of[0].name) }) {
		return whoIsKnown(p, known, here)
	}
	if slices.ContainsFunc(of, func(n addressee) bool { return n.key != of[0].key }) {
		return whom{several: of}
	}
	return whom{found: &of[0]}
}

// whoIsKnown finds somebody who is known: only who has the key will do.
func whoIsKnown(p knownPeer, known knownPeers, here []addressee) whom {
	var changed *addressee
	for _, n := range here {
		if n.key == p.key {
			return whom{found: &n}
		}
		if _, other := known.byKey(n.key); !other && strings.EqualFold(n.name, p.name) {
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

// matching are those who may be meant. exact tells that a key or an ID was given.
func matching(name, digits string, here []addressee) (of []addressee, exact bool) {
	only := func(yes func(addressee) bool) []addressee {
		return slices.DeleteFunc(slices.Clone(here), func(n addressee) bool {
			return !strings.HasPrefix(hex.EncodeToString(n.key[:]), digits) || !yes(n)
		})
	}
	if of = only(func(n addressee) bool { return n.id == name }); len(of) > 0 {
		return of, true
	}
	for _, same := range []func(n addressee) bool{
		func(n addressee) bool { return n.name == name },
		func(n addressee) bool { return strings.EqualFold(n.name, name) },
		func(n addressee) bool { return len(n.name) >= len(name) && strings.EqualFold(n.name[:len(name)], name) },
	} {
		if of = only(same); len(of) > 0 {
			break
		}
	}
	return of, digits != ""
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
	return &failure{statusUsage, "usage", fmt.Errorf("more than one neighbour could be %s: %s", pair.CleanName(typed), list(several)),
		"say which: --to " + shellWord(several[0].String()) + ", for instance"}
}
