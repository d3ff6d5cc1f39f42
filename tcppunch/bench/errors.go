package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// What Run fails with. Test with errors.Is, which also holds for what the other
// side reported.
var (
	// ErrPeerGone: the control connection broke, or the other side went silent.
	ErrPeerGone = errors.New("connection to the other side lost")
	// ErrProtocol: the other side sent something malformed, hostile or out of
	// order, or it does not run a benchmark.
	ErrProtocol = errors.New("protocol violation")
	// ErrVersion: the two sides speak different versions of the protocol.
	ErrVersion = errors.New("the two sides have different versions of the benchmark")
	// ErrNothing: there is no transport that both sides want measured.
	ErrNothing = errors.New("no transport that both sides want measured")
	// ErrInterrupted: the other side was interrupted. On this side the error wraps
	// the context's instead.
	ErrInterrupted = errors.New("the other side was interrupted")
)

const (
	codeInterrupted = "interrupted"
	codeProtocol    = "protocol"
	codeVersion     = "version"
	codeNothing     = "nothing"
	codeFailed      = "failed"

	maxText = 300 // bytes of what the other side may have shown
)

// RemoteError is a failure that the other side reported.
type RemoteError struct {
	Code    string // interrupted, protocol, version, nothing, failed, or a later version's
	Message string // one short line, safe to print on a terminal
}

func (e *RemoteError) Error() string {
	switch {
	case e.Code == codeInterrupted:
		return ErrInterrupted.Error()
	case e.Message != "":
		return "the other side says: " + e.Message
	}
	return "the other side reported: " + e.Code
}

// Unwrap returns the Err value of the code, or nil when it has none.
func (e *RemoteError) Unwrap() error {
	switch e.Code {
	case codeInterrupted:
		return ErrInterrupted
	case codeProtocol:
		return ErrProtocol
	case codeVersion:
		return ErrVersion
	case codeNothing:
		return ErrNothing
	}
	return nil
}

// codeOf is the word with which the other side is told of an error.
func codeOf(err error) string {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return codeInterrupted
	case errors.Is(err, ErrProtocol):
		return codeProtocol
	case errors.Is(err, ErrVersion):
		return codeVersion
	case errors.Is(err, ErrNothing):
		return codeNothing
	}
	return codeFailed
}

func violation(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrProtocol}, args...)...)
}

// lost is what an error of the control connection means.
func lost(err error) error {
	switch {
	case errors.Is(err, ErrProtocol):
		return err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: it closed the connection", ErrPeerGone)
	}
	return fmt.Errorf("%w: %w", ErrPeerGone, err)
}

// clean makes one short line of what came from the other side, without anything that
// a terminal would act on.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, s)
	for i := range s {
		if i > maxText {
			return s[:i] + "…"
		}
	}
	return s
}
