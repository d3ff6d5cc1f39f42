package link

import (
	"fmt"
	"net/netip"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/wire"
)

// Versions of the protocol that are spoken here.
const (
	Version    = 2
	MinVersion = 2
)

const (
	// FeatureStreams says that further connections may be asked for.
	FeatureStreams = "streams"
	// FeaturePage says that the first page may come right behind the offer.
	FeaturePage = "page"
)

// Greet says hello. Both sides do so first, so that two senders, or two receivers, find
// out.
func (s *Session) Greet(role byte, features ...string) {
	h := wire.Hello{Version: Version, Min: MinVersion, Role: role, Features: features}
	if a, err := netip.ParseAddrPort(s.Main.conn.RemoteAddr().String()); err == nil {
		h.Seen = a.Addr().Unmap()
	}
	s.Main.Send(wire.HelloKind, h.Append)
}

// Greeted judges the other side's hello, on the side that has this role.
func Greeted(body []byte, role byte) (wire.Hello, error) {
	h, err := wire.ParseHello(body)
	switch {
	case err != nil:
		return h, err
	case h.Role != wire.RoleSend && h.Role != wire.RoleReceive:
		return h, fault.Protocol("hello without a role")
	case h.Role == role && role == wire.RoleSend:
		return h, fault.Protocol("both sides want to send")
	case h.Role == role:
		return h, fault.Protocol("both sides want to receive")
	case h.Version < MinVersion || Version < h.Min:
		return h, &fault.Failure{Kind: fault.ErrVersion, Text: fmt.Sprintf("this side speaks %d to %d, the other %d to %d",
			MinVersion, Version, h.Min, h.Version)}
	}
	return h, nil
}

// Unexpected is the violation of a frame that may not come, or not now.
func Unexpected(k wire.Kind) error { return fault.Protocol("unexpected " + k.String()) }
