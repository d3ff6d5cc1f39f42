package bench

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A plan is what both sides will do, by what both have said.
type plan struct {
	controller bool
	time       time.Duration
	transports []offer
}

// agree is the same on both sides but for controller.
func agree(mine, theirs hello) (plan, error) {
	order := bytes.Compare(mine.Preface, theirs.Preface)
	if order == 0 {
		return plan{}, violation("the other side has our own preface: is it a mirror?")
	}
	p := plan{controller: order > 0, time: time.Duration(min(mine.TimeMS, theirs.TimeMS)) * time.Millisecond}
	leads, follows := mine, theirs
	if !p.controller {
		leads, follows = theirs, mine
	}
	for _, o := range leads.Transports {
		named := func(other offer) bool { return other.Name == o.Name }
		if i := slices.IndexFunc(follows.Transports, named); i >= 0 && !slices.ContainsFunc(p.transports, named) {
			p.transports = append(p.transports, offer{o.Name, max(o.Streams, follows.Transports[i].Streams), o.Like})
		}
	}
	if len(p.transports) == 0 {
		return p, fmt.Errorf("%w: this side wants %s, the other one %s", ErrNothing, names(mine.Transports), names(theirs.Transports))
	}
	return p, nil
}

func names(os []offer) string {
	var s []string
	for _, o := range os {
		s = append(s, o.Name)
	}
	return strings.Join(s, ", ")
}
