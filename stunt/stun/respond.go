package stun

import (
	"fmt"
	"net/netip"

	codec "github.com/pion/stun/v4"
)

// Respond makes the response to one request: what the request's sender shall learn is in r, where Mapped is needed and
// the rest is optional (of Software, 127 bytes are sent). A request with comprehension-required attributes that are
// not understood gets error 420. Anything but a well-formed Binding request is an error and must not be answered: above
// all, a response never gets one, so that two servers cannot be set on each other.
func Respond(request []byte, r Result) ([]byte, error) {
	q, err := decode(request)
	if err != nil {
		return nil, err
	}
	if q.Type != codec.BindingRequest {
		return nil, fmt.Errorf("%w: type %#04x is not a Binding request", ErrMalformed, q.Type.Value())
	}
	m := &codec.Message{Type: codec.BindingSuccess, TransactionID: q.TransactionID}
	var attrs []codec.Setter
	if u := unknown(q); len(u) > 0 {
		m.Type = codec.BindingError
		attrs = append(attrs, codec.CodeUnknownAttribute, u)
	} else {
		if !r.Mapped.IsValid() {
			return nil, fmt.Errorf("no address to answer with")
		}
		attrs = append(attrs, &codec.XORMappedAddress{IP: ip(r.Mapped), Port: int(r.Mapped.Port())})
		if usable(r.Origin) {
			attrs = append(attrs, &codec.ResponseOrigin{IP: ip(r.Origin), Port: int(r.Origin.Port())})
		}
		if usable(r.Other) {
			attrs = append(attrs, &codec.OtherAddress{IP: ip(r.Other), Port: int(r.Other.Port())})
		}
	}
	if r.Software != "" {
		attrs = append(attrs, codec.Software(r.Software[:min(len(r.Software), maxSoftware)]))
	}
	m.WriteHeader()
	for _, a := range attrs {
		if err := a.AddTo(m); err != nil {
			return nil, fmt.Errorf("encoding a STUN response: %w", err)
		}
	}
	return m.Raw, nil
}

func ip(a netip.AddrPort) []byte { return a.Addr().Unmap().AsSlice() }
