package transfer

import (
	"errors"
	"fmt"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/name"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/progress"
)

// What Send and Receive fail with, as a whole or for a single file. Test with errors.Is:
// it also holds for what the other side reported, and errors.As with *RemoteError tells
// whose it was.
var (
	// ErrRefused: the person or the policy at the receiving end said no.
	ErrRefused = fault.ErrRefused
	// ErrExists: something with that name is there already and may not be replaced.
	ErrExists = fault.ErrExists
	// ErrNoSpace: the receiving disk or quota is, or would be, full.
	ErrNoSpace = fault.ErrNoSpace
	// ErrSourceChanged: a file changed, shrank, grew or vanished while it was sent.
	ErrSourceChanged = fault.ErrSourceChanged
	// ErrHash: what arrived is not what was read at the other end.
	ErrHash = fault.ErrHash
	// ErrName: a file name that is not safe or not possible on the receiving system.
	ErrName = fault.ErrName
	// ErrLink: a symbolic link that leads out of the folder that is sent, or cannot be kept.
	ErrLink = fault.ErrLink
	// ErrUnsupported: something that cannot be sent, such as a device or a socket.
	ErrUnsupported = fault.ErrUnsupported
	// ErrBusy: another transfer is receiving that very file.
	ErrBusy = fault.ErrBusy
	// ErrProtocol: the other side sent something malformed, hostile, or out of order.
	ErrProtocol = fault.ErrProtocol
	// ErrVersion: the two programs have no protocol version in common.
	ErrVersion = fault.ErrVersion
	// ErrInterrupted: the other side was interrupted. Interrupted on this side, the
	// error wraps the context's instead.
	ErrInterrupted = fault.ErrInterrupted
	// ErrPeerGone: the connection broke, or the other side went silent. What has
	// arrived is kept: Send and Receive go on over another connection when they are
	// called again with the same Source and Dest.
	ErrPeerGone = fault.ErrPeerGone
)

// Code returns the short word for an error of Send, Receive or Files: refused, exists,
// no-space, source-changed, hash, bad-name, link, unsupported, busy, protocol, version,
// interrupted, peer-gone, incomplete, or failed for all else. It is the same word on
// both sides; "" for nil.
func Code(err error) string {
	var inc *Incomplete
	if errors.As(err, &inc) {
		return "incomplete"
	}
	return fault.Code(err)
}

// Clean makes a string from elsewhere safe to print on a terminal: control characters,
// escape sequences, bidirectional overrides, line breaks and invalid UTF-8 become
// U+FFFD, and what is longer than 1024 bytes is cut.
func Clean(s string) string { return fault.Clean(s) }

// CheckName says whether a file may be sent and received under a name, which must be
// one path element: nothing that leaves the folder, deceives the eye or turns into
// something else on another system. The error wraps ErrName.
func CheckName(s string) error { return name.Check(s) }

// RemoteError is a failure that the other side reported. errors.Is sees through it
// to the Err value that its code stands for.
type RemoteError struct {
	Code    string // see the function Code; other words may come from newer versions
	Message string // one short line, already safe to print on a terminal
}

func (e *RemoteError) Error() string {
	switch {
	case e.Code == fault.Code(ErrInterrupted):
		return "the other side interrupted the transfer"
	case e.Message != "":
		return "the other side says: " + e.Message
	}
	return "the other side reported: " + e.Code
}

// Unwrap returns the Err value of the code, or nil for a code that has none.
func (e *RemoteError) Unwrap() error { return fault.FromCode(e.Code) }

// A FileError says why one file, folder or link was not transferred. It does not keep
// the others from being.
type FileError struct {
	Name string // its path in the offer; "" for what the other side has left out of it, and names in Err
	Err  error  // a *RemoteError if the other side failed
}

func (e FileError) Error() string {
	var f *fault.Failure
	if errors.As(e.Err, &f) && f.Name != "" {
		return e.Err.Error() // it names the file itself
	}
	if e.Name == "" { // the other side's words have it
		return e.Err.Error()
	}
	return Clean(e.Name) + ": " + e.Err.Error()
}

// Unwrap returns Err.
func (e FileError) Unwrap() error { return e.Err }

// Incomplete is the error of a transfer that has ended, on both sides, and left files
// out. All others are in place.
type Incomplete struct {
	Failed []FileError // the first 1000
	Count  int         // how many have failed
	Of     int         // files, folders and links in all
}

func (e *Incomplete) Error() string {
	if e.Count == 1 && len(e.Failed) == 1 {
		return "incomplete: " + e.Failed[0].Error()
	}
	s := fmt.Sprintf("incomplete: %d of %d failed", e.Count, e.Of)
	if len(e.Failed) > 0 {
		s += ", first " + e.Failed[0].Error()
	}
	return s
}

// Unwrap returns the errors of the files that are listed, so that errors.Is finds what
// kinds there were.
func (e *Incomplete) Unwrap() []error {
	errs := make([]error, len(e.Failed))
	for i, f := range e.Failed {
		errs[i] = f.Err
	}
	return errs
}

// remote makes the error for what the other side reports.
func remote(code, message string) error { return &RemoteError{Code: code, Message: message} }

// incomplete is the error of a transfer of so many entries that has come to its end, or
// nil if none has failed; unnamed have, and were not reported to the meter.
func incomplete(m *progress.Meter, entries, unnamed int) error {
	list, count := m.Failures()
	if count+unnamed == 0 {
		return nil
	}
	inc := &Incomplete{Count: count + unnamed, Of: entries}
	for _, f := range list {
		inc.Failed = append(inc.Failed, FileError(f))
	}
	return inc
}
