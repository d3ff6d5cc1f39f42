// Package fault has what the parts of package transfer fail with: the Err values, the
// error type that carries them, and what of an error may be shown to whom.
package fault

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"
)

// The Err values of package transfer, which says what they mean.
var (
	ErrRefused       = errors.New("refused")
	ErrExists        = errors.New("exists already")
	ErrNoSpace       = errors.New("not enough space")
	ErrSourceChanged = errors.New("changed while it was being sent")
	ErrHash          = errors.New("hash does not match")
	ErrName          = errors.New("file name not allowed")
	ErrProtocol      = errors.New("protocol violation")
	ErrVersion       = errors.New("no common protocol version")
	ErrInterrupted   = errors.New("interrupted")
	ErrLink          = errors.New("link not kept")
	ErrUnsupported   = errors.New("cannot be sent")
	ErrBusy          = errors.New("being received by another transfer")
	ErrPeerGone      = errors.New("connection to the other side lost")
)

const (
	codeInterrupted = "interrupted"
	codeFailed      = "failed"
	maxDisplay      = 1024 // bytes of anything that is shown
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
		{"link", ErrLink},
		{"unsupported", ErrUnsupported},
		{"busy", ErrBusy},
	}
}

// Code returns the short word for an error, the same on both sides: that of errorCodes,
// or failed for all else; "" for nil.
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

// Failure is every error made on this side. The cause may hold local paths, so
// it is never told to the other side.
type Failure struct {
	Kind  error  // an Err value, or nil
	Name  string // the file concerned, or ""
	Text  string // more words, which the other side may see
	Cause error  // or nil
}

func (f *Failure) Error() string {
	s := f.Public(false)
	if f.Cause == nil {
		return s
	}
	if s == "" {
		return f.Cause.Error()
	}
	return s + ": " + f.Cause.Error()
}

func (f *Failure) Unwrap() []error {
	var errs []error
	for _, err := range []error{f.Kind, f.Cause} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// Public joins the words that are fit for the other side. Of the cause only the
// operating system's own words pass, and only if asked for.
func (f *Failure) Public(withErrno bool) string {
	var parts []string
	if f.Name != "" {
		parts = append(parts, Clean(f.Name))
	}
	if f.Kind != nil {
		parts = append(parts, f.Kind.Error())
	}
	if f.Text != "" {
		parts = append(parts, f.Text)
	}
	var errno syscall.Errno
	if withErrno && errors.As(f.Cause, &errno) {
		parts = append(parts, errno.Error())
	}
	return strings.Join(parts, ": ")
}

// Protocol is a violation by the other side.
func Protocol(text string) error {
	return &Failure{Kind: ErrProtocol, Text: text}
}

// FromCode is the Err value that a code stands for, or nil for one that has none.
func FromCode(code string) error {
	for _, c := range errorCodes() {
		if c.code == code {
			return c.err
		}
	}
	return nil
}

// Clean makes a string from elsewhere safe to print on a terminal: control
// characters, escape sequences, bidirectional overrides, line breaks and invalid
// UTF-8 become U+FFFD, and what is longer than 1024 bytes is cut.
func Clean(s string) string {
	cut := len(s) > maxDisplay
	if cut {
		s = s[:maxDisplay]
	}
	s = strings.Map(func(r rune) rune {
		if Unprintable(r) {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(s, string(utf8.RuneError)))
	if cut {
		s += "…"
	}
	return s
}

// Unprintable reports control and format characters and line breaks. The joiners
// are format characters by category, but part of how people write.
func Unprintable(r rune) bool {
	if r == '\u200c' || r == '\u200d' {
		return false
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}

// Refusal is the no of a person or a policy. Its words are meant for the other side.
type Refusal struct{ Err error }

func (r *Refusal) Error() string {
	if r.Err == ErrRefused {
		return "offer refused"
	}
	return "offer refused: " + r.Err.Error()
}

// Unwrap returns ErrRefused and what was said.
func (r *Refusal) Unwrap() []error { return []error{ErrRefused, r.Err} }

// Report is the failure to tell the other side for err.
func Report(err error) (code, message string) {
	var f *Failure
	var r *Refusal
	switch {
	case errors.As(err, &r):
		return Code(ErrRefused), Clean(r.Error())
	case errors.As(err, &f):
		message = f.Public(true)
	}
	return Code(err), message
}
