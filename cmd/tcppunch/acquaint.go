package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/pair"
)

// peer tells programs who the other side is. The key is proven, and the name is what this
// side calls it.
func (o *output) peer(name string, key pair.PublicKey, stands standing) {
	o.event("identity", struct {
		Name    string `json:"name"`
		Key     string `json:"key"`
		Known   bool   `json:"known"`
		Changed bool   `json:"changed,omitempty"` // somebody known has the name, and another key
	}{name, key.String(), stands == standsKnown, stands == standsChanged})
}

// warnChanged says, so that nobody overlooks it, that somebody has a known name and another
// key.
func (o *output) warnChanged(p knownPeer, now pair.PublicKey) {
	o.say("WARNING: THE KEY OF %s HAS CHANGED! Since %s it was", p.name, p.first.Local().Format(time.DateOnly))
	o.say("%v", p.key)
	o.say("and now it is")
	o.say("%v", now)
	o.say("Somebody may be pretending to be %s; or %s has a new machine, or lost its settings.", p.name, p.name)
}

func keyChanged(name string) error {
	return &failure{statusWrongCode, "key-changed", fmt.Errorf("%w: whoever is called %s here now is not the one who was met before; nothing was sent", errKeyChanged, name),
		"if that is as it should be: tcppunch peers --forget " + shellWord(name)}
}

// unconfirmed tells what to think of check words that were not confirmed.
func unconfirmed(err error) error {
	if errors.Is(err, pair.ErrNotConfirmed) || errors.Is(err, pair.ErrCommitment) {
		return &failure{statusWrongCode, "not-confirmed", err, "if the words differed, somebody sits between the two of you: do not trust this network"}
	}
	return lost(err)
}

// sayStranger says why there are words to compare.
func (o *output) sayStranger(called string, stands standing) {
	switch stands {
	case standsKnown:
		o.say("%s does not know this machine yet. Compare the check words, this once.", called)
	case standsChanged:
		o.say("Go on only if you know why, and the check words are the same.")
	default:
		o.say("%s is not known here yet. Compare the check words, this once.", called)
	}
}

// unchecked tells that nobody at this side has compared the check words that were due: --yes
// was the answer. What that lets in is good for this once.
func unchecked(due, yes bool, stands standing) bool {
	return due && yes && stands != standsChanged // whoever has a known name is asked about
}

// remember remembers a peer whose key is proven, unless the check words are unchecked, and
// returns what it is called now.
func (o *output) remember(name string, key pair.PublicKey, known, unchecked bool) (called string) {
	if unchecked {
		if !known {
			o.say("%s is not remembered, as nobody here has compared the check words.", name)
		}
		return name
	}
	called, err := meetPeer(name, key)
	switch {
	case err != nil:
		o.say("Warning: %s is not remembered: %s.", name, shown(err))
		return name
	case !known && called != name && called == pinnable(name):
		o.say("%s is remembered as %s. From now on its key is enough.", name, called)
	case !known && called != name:
		o.say("%s is remembered as %s, as another one has that name.", name, called)
	case !known:
		o.say("%s is remembered. From now on its key is enough.", called)
	}
	return called
}
