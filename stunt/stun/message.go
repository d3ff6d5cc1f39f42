package stun

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"

	codec "github.com/pion/stun/v4"
)

const (
	headerSize  = 20
	magicCookie = 0x2112A442
	maxMessage  = 2048 // nothing of ours is longer, and not the padding of others, which is to exceed the MTU (RFC 5780)
	maxSoftware = 127  // RFC 8489 section 14.14
)

var (
	// ErrMalformed means that the other side sent something that is not a STUN message, or not one that can be used.
	// A stream that carried it is out of step and of no more use.
	ErrMalformed = errors.New("malformed STUN message")
	// ErrNoAnswer means that the server said nothing during the whole retransmission schedule (39.5 s).
	ErrNoAnswer = errors.New("no answer from the STUN server")
)

// Result is what a Binding response says. Except for Mapped, which is always there when a query succeeds, a field the
// server did not send is zero. IPv4 addresses are always in their 4-byte form.
type Result struct {
	// Mapped is the address that the server saw the request come from (XOR-MAPPED-ADDRESS, else MAPPED-ADDRESS).
	Mapped netip.AddrPort
	// Origin is where the response was sent from (RESPONSE-ORIGIN, RFC 5780).
	Origin netip.AddrPort
	// Other is the server's second address and port, for NAT tests (OTHER-ADDRESS, RFC 5780).
	Other netip.AddrPort
	// Software is the server's description of itself, as it was sent: quote it before showing it.
	Software string
}

// Error is an error response: the server understood the request and refused it.
type Error struct {
	// Code is the number of the ERROR-CODE attribute, such as 400 or 420.
	Code int
	// Reason is the server's text for people, as it was sent.
	Reason string
	// Unknown lists the attributes that the server did not understand (with code 420).
	Unknown []uint16
}

// Error gives the code and the reason.
func (e *Error) Error() string {
	return fmt.Sprintf("STUN server answered %d %q", e.Code, e.Reason)
}

// checkHeader checks the first 20 bytes of a message and returns how many follow (RFC 8489 section 5).
func checkHeader(h []byte) (int, error) {
	length := int(binary.BigEndian.Uint16(h[2:4]))
	switch {
	case h[0]&0xC0 != 0:
		return 0, fmt.Errorf("%w: first byte %#02x", ErrMalformed, h[0])
	case binary.BigEndian.Uint32(h[4:8]) != magicCookie:
		return 0, fmt.Errorf("%w: no magic cookie", ErrMalformed)
	case length%4 != 0 || length > maxMessage-headerSize:
		return 0, fmt.Errorf("%w: length %d", ErrMalformed, length)
	}
	return length, nil
}

// readFrame reads exactly one message from a stream, and not a byte more. The error is io.EOF only if the stream ended
// before the first byte.
func readFrame(r io.Reader) ([]byte, error) {
	b := make([]byte, headerSize, 128)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	n, err := checkHeader(b)
	if err != nil {
		return nil, err
	}
	b = append(b, make([]byte, n)...)
	if _, err := io.ReadFull(r, b[headerSize:]); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return b, nil
}

// decode decodes one whole message with nothing after it.
func decode(b []byte) (*codec.Message, error) {
	if len(b) < headerSize {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(b))
	}
	n, err := checkHeader(b)
	if err != nil {
		return nil, err
	}
	if len(b) != headerSize+n {
		return nil, fmt.Errorf("%w: %d bytes, header says %d", ErrMalformed, len(b), headerSize+n)
	}
	m := new(codec.Message)
	if err := codec.Decode(b, m); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	return m, nil
}

// newRequest makes a Binding request without attributes.
func newRequest() ([]byte, TransactionID) { return new(Request).Encode() }

// answers reports whether b is a response, of either class, to the Binding request with this ID. Whatever is not
// belongs to someone else.
func answers(b []byte, id TransactionID) bool {
	if len(b) < headerSize || TransactionID(b[8:headerSize]) != id {
		return false
	}
	typ := binary.BigEndian.Uint16(b)
	return typ == codec.BindingSuccess.Value() || typ == codec.BindingError.Value()
}

