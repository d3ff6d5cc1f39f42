package stunt

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"
)

// Err values that callers test for.
var (
	// ErrPeerLeft ends a meeting: the other side left, or lost its connection.
	ErrPeerLeft = errors.New("the other side left the room")
	// ErrDisconnected ends a meeting: the connection to the server was lost. The Room is rejoining.
	ErrDisconnected = errors.New("lost the connection to the server")
	// ErrDropped says that the other side, or this one itself, ended the membership with Drop.
	ErrDropped = errors.New("sent away from the room")
	// ErrTakenOver says that somebody else has had the room, or this side of it, since the connection was lost.
	ErrTakenOver = errors.New("the room was taken over while the connection was lost; start again for a new code")
	// ErrSideTaken says that somebody is in the room with the same side.
	ErrSideTaken = errors.New("this side of the room is taken")
	// ErrRoomFull says that two are in the room already.
	ErrRoomFull = errors.New("the room is full")
	// ErrMismatch says that the room is used for something else.
	ErrMismatch = errors.New("the room is used for something else")
	// ErrLimited says that the server has had too much from this network, or in this meeting.
	ErrLimited = errors.New("over a limit of the server")
	// ErrBusy says that the server is full, or stopping.
	ErrBusy = errors.New("the server takes nobody in")
	// ErrExpired says that the room has reached the age that the server allows.
	ErrExpired = errors.New("the room has expired")
	// ErrNoServer says that no server answered, or something else did.
	ErrNoServer = errors.New("no rendezvous server")
	// ErrServer says that JoinOptions.Server is no address of a server. What was given is not repeated: it may hold a
	// password.
	ErrServer = errors.New("malformed address of a rendezvous server")
)

// RefusedError is a server's refusal, or its reason for ending a membership.
type RefusedError struct {
	// Code is one word for programs, such as "side-taken".
	Code string
	// Message is a sentence for people, in the server's words: clean it before showing it on a terminal.
	Message string
	// Retry is how long the server asks to wait. Zero means that it does not say.
	Retry time.Duration
}

// The codes. A client must live with ones that it does not know.
const (
	codeBadRequest      = "bad-request"
	codeSideTaken       = "side-taken"
	codeRoomFull        = "room-full"
	codeMismatch        = "mismatch"
	codeTooManyJoins    = "too-many-joins"
	codeTooManyMembers  = "too-many-members"
	codeTooManyMisses   = "too-many-misses"
	codeTooManyMessages = "too-many-messages"
	codeTooManyVisits   = "too-many-visits"
	codeServerFull      = "server-full"
	codeStopping        = "stopping"
	codeDropped         = "dropped"
	codeExpired         = "expired"
	codeReplaced        = "replaced"
)

// Error returns the server's sentence, and how long it asks to wait.
func (e *RefusedError) Error() string {
	words := e.Message
	if words == "" {
		words = e.Code
	}
	if e.Retry > 0 {
		words += fmt.Sprintf("; try again in %.0f s", math.Ceil(e.Retry.Seconds()))
	}
	return "the server refuses: " + words
}

// Unwrap returns the Err value of the code, or nil when the code is none of those known here.
func (e *RefusedError) Unwrap() error {
	switch e.Code {
	case codeSideTaken:
		return ErrSideTaken
	case codeRoomFull:
		return ErrRoomFull
	case codeMismatch:
		return ErrMismatch
	case codeTooManyJoins, codeTooManyMembers, codeTooManyMisses, codeTooManyMessages, codeTooManyVisits:
		return ErrLimited
	case codeServerFull, codeStopping:
		return ErrBusy
	case codeDropped:
		return ErrDropped
	case codeExpired:
		return ErrExpired
	}
	return nil
}

// final reports whether joining again cannot help.
func (e *RefusedError) final() bool {
	switch e.Code {
	case codeBadRequest, codeSideTaken, codeRoomFull, codeMismatch, codeTooManyMessages, codeDropped, codeExpired:
		return true
	}
	return false
}

// taken reports whether somebody else has the place, which may be free again soon.
func (e *RefusedError) taken() bool {
	return e.Code == codeSideTaken || e.Code == codeRoomFull || e.Code == codeMismatch
}

// status is the HTTP status that goes with the code.
func (e *RefusedError) status() int {
	switch e.Code {
	case codeBadRequest:
		return http.StatusBadRequest
	case codeSideTaken, codeRoomFull, codeMismatch:
		return http.StatusConflict
	case codeTooManyJoins, codeTooManyMembers, codeTooManyMisses, codeTooManyVisits:
		return http.StatusTooManyRequests
	}
	return http.StatusServiceUnavailable
}
