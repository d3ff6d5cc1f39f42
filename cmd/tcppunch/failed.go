package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tcppunch/tcppunch/tcppunch/transfer"
)

const (
	saidFailures  = 20   // that get a line
	knownFailures = 1000 // that are remembered, so that a break does not repeat them
)

// failures are the files, folders and links that were given up in a session.
type failures struct {
	known map[string]bool
	said  int
}

// fresh notes a failure, and tells whether it was not known.
func (f *failures) fresh(words string) bool {
	if f.known[words] {
		return false
	}
	if f.known == nil {
		f.known = make(map[string]bool)
	}
	if len(f.known) < knownFailures {
		f.known[words] = true
	}
	return true
}

// failed tells of one that was given up. The only one of an offer is what the error at
// the end is about.
func (p *progress) failed(e transfer.FileError) { p.tellFailure(e, "") }

// refused tells what is not even offered.
func (p *progress) refused(all []transfer.FileError) {
	for _, e := range all {
		p.tellFailure(e, "Warning: not sent: ")
	}
}

func (p *progress) tellFailure(e transfer.FileError, prefix string) {
	p.mu.Lock()
	words := fileWords(e)
	fresh := p.failures.fresh(words)
	say := fresh && p.failures.said < saidFailures && (prefix != "" || p.offer.Entries > 1)
	if say {
		p.failures.said++
	}
	p.mu.Unlock()
	if !fresh {
		return
	}
	p.out.event("failed", struct {
		Name    string `json:"name"`
		Code    string `json:"code"`
		Message string `json:"message"`
	}{e.Name, transfer.Code(e.Err), words})
	if say {
		p.out.say("%s%s", prefix, words)
	}
}

// fileWords says what is wrong with a file, and whose word that is.
func fileWords(e transfer.FileError) string {
	var remote *transfer.RemoteError
	if !errors.As(e.Err, &remote) {
		return transfer.Clean(e.Error())
	}
	name, what := transfer.Clean(e.Name), remote.Message
	if what == "" {
		what = remote.Code
	}
	if name != "" && !strings.HasPrefix(what, name) { // the other side mostly names it itself
		what = name + ": " + what
	}
	return transfer.Clean("the other side says: " + what)
}

// incompleteFailure is how an incomplete transfer leaves the program: with the code of
// all failures, if they have one in common.
func incompleteFailure(inc *transfer.Incomplete) *failure {
	f := &failure{status: statusFailed, code: "incomplete", err: inc}
	theirs := len(inc.Failed) > 0
	for i, e := range inc.Failed {
		code := transfer.Code(e.Err)
		if i == 0 {
			f.code = code
		} else if code != f.code {
			f.code = "incomplete"
		}
		theirs = theirs && errors.As(e.Err, new(*transfer.RemoteError))
	}
	if inc.Count == 1 && len(inc.Failed) == 1 {
		f.err = errors.New(fileWords(inc.Failed[0]))
	} else {
		f.err = fmt.Errorf("%d of %d failed", inc.Count, inc.Of)
		if more := inc.Count - saidFailures; more > 0 {
			f.err = fmt.Errorf("%w (the first %d are named above, %d more are not)", f.err, saidFailures, more)
		}
	}
	switch {
	case f.code == "exists" && theirs:
		f.status = statusRefused
	case f.code == "exists":
		f.advice = existsAdvice
	}
	return f
}

const existsAdvice = "receive into another folder with --out, replace what is there with --overwrite, or keep both with --rename"