// parseResponse reads the result out of a message for which answers is true.
func parseResponse(b []byte) (Result, error) {
	m, err := decode(b)
	if err != nil {
		return Result{}, err
	}
	return parseResult(m)
}

func parseResult(m *codec.Message) (Result, error) {
	if m.Type == codec.BindingError {
		return Result{}, parseError(m)
	}
	if u := unknown(m); len(u) > 0 {
		// RFC 8489 section 6.3.3: the transaction has failed.
		return Result{}, fmt.Errorf("%w: unknown attribute %#04x", ErrMalformed, u[0].Value())
	}
	var res Result
	var err error
	if m.Contains(codec.AttrXORMappedAddress) {
		res.Mapped, err = address(m, codec.AttrXORMappedAddress)
	} else {
		res.Mapped, err = address(m, codec.AttrMappedAddress)
	}
	if err != nil {
		return Result{}, err
	}
	// These two are extras: a server that sends nonsense in them, such as 0.0.0.0, still told the address.
	res.Origin, _ = address(m, codec.AttrResponseOrigin)
	res.Other, _ = address(m, codec.AttrOtherAddress)
	if v, err := m.Get(codec.AttrSoftware); err == nil {
		res.Software = string(v)
	}
	return res, nil
}

func parseError(m *codec.Message) error {
	var code codec.ErrorCodeAttribute
	if err := code.GetFrom(m); err != nil {
		return fmt.Errorf("%w: error response: %v", ErrMalformed, err)
	}
	e := &Error{Code: int(code.Code), Reason: string(code.Reason)}
	var attrs codec.UnknownAttributes
	if attrs.GetFrom(m) == nil {
		for _, a := range attrs {
			e.Unknown = append(e.Unknown, a.Value())
		}
	}
	return e
}

// address reads an address attribute, plain or XORed. It checks the length first, which the codec does not.
func address(m *codec.Message, t codec.AttrType) (netip.AddrPort, error) {
	v, err := m.Get(t)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%w: no address in it", ErrMalformed)
	}
	if len(v) < 8 || (v[1] == 1 && len(v) != 8) || (v[1] == 2 && len(v) != headerSize) {
		return netip.AddrPort{}, fmt.Errorf("%w: %v of %d bytes", ErrMalformed, t, len(v))
	}
	var a codec.MappedAddress
	if t == codec.AttrXORMappedAddress {
		err = (*codec.XORMappedAddress)(&a).GetFrom(m)
	} else {
		err = a.GetFromAs(m, t)
	}
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%w: %v: %v", ErrMalformed, t, err)
	}
	ip, _ := netip.AddrFromSlice(a.IP)
	ap := netip.AddrPortFrom(ip.Unmap(), uint16(a.Port))
	if !usable(ap) {
		return netip.AddrPort{}, fmt.Errorf("%w: %v is %v", ErrMalformed, t, ap)
	}
	return ap, nil
}

// usable reports whether a is an address and port that somebody could have.
func usable(a netip.AddrPort) bool {
	return a.IsValid() && !a.Addr().IsUnspecified() && a.Port() != 0
}

// unknown returns the comprehension-required attributes of m that this package does not know. Those of RFC 8489 are
// known, even where they mean nothing to us, and so are the two of RFC 3489 that old servers send.
func unknown(m *codec.Message) codec.UnknownAttributes {
	var u codec.UnknownAttributes
	for _, a := range m.Attributes {
		switch a.Type {
		case codec.AttrMappedAddress, codec.AttrXORMappedAddress, codec.AttrErrorCode, codec.AttrUnknownAttributes,
			codec.AttrUsername, codec.AttrUserhash, codec.AttrRealm, codec.AttrNonce, codec.AttrPasswordAlgorithm,
			codec.AttrMessageIntegrity, codec.AttrMessageIntegritySHA256,
			codec.AttrSourceAddress, codec.AttrChangedAddress:
		default:
			if a.Type.Required() {
				u = append(u, a.Type)
			}
		}
	}
	return u
}
