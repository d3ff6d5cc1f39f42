package transfer

import (
	"context"
	"errors"
	"strings"
	"syscall"
)

// What Send and Receive fail with. Test with errors.Is: it also holds for what
// the other side reported, and errors.As with *RemoteError tells whose it was.
var (
	// ErrRefused: the person or the policy at the receiving end said no.
	ErrRefused = errors.New("refused")
	// ErrExists: a file with that name is there already and may not be replaced.
	ErrExists = errors.New("exists already")
	// ErrNoSpace: the receiving disk or quota is, or would be, full.
	ErrNoSpace = errors.New("not enough space")
	// ErrSourceChanged: a file changed, shrank, grew or vanished while it was sent.
	ErrSourceChanged = errors.New("changed while it was being sent")
	// ErrHash: what arrived is not what was read at the other end.
	ErrHash = errors.New("hash does not match")
	// ErrName: a file name that is not safe or not possible on the receiving system.
	ErrName = errors.New("file name not allowed")
	// ErrProtocol: the other side sent something malformed, hostile, or out of order.
	ErrProtocol = errors.New("protocol violation")
	// ErrVersion: the two programs have no protocol version in common.
	ErrVersion = errors.New("no common protocol version")
	// ErrInterrupted: the other side was interrupted. Interrupted on this side, the
	// error wraps the context's instead.
	ErrInterrupted = errors.New("interrupted")
	// ErrPeerGone: the connection broke, or the other side went silent.
	ErrPeerGone = errors.New("connection to the other side lost")
)

const (
	codeInterrupted = "interrupted"
	codeFailed      = "failed"
	maxCode         = 64   // bytes of an error code on the wire
	maxMessage      = 1024 // bytes of an error message on the wire
)

// errorCodes pairs every Err value with its code on the wire and in JSON.
func errorCodes() []struct {
	code string
	err  error
} {
	return []struct {
		code string
		err  error
	}{
		{"refused", ErrRefused},
		{"exists", ErrExists},
		{"no-space", ErrNoSpace},
		{"source-changed", ErrSourceChanged},
		{"hash", ErrHash},
		{"bad-name", ErrName},
		{"protocol", ErrProtocol},
		{"version", ErrVersion},
		{codeInterrupted, ErrInterrupted},
		{"peer-gone", ErrPeerGone},
	}
}

// Code returns the short word for an error of Send, Receive or Files: refused,
// exists, no-space, source-changed, hash, bad-name, protocol, version, interrupted,
// peer-gone, or failed for all else. It is the same word on both sides; "" for nil.
func Code(err error) string {
	if err == nil {
		return ""
	}
	for _, c := range errorCodes() {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return codeInterrupted
	}
	return codeFailed
}

// RemoteError is a failure that the other side reported. errors.Is sees through it
// to the Err value that its code stands for.
type RemoteError struct {
	Code    string // see the function Code; other words may come from newer versions
	Message string // one short line, already safe to print on a terminal
}

func (e *RemoteError) Error() string {
	switch {
	case e.Code == codeInterrupted:
		return "the other side interrupted the transfer"
	case e.Message != "":
		return "the other side says: " + e.Message
	}
	return "the other side reported: " + e.Code
}

// Unwrap returns the Err value of the code, or nil for a code that has none.
func (e *RemoteError) Unwrap() error {
	for _, c := range errorCodes() {
		if c.code == e.Code {
			return c.err
		}
	}
	return nil
}

// failure is every error made on this side. The cause may hold local paths, so
// it is never told to the other side.
type failure struct {
	kind  error  // an Err value, or nil
	name  string // the file concerned, or ""
	text  string // more words, which the other side may see
	cause error  // or nil
}

func (f *failure) Error() string {
	s := f.public(false)
	if f.cause == nil {
		return s
	}
	if s == "" {
		return f.cause.Error()
	}
	return s + ": " + f.cause.Error()
}

func (f *failure) Unwrap() []error {
	var errs []error
	for _, err := range []error{f.kind, f.cause} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// public joins the words that are fit for the other side. Of the cause only the
// operating system's own words pass, and only if asked for.
func (f *failure) public(withErrno bool) string {
	var parts []string
	if f.name != "" {
		parts = append(parts, Clean(f.name))
	}
	if f.kind != nil {
		parts = append(parts, f.kind.Error())
	}
	if f.text != "" {
		parts = append(parts, f.text)
	}
	var errno syscall.Errno
	if withErrno && errors.As(f.cause, &errno) {
		parts = append(parts, errno.Error())
	}
	return strings.Join(parts, ": ")
}

// refusal is what Accept returned. Its words are meant for the other side.
type refusal struct{ error }

func (r *refusal) Error() string {
	if r.error == ErrRefused {
		return "offer refused"
	}
	return "offer refused: " + r.error.Error()
}

func (r *refusal) Unwrap() []error { return []error{ErrRefused, r.error} }

// report is the failure to tell the other side for err.
func report(err error) (code, message string) {
	var f *failure
	var r *refusal
	switch {
	case errors.As(err, &r):
		return "refused", Clean(r.Error())
	case errors.As(err, &f):
		message = f.public(true)
	}
	return Code(err), message
}

func protocolError(text string) error {
	return &failure{kind: ErrProtocol, text: text}
}
