package stun

import (
	"net/netip"
	"slices"
)

// Respond makes the response to one request, as [Request.Respond] does, for a server with one address and port: a
// request for what RFC 5780 adds gets error 420 too. Anything but a well-formed Binding request is an error and must
// not be answered.
func Respond(request []byte, r Result) ([]byte, error) {
	q, err := ParseRequest(request)
	if err != nil {
		return nil, err
	}
	if len(q.extended) > 0 {
		return q.refuse(slices.Concat(q.extended, q.unknown), r.Software)
	}
	return q.Respond(Response{Result: r})
}

func ip(a netip.AddrPort) []byte { return a.Addr().Unmap().AsSlice() }
