package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/tcppunch/tcppunch/lanfind"
	"github.com/tcppunch/tcppunch/tcppunch/pair"
)

// digitsOf is a key that begins with these digits.
func digitsOf(t *testing.T, digits string) pair.PublicKey {
	t.Helper()
	key, err := pair.ParsePublicKey(digits + strings.Repeat("0", 64-len(digits)))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestWhoIs(t *testing.T) {
	key := func(digits string) pair.PublicKey { return digitsOf(t, digits) }
	anna := addressee{"aaaa000000000001", "anna", key("a1")}
	annaAgain := addressee{"aaaa000000000002", "anna", key("a1")} // another program of hers
	renamed := addressee{"aaaa000000000003", "office", key("a1")}
	other := addressee{"bbbb000000000001", "anna", key("b0b1")} // somebody of the same name, or an impostor
	capital := addressee{"bbbb000000000002", "Anna", key("c0c1")}
	annabel := addressee{"bbbb000000000003", "annabel", key("d0d1")}
	ben := addressee{"cccc000000000001", "ben", key("e0e1")}
	nameless := addressee{"cccc000000000002", "", key("f0f1")}
	labelled := addressee{"anna", "Mallory", key("12")} // it announces no ID, and has its label for one
	counterfeit := addressee{"bbbb000000000004", "bbbb000000000001", key("13")}
	knows := func(name, digits string) knownPeers { return knownPeers{{name: name, key: key(digits)}} }
	cases := []struct {
		name  string
		typed string
		known knownPeers
		here  []addressee
		found *addressee
		other string // several or changed, as a list, or what is asked
	}{
		{"nobody", "anna", nil, nil, nil, ""},
		{"nobody of that name", "anna", nil, []addressee{ben, nameless}, nil, ""},
		{"a stranger", "anna", nil, []addressee{anna, ben}, &anna, ""},
		{"in capitals", "ANNA", nil, []addressee{anna, ben}, &anna, ""},
		{"its beginning", "ann", nil, []addressee{annabel, ben}, &annabel, ""},
		{"the whole name comes before a beginning", "anna", nil, []addressee{anna, annabel}, &anna, ""},
		{"exactly this name comes before other capitals", "Anna", nil, []addressee{anna, capital}, &capital, ""},
		{"the beginning of two", "ann", nil, []addressee{anna, annabel}, nil, "several anna@a100-0000, annabel@d0d1-0000"},
		{"two of that name", "anna", nil, []addressee{anna, other}, nil, "several anna@a100-0000, anna@b0b1-0000"},
		{"two programs of one", "anna", nil, []addressee{anna, annaAgain}, &anna, ""},
		{"one of the two, by key", "anna@b0b1", nil, []addressee{anna, other}, &other, ""},
		{"by more of the key, in capitals", "ANNA@B0B1-00", nil, []addressee{anna, other}, &other, ""},
		{"by key alone", "@b0b1", nil, []addressee{anna, other, ben}, &other, ""},
		{"by nobody's key", "anna@ffff", nil, []addressee{anna, other}, nil, ""},
		{"by the ID", "bbbb000000000001", nil, []addressee{anna, other}, &other, ""},
		{"by the ID, in capitals", "BBBB000000000001", nil, []addressee{anna, other}, &other, ""},
		{"by the ID and the key", "bbbb000000000001@b0b1", nil, []addressee{anna, other}, &other, ""},
		{"by a name that is another's ID", "bbbb000000000001", nil, []addressee{other, counterfeit}, &counterfeit, ""},
		{"by an ID that begins a name", "aaaa000000000001", nil, []addressee{anna, {"1", "aaaa000000000001s", key("12")}}, &anna, ""},
		{"by an ID that is none", "anna", nil, []addressee{labelled, anna}, &anna, ""},
		{"the same, and nobody has the name", "anna", nil, []addressee{labelled}, nil, ""},
		{"the beginning of nothing", "", nil, []addressee{anna}, nil, ""},
		{"without a name", "@f0f1", nil, []addressee{anna, nameless}, &nameless, ""},
		{"an @ that is part of the name", "anna@home", nil, []addressee{anna, {"1", "anna@home", key("12")}}, &addressee{"1", "anna@home", key("12")}, ""},

		{"known", "anna", knows("anna", "a1"), []addressee{anna, ben}, &anna, ""},
		{"known, and others of that name", "anna", knows("anna", "a1"), []addressee{other, capital, anna}, &anna, ""},
		{"known, under another name now", "anna", knows("anna", "a1"), []addressee{renamed, ben}, &renamed, ""},
		{"known, by another name now", "office", knows("anna", "a1"), []addressee{renamed, ben}, &renamed, "asks office is whom you know as anna. Send to it?"},
		{"the same, in capitals", "OFFICE", knows("anna", "a1"), []addressee{renamed}, &renamed, "asks office is whom you know as anna. Send to it?"},
		{"the same, by its beginning", "off", knows("anna", "a1"), []addressee{renamed}, &renamed, "asks office is whom you know as anna. Send to it?"},
		{"the same, and a stranger of that name", "office", knows("anna", "a1"), []addressee{renamed, {"1", "Office", key("12")}}, &renamed, "asks office is whom you know as anna. Send to it?"},
		{"the same, by key", "office@a100", knows("anna", "a1"), []addressee{renamed, ben}, &renamed, ""},
		{"the same, by the key alone", "@a100", knows("anna", "a1"), []addressee{renamed, ben}, &renamed, ""},
		{"the same, by the ID", "aaaa000000000003", knows("anna", "a1"), []addressee{renamed, anna}, &renamed, ""},
		{"known, by what is not remembered of a name", "anna@home", knows("anna", "a1"), []addressee{{"1", "anna@home", key("a1")}}, &addressee{"1", "anna@home", key("a1")}, "asks Only anna, whom you know, is called like anna@home. Send to it?"},
		{"another one has all of that name", "anna", knows("anna", "a1"), []addressee{{"1", "# anna@home", key("12")}}, nil, "changed # anna@home@1200-0000"},
		{"known, and not here", "anna", knows("anna", "a1"), []addressee{ben}, nil, ""},
		{"known, and only another of that name is here", "anna", knows("anna", "a1"), []addressee{other, ben}, nil, "changed anna@b0b1-0000"},
		{"in other capitals", "anna", knows("anna", "a1"), []addressee{capital}, nil, "changed Anna@c0c1-0000"},
		{"known in other capitals", "ANNA", knows("Anna", "a1"), []addressee{other, anna}, &anna, ""},
		{"known, by the beginning of the name", "ann", knows("anna", "a1"), []addressee{other, anna}, &anna, "asks Only anna, whom you know, is called like ann. Send to it?"},
		{"the same, and only another is here", "ann", knows("anna", "a1"), []addressee{other}, nil, "changed anna@b0b1-0000"},
		{"a stranger whose name is the beginning of a known one", "ann", knows("anna", "a1"), []addressee{{"1", "ann", key("12")}, anna}, &addressee{"1", "ann", key("12")}, ""},
		{"two of one name, both known", "anna", append(knows("anna", "a1"), knownPeer{name: "anna-2", key: key("b0b1")}), []addressee{other}, nil, ""},
		{"the second of them", "anna-2", append(knows("anna", "a1"), knownPeer{name: "anna-2", key: key("b0b1")}), []addressee{anna, other}, &other, ""},
		{"another of a known name, by key", "anna@b0b1", knows("anna", "a1"), []addressee{anna, other}, &other, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := whoIs(c.typed, c.known, c.here)
			if (got.found == nil) != (c.found == nil) || got.found != nil && *got.found != *c.found {
				t.Errorf("found %v, want %v", got.found, c.found)
			}
			others := ""
			switch {
			case got.several != nil:
				others = "several " + list(got.several)
			case got.changed != nil:
				others = "changed " + got.changed.String()
			case got.unsaid != nil:
				others = "asks " + got.question(c.typed)
			}
			if others != c.other || got.none() != (c.found == nil && c.other == "") {
				t.Errorf("found %q, want %q", others, c.other)
			}
		})
	}
}

