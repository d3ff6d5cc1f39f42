package main

import (
	"context"
	"errors"
	"io/fs"
	"slices"

	"github.com/tcppunch/tcppunch/lanfind"
	"github.com/tcppunch/tcppunch/stunt"
	"github.com/tcppunch/tcppunch/tcppunch"
	"github.com/tcppunch/tcppunch/tcppunch/bench"
	"github.com/tcppunch/tcppunch/tcppunch/pair"
	"github.com/tcppunch/tcppunch/tcppunch/transfer"
)

// The exit statuses of the contract.
const (
	statusFailed      = 1
	statusUsage       = 2
	statusNoPath      = 3
	statusWrongCode   = 4
	statusRefused     = 5
	statusInterrupted = 130
)

// A failure is how an error leaves the program.
type failure struct {
	status int
	code   string // the `code` of the error event
	err    error
	advice string // what to try next
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func usage(err error) error { return &failure{status: statusUsage, code: "usage", err: err} }

func interrupted(err error) error {
	return &failure{status: statusInterrupted, code: "interrupted", err: errors.Join(errInterrupted, err)}
}

var errInterrupted = errors.New("interrupted")

// rules say which error has which status. The first that matches counts. The
// codes are documented in README.
var rules = []struct {
	is     error
	status int
	code   string
	advice string
}{
	{tcppunch.ErrPortInUse, statusFailed, "port-in-use", "end that program, or choose another port with --port and tell the other side"},
	{pair.ErrWordsOnOneSide, statusWrongCode, "wrong-code", "give the words to both sides, or to neither"},
	{pair.ErrWrongWords, statusWrongCode, "wrong-code", "check the words on both sides"},
	{pair.ErrNotConfirmed, statusWrongCode, "not-confirmed", "if the words differed, somebody sits between you: use words of your own, behind a slash at the end of the address"},
	{pair.ErrCommitment, statusWrongCode, "not-confirmed", ""},
	{errNoTerminal, statusWrongCode, "no-terminal", "put words behind the address on both sides (--peer ADDR/word-word-word), or trust the network with --yes"},
	{pair.ErrGuessed, statusWrongCode, "wrong-code", "start again with a new code"},
	{stunt.ErrDropped, statusWrongCode, "wrong-code", "compare the code with the one on the other screen"},
	{pair.ErrProtocol, statusFailed, "protocol", "use tcppunch on both sides"},
	{pair.ErrVersion, statusFailed, "version", "use the same version of tcppunch on both sides"},
	{stunt.ErrServer, statusUsage, "usage", ""},
	{stunt.ErrTakenOver, statusFailed, "code-in-use", "start again for a new code"},
	{stunt.ErrSideTaken, statusFailed, "code-in-use", "use another code; if a run of yours was cut off, try again in a minute"},
	{stunt.ErrRoomFull, statusFailed, "code-in-use", "use another code"},
	{stunt.ErrMismatch, statusFailed, "code-in-use", "check the code, and that both sides run commands that belong together"},
	{stunt.ErrExpired, statusNoPath, "timeout", "start again with a new code"},
	{stunt.ErrLimited, statusFailed, "server-limit", "wait a while, or use another server"},
	{stunt.ErrBusy, statusFailed, "server-busy", "wait a while, or use another server"},
	{stunt.ErrNoServer, statusNoPath, "no-server", "check the server's address, and that this machine has a network"},
	{tcppunch.ErrNoNetwork, statusNoPath, "no-network", "connect this machine to a network"},
	{lanfind.ErrSockets, statusNoPath, "no-network", "`tcppunch peers --doctor` tells more"},
	{bench.ErrInterrupted, statusFailed, "interrupted", ""},
	{bench.ErrPeerGone, statusFailed, "peer-gone", "start both sides again"},
	{bench.ErrVersion, statusFailed, "version", "use the same version of tcppunch on both sides"},
	{bench.ErrNothing, statusFailed, "no-transport", "give both sides the same --via"},
	{bench.ErrProtocol, statusFailed, "protocol", "run tcppunch bench on both sides"},
	{fs.ErrNotExist, statusFailed, "not-found", ""},
	{fs.ErrPermission, statusFailed, "permission", ""},
}

// isAny tells whether an error is one of several.
func isAny(err error, of ...error) bool {
	return slices.ContainsFunc(of, func(e error) bool { return errors.Is(err, e) })
}

// classify finds the status of any error.
func classify(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	var dial *tcppunch.DialError
	if errors.As(err, &dial) {
		return dialFailure(dial)
	}
	var inc *transfer.Incomplete
	if errors.As(err, &inc) {
		return incompleteFailure(inc)
	}
	if code := transfer.Code(err); code != "" && code != "failed" {
		return transferFailure(code, err)
	}
	for _, r := range rules {
		if errors.Is(err, r.is) {
			return &failure{r.status, r.code, err, r.advice}
		}
	}
	return &failure{statusFailed, "failed", err, ""}
}

// dialFailure tells why there is no connection. The rules would not do: the
// error wraps those of all attempts, whatever ended it.
func dialFailure(e *tcppunch.DialError) *failure {
	switch {
	case errors.Is(e, tcppunch.ErrRejected) && !errors.Is(e, tcppunch.ErrNoPath): // else it was a stranger
		return &failure{statusWrongCode, "wrong-code", e, "check the words and the addresses on both sides"}
	case errors.Is(e, tcppunch.ErrNoNetwork):
		return &failure{statusNoPath, "no-network", e, "connect this machine to a network"}
	case errors.Is(e, context.DeadlineExceeded) && !e.Answered:
		return &failure{statusNoPath, "timeout", e, "check the addresses on both sides, and that both run at the same time"}
	}
	return &failure{statusNoPath, "no-path", e, "check the addresses on both sides, or try another network"}
}

// transferFailure tells apart what the peer did not want from what broke.
func transferFailure(code string, err error) *failure {
	f := &failure{status: statusFailed, code: code, err: err}
	var remote *transfer.RemoteError
	theirs := errors.As(err, &remote)
	switch {
	case !theirs && errors.Is(err, errNotWanted): // which is said to the other side
		f.err = errRefusedHere
	case theirs && (errors.Is(err, transfer.ErrRefused) || errors.Is(err, transfer.ErrExists)):
		f.status = statusRefused
	case errors.Is(err, transfer.ErrExists):
		f.advice = existsAdvice
	case errors.Is(err, transfer.ErrNoSpace) && !theirs:
		f.advice = "make room, or receive into another folder with --out"
	case errors.Is(err, transfer.ErrPeerGone):
		f.advice = "start both sides again"
	}
	return f
}
