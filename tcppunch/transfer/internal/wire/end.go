package wire

import (
	"encoding/binary"
	"math"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
)

// NoIndex is the index of a loss that is not in the manifest: what was left out when
// that was made.
const NoIndex = math.MaxUint32

// What bounds a failure, in bytes.
const (
	maxCode    = 64
	maxMessage = 1024
)

// Loss is the body of Lost and Failed frames: an entry that one side gives up.
type Loss struct {
	Index uint32
	Failure
}

// Append appends the body.
func (l *Loss) Append(b []byte) []byte {
	return l.Failure.Append(binary.BigEndian.AppendUint32(b, l.Index))
}

// ParseLoss is the opposite of Append.
func ParseLoss(k Kind, body []byte) (l Loss, err error) {
	d := decoder{b: body}
	l.Index, l.Failure = d.u32(), d.failure()
	return l, d.end(k)
}

// Failure is the body of a Fail frame: a code and words for a person, which have been
// made safe for a terminal.
type Failure struct{ Code, Message string }

// FailureOf is what the other side is told of err.
func FailureOf(err error) Failure {
	code, message := fault.Report(err)
	return Failure{code, message}
}

// Append appends the body, cut if it is too long.
func (f *Failure) Append(b []byte) []byte {
	code, message := f.Code[:min(len(f.Code), maxCode)], f.Message[:min(len(f.Message), maxMessage)]
	b = append(b, byte(len(code)))
	b = append(b, code...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(message)))
	return append(b, message...)
}

func (d *decoder) failure() Failure {
	code := d.text(int(d.u8()))
	message := d.text(int(d.u16()))
	return Failure{fault.Clean(code[:min(len(code), maxCode)]), fault.Clean(message[:min(len(message), maxMessage)])}
}

// ParseFailure is the opposite of Append.
func ParseFailure(body []byte) (Failure, error) {
	d := decoder{b: body}
	f := d.failure()
	return f, d.end(FailKind)
}

// End says that all was sent.
type End struct {
	Lost int // Lost frames before it
	More int // failures that no frame told of
}

// Append appends the body.
func (e *End) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(e.Lost))
	return binary.BigEndian.AppendUint32(b, uint32(e.More))
}

// ParseEnd is the opposite of Append.
func ParseEnd(body []byte) (e End, err error) {
	d := decoder{b: body}
	e = End{Lost: int(d.u32()), More: int(d.u32())}
	return e, d.end(EndKind)
}

// Result says what is in place.
type Result struct {
	Files  int
	Failed int // entries, files or not
	Bytes  int64
}

// Append appends the body.
func (r *Result) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(r.Files))
	b = binary.BigEndian.AppendUint32(b, uint32(r.Failed))
	return binary.BigEndian.AppendUint64(b, uint64(r.Bytes))
}

// ParseResult is the opposite of Append.
func ParseResult(body []byte) (r Result, err error) {
	d := decoder{b: body}
	r = Result{Files: int(d.u32()), Failed: int(d.u32()), Bytes: d.count()}
	return r, d.end(ResultKind)
}

// Stream is the body of Stream and Greet frames: a further connection, and the proof
// that both ends of it mean the same one.
type Stream struct {
	Number uint32
	Token  [16]byte
}

// Append appends the body.
func (s *Stream) Append(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, s.Number), s.Token[:]...)
}

// ParseStream is the opposite of Append.
func ParseStream(k Kind, body []byte) (s Stream, err error) {
	d := decoder{b: body}
	s = Stream{Number: d.u32(), Token: d.id()}
	return s, d.end(k)
}

// Signal is a message from one Extra to the other, or, as a NoStream frame without a
// message, the end of it.
type Signal struct {
	Number uint32
	Msg    []byte // not a copy
}

// Append appends the body.
func (s *Signal) Append(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, s.Number), s.Msg...)
}

// ParseSignal is the opposite of Append.
func ParseSignal(k Kind, body []byte) (s Signal, err error) {
	d := decoder{b: body}
	s = Signal{Number: d.u32()}
	s.Msg = d.b
	return s, d.end(k)
}
