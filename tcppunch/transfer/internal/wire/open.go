package wire

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/name"
)

const (
	magic = "tcppunch-files\n"

	// RoleSend and RoleReceive are the roles in a Hello.
	RoleSend    = 's'
	RoleReceive = 'r'

	// MaxFirst bounds the names in an Offer.
	MaxFirst = 8
)

// Hello opens both directions: who speaks, which versions, what else it can do.
type Hello struct {
	Version, Min uint16
	Role         byte
	Features     []string
	Seen         netip.Addr // where the writer sees the reader; the zero Addr: it does not know
}

// Append appends the body.
func (h *Hello) Append(b []byte) []byte {
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint16(b, h.Version)
	b = binary.BigEndian.AppendUint16(b, h.Min)
	b = append(b, h.Role, byte(len(h.Features)))
	for _, f := range h.Features {
		b = append(b, byte(len(f)))
		b = append(b, f...)
	}
	seen := h.Seen.WithZone("").AsSlice()
	b = append(b, byte(len(seen)))
	return append(b, seen...)
}

// ParseHello needs no more than magic, version and role to be as they are now, so that
// any later version can be named in the refusal.
func ParseHello(body []byte) (h Hello, err error) {
	rest, ok := strings.CutPrefix(string(body), magic)
	if !ok {
		return h, fault.Protocol("the other side does not speak this protocol")
	}
	d := decoder{b: []byte(rest)}
	h = Hello{Version: d.u16(), Min: d.u16(), Role: d.u8()}
	for range d.u8() {
		h.Features = append(h.Features, d.text(int(d.u8())))
	}
	if n := int(d.u8()); !d.bad && (n == 4 || n == 16) {
		h.Seen, _ = netip.AddrFromSlice(d.take(n))
	} else if n != 0 {
		d.bad = true
	}
	return h, d.end(HelloKind)
}

// Offer announces the manifest pages that follow it.
type Offer struct {
	ID     [16]byte
	Digest [32]byte
	Totals manifest.Totals
	First  []manifest.Entry // the first ones at the top: Type, Path, Size and ModTime
}

// Append appends the body.
func (o *Offer) Append(b []byte) []byte {
	b = append(b, o.ID[:]...)
	b = append(b, o.Digest[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(o.Totals.Entries))
	b = binary.BigEndian.AppendUint32(b, uint32(o.Totals.Files))
	b = binary.BigEndian.AppendUint64(b, uint64(o.Totals.Bytes))
	b = append(b, byte(len(o.First)))
	for _, e := range o.First {
		b = append(b, byte(e.Type))
		b = binary.BigEndian.AppendUint64(b, uint64(e.Size))
		b = binary.BigEndian.AppendUint64(b, uint64(e.ModTime.Unix()))
		b = binary.BigEndian.AppendUint32(b, uint32(e.ModTime.Nanosecond()))
		b = binary.BigEndian.AppendUint16(b, uint16(len(e.Path)))
		b = append(b, e.Path...)
	}
	return b
}

// ParseOffer lets only pass what can be, and names that are fit to be shown.
func ParseOffer(body []byte) (o Offer, err error) {
	d := decoder{b: body}
	o.ID, o.Digest = d.id(), d.hash()
	o.Totals = manifest.Totals{Entries: int(d.u32()), Files: int(d.u32()), Bytes: int64(d.u64())}
	n := int(d.u8())
	if n > MaxFirst {
		return o, fault.Protocol("too many names in an offer")
	}
	for range n {
		e := manifest.Entry{Type: manifest.Type(d.u8()), Size: int64(d.u64())}
		sec, nsec := int64(d.u64()), d.u32()
		e.Path = d.text(int(d.u16()))
		if d.bad || e.Type > manifest.Stream || e.Size < -1 || (e.Size == -1) != (e.Type == manifest.Stream) || e.Size > manifest.MaxBytes ||
			sec < manifest.MinTime || sec > manifest.MaxTime || nsec >= 1e9 {
			return o, fault.Protocol("an offer that is malformed")
		}
		if err := name.Check(e.Path); err != nil {
			return o, err
		}
		e.ModTime = time.Unix(sec, int64(nsec))
		o.First = append(o.First, e)
	}
	if err := d.end(OfferKind); err != nil {
		return o, err
	}
	if len(o.First) > o.Totals.Entries {
		return o, fault.Protocol("more names than files in an offer")
	}
	return o, o.Totals.Check()
}
