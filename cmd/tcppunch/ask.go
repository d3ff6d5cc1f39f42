package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tcppunch/tcppunch/tcppunch/transfer"
)

var (
	errNotWanted   = errors.New("the person at the other end does not want this")
	errRefusedHere = errors.New("you have refused it, and the other side was told")
)

// acceptAtTerminal shows the offer and asks. Without a terminal there is nobody
// to ask, and who started the program with the peer's words has agreed.
func acceptAtTerminal(ctx context.Context, o transfer.Offer) error {
	t, err := openTerminal()
	if err != nil {
		return nil
	}
	defer t.Close()
	ok, err := t.yes(ctx, "Receive "+describe(o)+"?", true)
	if err != nil {
		return err
	}
	if !ok {
		return errNotWanted
	}
	return nil
}

// shownNames is how many names of an offer are shown, and shownWidth how long each may be.
const (
	shownNames = 3
	shownWidth = 40
)

// describe names the first files of an offer, and says how much it is.
func describe(o transfer.Offer) string {
	var names []string
	for i, f := range o.First() {
		if i == shownNames {
			names = append(names, "…")
			break
		}
		names = append(names, shownName(f))
	}
	what := plural(o.Files, "file")
	if folders := o.Entries - o.Files; folders > 0 {
		what += " in " + plural(folders, "folder")
	}
	if o.Bytes < 0 {
		what = "a stream"
	} else {
		what += ", " + size(o.Bytes)
	}
	if o.Resumable > 0 && o.Bytes > 0 {
		what += fmt.Sprintf("; %d %% is here already", percentOf(o.Resumable, o.Bytes))
	}
	return fmt.Sprintf("%s (%s)", strings.Join(names, ", "), what)
}

// shownName is how a name is shown: harmless, not too long, and a folder as one.
func shownName(f transfer.File) string {
	name := fit(transfer.Clean(f.Name), shownWidth)
	if f.Dir {
		name += "/"
	}
	return name
}

// asker returns what asks what to do with files that exist and differ, or nil if there
// is nobody to ask: then they stay as they are, and that is an error.
func (p *progress) asker() func(context.Context, transfer.Conflict) (transfer.Policy, error) {
	if !hasTerminal() {
		return nil
	}
	return func(ctx context.Context, c transfer.Conflict) (transfer.Policy, error) {
		p.mu.Lock()
		all := p.all
		p.mu.Unlock()
		if all != nil {
			return *all, nil
		}
		defer p.pause()()
		policy, forAll, err := askConflict(ctx, c)
		if forAll && err == nil {
			p.mu.Lock()
			p.all = &policy
			p.mu.Unlock()
		}
		return policy, err
	}
}

const conflictChoice = " [y]es, [n]o, [r]ename it; Y, N, R: the same for all "

// askConflict asks what to do with one file. No answer is a no.
func askConflict(ctx context.Context, c transfer.Conflict) (policy transfer.Policy, all bool, err error) {
	t, err := openTerminal()
	if err != nil {
		return transfer.Keep, false, nil
	}
	defer t.Close()
	question := fmt.Sprintf("%s exists and differs. Overwrite it?\n", fit(transfer.Clean(c.Name), 2*shownWidth)) + conflictChoice
	for {
		a, err := t.ask(ctx, question)
		if err != nil {
			return transfer.Keep, false, err
		}
		switch strings.TrimSpace(a) {
		case "y", "yes":
			return transfer.Overwrite, false, nil
		case "Y":
			return transfer.Overwrite, true, nil
		case "n", "no", "":
			return transfer.Keep, false, nil
		case "N":
			return transfer.Keep, true, nil
		case "r", "rename":
			return transfer.Rename, false, nil
		case "R":
			return transfer.Rename, true, nil
		}
		question = conflictChoice
	}
}
