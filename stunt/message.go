package stunt

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Side tells the two members of a room apart.
type Side string

// The sides. SideSend meets SideRecv; SideBench meets another SideBench, and Meeting.First tells the two apart.
const (
	SideSend  Side = "send"
	SideRecv  Side = "recv"
	SideBench Side = "bench"
)

// other returns the side that s meets, or "" when s is none.
func (s Side) other() Side {
	switch s {
	case SideSend:
		return SideRecv
	case SideRecv:
		return SideSend
	case SideBench:
		return SideBench
	}
	return ""
}

// MaxMessage is how many bytes a message may have, unless the server's Limits say otherwise.
const MaxMessage = 16 << 10

const (
	maxName     = 64
	tokenDigits = 32
	joinHeader  = "Stunt-Join"
	roomHeader  = "Stunt-Room"
	madeHeader  = "Stunt-Made"
	joinPath    = "/v1/join"
	maxRefusal  = 1000 // bytes of a refusal's body that are read
	maxWords    = 300  // bytes of a refusal's sentence that are kept
)

var errMessage = errors.New("malformed message")

// The types of messages.
const (
	typeMet     = "met"
	typeMessage = "message"
	typeOver    = "over"
	typeDrop    = "drop"
	typeLeave   = "leave"
)

// An envelope is one message on the wire.
type envelope struct {
	Type    string `json:"type"`
	Meeting uint64 `json:"meeting,omitempty"`
	First   bool   `json:"first,omitempty"` // met
	Data    []byte `json:"data,omitempty"`  // message
}

func (e envelope) encode() []byte {
	b, err := json.Marshal(e)
	if err != nil {
		panic(err) // a struct of ours that cannot be encoded
	}
	return b
}

// frameLimit is how many bytes an envelope with that much data may take.
func frameLimit(data int) int { return data/3*4 + 256 }

// fromMember decodes what a member said.
func fromMember(b []byte, maxData int) (envelope, error) {
	return decode(b, maxData, typeMessage, typeDrop, typeLeave)
}

// fromServer decodes what a server said. Clients send no more than MaxMessage, whatever the server would take.
func fromServer(b []byte) (envelope, error) {
	return decode(b, MaxMessage, typeMet, typeMessage, typeOver)
}

func decode(b []byte, maxData int, types ...string) (envelope, error) {
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return envelope{}, fmt.Errorf("%w: %w", errMessage, err)
	}
	known := false
	for _, t := range types {
		known = known || e.Type == t
	}
	switch {
	case !known:
		return envelope{}, fmt.Errorf("%w: type %.20q", errMessage, e.Type)
	case e.Meeting == 0 && e.Type != typeLeave:
		return envelope{}, fmt.Errorf("%w: no meeting", errMessage)
	case len(e.Data) > maxData:
		return envelope{}, fmt.Errorf("%w: %d bytes are more than %d", errMessage, len(e.Data), maxData)
	}
	return e, nil
}

// A joinRequest is who wants into which room.
type joinRequest struct {
	Room   string // "" asks for a number
	Side   Side
	Token  string
	Rejoin bool // it was in there before
	Made   bool // with Rejoin: and nobody was there before it
}

// encode writes the request as a header's value: ASCII, whatever the room's name is.
func (q joinRequest) encode() string {
	v := url.Values{"room": {q.Room}, "side": {string(q.Side)}, "token": {q.Token}}
	if q.Rejoin {
		v.Set("rejoin", "1")
	}
	if q.Made {
		v.Set("made", "1")
	}
	return v.Encode()
}

func decodeJoin(s string) (joinRequest, error) {
	if len(s) > 3*maxName+tokenDigits+100 {
		return joinRequest{}, fmt.Errorf("%w: %d bytes of %s", errMessage, len(s), joinHeader)
	}
	v, err := url.ParseQuery(s)
	if err != nil {
		return joinRequest{}, fmt.Errorf("%w: %s: %w", errMessage, joinHeader, err)
	}
	q := joinRequest{Room: v.Get("room"), Side: Side(v.Get("side")), Token: v.Get("token")}
	q.Rejoin = v.Get("rejoin") == "1" && q.Room != ""
	q.Made = v.Get("made") == "1" && q.Rejoin
	if q.Room != "" {
		if err := checkName(q.Room); err != nil {
			return joinRequest{}, err
		}
	}
	if q.Side.other() == "" {
		return joinRequest{}, fmt.Errorf("%w: side %.20q", errMessage, q.Side)
	}
	if len(q.Token) != tokenDigits || strings.Trim(q.Token, "0123456789abcdef") != "" {
		return joinRequest{}, fmt.Errorf("%w: the token is not %d hexadecimal digits", errMessage, tokenDigits)
	}
	return q, nil
}

// checkName refuses names that would be trouble on a screen or in memory.
func checkName(name string) error {
	if name == "" || len(name) > maxName || !utf8.ValidString(name) {
		return fmt.Errorf("%w: a room's name has 1 to %d bytes of UTF-8", errMessage, maxName)
	}
	if strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("%w: a room's name of unprintable characters", errMessage)
	}
	return nil
}

// isNumber reports whether a name is one that a server may hand out.
func isNumber(name string) bool {
	return name != "" && len(name) <= maxDigits && name[0] != '0' && strings.Trim(name, "0123456789") == ""
}

// refusalJSON is a RefusedError on the wire.
type refusalJSON struct {
	Code    string  `json:"code"`
	Message string  `json:"message"`
	Retry   float64 `json:"retry_s,omitempty"`
}

func (e *RefusedError) encode() []byte {
	b, err := json.Marshal(refusalJSON{e.Code, e.Message, e.Retry.Seconds()})
	if err != nil {
		panic(err) // a struct of ours that cannot be encoded
	}
	return b
}

// decodeRefusal reads the body of a refusal. It returns nil when it is none.
func decodeRefusal(b []byte) *RefusedError {
	var j refusalJSON
	if len(b) > maxRefusal || json.Unmarshal(b, &j) != nil || !isCode(j.Code) {
		return nil
	}
	e := &RefusedError{Code: j.Code, Message: cut(j.Message, maxWords)}
	if j.Retry > 0 {
		e.Retry = time.Duration(min(j.Retry, time.Hour.Seconds()) * float64(time.Second))
	}
	return e
}

// A close frame holds 123 bytes of reason.
func (e *RefusedError) reason() string { return cut(e.Code+": "+e.Message, 123) }

// decodeReason reads the reason of a close frame. It returns nil when it is none of ours.
func decodeReason(s string) *RefusedError {
	code, words, ok := strings.Cut(s, ": ")
	if !ok || !isCode(code) {
		return nil
	}
	return &RefusedError{Code: code, Message: words}
}

func isCode(s string) bool {
	return s != "" && len(s) <= 40 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz-") == ""
}

// cut shortens s to n bytes, at the end of a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
