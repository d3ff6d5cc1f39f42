package stun

import (
	"encoding/binary"
	"fmt"
	"slices"

	codec "github.com/pion/stun/v4"
)

// TransactionID is the random number that ties a response to its request.
type TransactionID = [codec.TransactionIDSize]byte

// Request is what a Binding request asks for beyond the sender's address. The zero value asks for that alone.
type Request struct {
	// ChangeIP and ChangePort ask for the answer to be sent from the server's other address, or other port
	// (CHANGE-REQUEST, RFC 5780). A server that cannot do that answers 420.
	ChangeIP, ChangePort bool
	// ResponsePort asks for the answer to be sent to that port of the sender's address, if it is not 0 (RESPONSE-PORT,
	// RFC 5780).
	ResponsePort uint16
	// Extra are further attributes, which a server that does not know them passes over.
	Extra []Attribute

	id       TransactionID
	extended []codec.AttrType // those of RFC 5780 that were in it
	unknown  []codec.AttrType // those that must be understood and are not
}

// Attribute is an attribute of neither RFC. Its type is 0xC000 or more: such as may be passed over, and are given out
// to whoever asks (RFC 8489 section 18.3).
type Attribute struct {
	Type  uint16
	Value []byte
}

// Response is what a Binding response says, with what no RFC knows of: at most four attributes.
type Response struct {
	Result
	Extra []Attribute
}

// firstExtra is the least type of an [Attribute].
const firstExtra = 0xC000

// maxExtra bounds how many attributes are kept of a message.
const maxExtra = 4

// The flags of CHANGE-REQUEST, RFC 5780 section 7.2.
const (
	flagChangeIP   = 4
	flagChangePort = 2
)

// Encode makes a message with a new transaction ID.
func (q *Request) Encode() ([]byte, TransactionID) {
	m := &codec.Message{Type: codec.BindingRequest, TransactionID: codec.NewTransactionID()}
	m.WriteHeader()
	var change uint32
	if q.ChangeIP {
		change |= flagChangeIP
	}
	if q.ChangePort {
		change |= flagChangePort
	}
	if change != 0 {
		m.Add(codec.AttrChangeRequest, binary.BigEndian.AppendUint32(nil, change))
	}
	if q.ResponsePort != 0 {
		m.Add(codec.AttrResponsePort, binary.BigEndian.AppendUint32(nil, uint32(q.ResponsePort)<<16))
	}
	addExtra(m, q.Extra)
	return m.Raw, m.TransactionID
}

func addExtra(m *codec.Message, extra []Attribute) {
	for _, a := range extra {
		m.Add(codec.AttrType(a.Type), a.Value)
	}
}

// extras copies the attributes that are neither RFC's.
func extras(m *codec.Message) []Attribute {
	var all []Attribute
	for _, a := range m.Attributes {
		if a.Type >= firstExtra && len(all) < maxExtra {
			all = append(all, Attribute{uint16(a.Type), append([]byte(nil), a.Value...)})
		}
	}
	return all
}

// ParseRequest reads a message that a server received. Anything but a well-formed Binding request is an error, and
// must not be answered: above all, a response never gets one, so that two servers cannot be set on each other.
func ParseRequest(b []byte) (*Request, error) {
	m, err := decode(b)
	if err != nil {
		return nil, err
	}
	if m.Type != codec.BindingRequest {
		return nil, fmt.Errorf("%w: type %#04x is not a Binding request", ErrMalformed, m.Type.Value())
	}
	q := &Request{id: m.TransactionID, Extra: extras(m)}
	for _, t := range unknown(m) {
		v, err := m.Get(t)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%w: %v", ErrMalformed, err)
		case t == codec.AttrChangeRequest && len(v) == 4:
			flags := binary.BigEndian.Uint32(v)
			q.ChangeIP, q.ChangePort = flags&flagChangeIP != 0, flags&flagChangePort != 0
		case t == codec.AttrResponsePort && (len(v) == 2 || len(v) == 4): // some leave out its padding
			q.ResponsePort = binary.BigEndian.Uint16(v)
		case t == codec.AttrChangeRequest || t == codec.AttrResponsePort:
			return nil, fmt.Errorf("%w: %v of %d bytes", ErrMalformed, t, len(v))
		default:
			q.unknown = append(q.unknown, t)
			continue
		}
		q.extended = append(q.extended, t)
	}
	return q, nil
}

// Understood reports whether nothing is in the request that must be understood and is not. If so it asks for nothing:
// its answer is error 420.
func (q *Request) Understood() bool { return len(q.unknown) == 0 }

// Respond makes the response: what the request's sender shall learn is in r, where Mapped is needed and the rest is
// optional (of Software, 127 bytes are sent). A request with attributes that must be understood and are not gets error
// 420. Whether and where those of RFC 5780 are honoured is up to the caller.
func (q *Request) Respond(r Response) ([]byte, error) {
	if len(q.unknown) > 0 {
		return q.refuse(q.unknown, r.Software)
	}
	return q.answer(r)
}

// RefuseExtended makes the error 420 that a server owes to whom it cannot answer as RFC 5780 says.
func (q *Request) RefuseExtended() ([]byte, error) {
	return q.refuse(slices.Concat(q.extended, q.unknown), "")
}

func (q *Request) refuse(what []codec.AttrType, software string) ([]byte, error) {
	return q.build(codec.BindingError, software, codec.CodeUnknownAttribute, codec.UnknownAttributes(what))
}

func (q *Request) answer(r Response) ([]byte, error) {
	if !r.Mapped.IsValid() {
		return nil, fmt.Errorf("no address to answer with")
	}
	attrs := []codec.Setter{&codec.XORMappedAddress{IP: ip(r.Mapped), Port: int(r.Mapped.Port())}}
	if usable(r.Origin) {
		attrs = append(attrs, &codec.ResponseOrigin{IP: ip(r.Origin), Port: int(r.Origin.Port())})
	}
	if usable(r.Other) {
		attrs = append(attrs, &codec.OtherAddress{IP: ip(r.Other), Port: int(r.Other.Port())})
	}
	for _, a := range r.Extra {
		attrs = append(attrs, codec.RawAttribute{Type: codec.AttrType(a.Type), Value: a.Value})
	}
	return q.build(codec.BindingSuccess, r.Software, attrs...)
}

func (q *Request) build(typ codec.MessageType, software string, attrs ...codec.Setter) ([]byte, error) {
	m := &codec.Message{Type: typ, TransactionID: q.id}
	if software != "" {
		attrs = append(attrs, codec.Software(software[:min(len(software), maxSoftware)]))
	}
	m.WriteHeader()
	for _, a := range attrs {
		if err := a.AddTo(m); err != nil {
			return nil, fmt.Errorf("encoding a STUN response: %w", err)
		}
	}
	return m.Raw, nil
}

// ResponseID returns the transaction ID of a Binding response, of either class, and false for all else.
func ResponseID(b []byte) (id TransactionID, ok bool) {
	if len(b) < headerSize {
		return id, false
	}
	id = TransactionID(b[8:headerSize])
	return id, answers(b, id)
}

// ParseResponse reads a response that a packet held. An error response is an [*Error].
func ParseResponse(b []byte) (Response, error) {
	if _, ok := ResponseID(b); !ok {
		return Response{}, fmt.Errorf("%w: not a Binding response", ErrMalformed)
	}
	m, err := decode(b)
	if err != nil {
		return Response{}, err
	}
	res, err := parseResult(m)
	if err != nil {
		return Response{}, err
	}
	return Response{res, extras(m)}, nil
}