// TestMeans: of two programs with one key, the one that was meant.
func TestMeans(t *testing.T) {
	key := digitsOf(t, "a1")
	desk := addressee{"aaaa000000000001", "desk", key}
	door := addressee{"aaaa000000000002", "door", key}
	known := knownPeers{{name: "anna", key: key}}
	cases := []struct {
		typed  string
		known  knownPeers
		others bool // will do
	}{
		{"door", nil, false},
		{"Door", known, false},
		{"doo", known, false},
		{"door@a100", known, false},
		{"aaaa000000000002", known, false},
		{"@a100", nil, true},
		{"anna", known, true},
	}
	for _, c := range cases {
		got := whoIs(c.typed, c.known, []addressee{desk, door})
		if got.found == nil || !got.by.same(*got.found, *got.found) {
			t.Errorf("%s: found %v", c.typed, got.found)
			continue
		}
		if !c.others && *got.found != door {
			t.Errorf("%s: found %v, want %v", c.typed, got.found, door)
		}
		if got.by.same(*got.found, addressee{door.id, "DOOR", key}) != (c.others || got.by == byName || got.by == byID) ||
			got.by.same(door, desk) != c.others || got.by.same(door, addressee{door.id, door.name, digitsOf(t, "a2")}) {
			t.Errorf("%s: by %v", c.typed, got.by)
		}
	}
}

func TestAllWaiting(t *testing.T) {
	key := digitsOf(t, "a1")
	peers := map[string]lanfind.Peer{}
	for _, p := range []lanfind.Peer{
		{ID: "1", Name: "waits in a room", Room: "4821", Key: key.String()},
		{ID: "2", Name: "waits for somebody", Room: roomTo(key), Key: key.String()},
		{ID: "3", Name: "has no key"},
		{ID: "4", Name: "has no key that could be one", Key: "a1"},
		{ID: "5", Name: "waits for files", Key: key.String()},
		{ID: "5#2", Name: "says so too", Key: key.String()},
	} {
		peers[p.ID] = p
	}
	want := []addressee{{"5", "says so too", key}, {"5", "waits for files", key}}
	if got := allWaiting(peers); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestAmbiguous(t *testing.T) {
	var several []addressee
	for _, digits := range []string{"a0", "a1", "a2", "a3", "a4", "a5", "a6"} {
		several = append(several, addressee{digits, "anna b", digitsOf(t, digits)})
	}
	f := classify(ambiguous("Anna", several))
	if f.status != statusFailed || f.code != "ambiguous" || !strings.HasSuffix(f.Error(), "anna b@a400-0000, 2 more") || !strings.Contains(f.advice, "--to 'anna b@a000-0000'") {
		t.Errorf("got %v, %q", f, f.advice)
	}
}
