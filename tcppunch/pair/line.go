package pair

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"
)

// DefaultPort is the port of an address that is written without one.
const DefaultPort = 7070

const (
	maxAddrs    = 16
	lineExample = "an address line looks like 203.0.113.10:7070,192.168.1.5:7070/abdomen-yogurt-otter"
)

// Line is an address line, which one person gives to the other where no server does it: the addresses at which a
// peer may be reached, best first, and words if it chose any.
type Line struct {
	Addrs []netip.AddrPort
	Words string // normalized; empty if there are none
}

// ParseLine reads an address line as people type and paste it: IP addresses with or without a port ([DefaultPort]),
// separated by commas or spaces, then perhaps a slash and words. IPv6 addresses stand in brackets. Host names are not
// accepted: a punch needs the very address behind which the other router listens, and a name may hide several.
// Repeated addresses count once. The error says what is wrong and shows an example.
func ParseLine(s string) (Line, error) {
	l, err := parseLine(s)
	if n := len(l.String()); err == nil && n > maxText {
		err = fmt.Errorf("address line of %d bytes when written out: at most %d are allowed", n, maxText)
	}
	if err != nil {
		return Line{}, fmt.Errorf("%w (%s)", err, lineExample)
	}
	return l, nil
}

func parseLine(s string) (Line, error) {
	if len(s) > maxText {
		return Line{}, fmt.Errorf("address line of %d bytes: at most %d are allowed", len(s), maxText)
	}
	addrs, words, slash := strings.Cut(s, "/")
	var l Line
	for _, f := range strings.FieldsFunc(addrs, func(r rune) bool { return r == ',' || unicode.IsSpace(r) }) {
		a, err := parseAddr(f)
		if err != nil {
			return Line{}, err
		}
		if !slices.Contains(l.Addrs, a) {
			l.Addrs = append(l.Addrs, a)
		}
	}
	if len(l.Addrs) == 0 {
		return Line{}, errors.New("address line without an address")
	}
	if len(l.Addrs) > maxAddrs {
		return Line{}, fmt.Errorf("address line with %d addresses: at most %d are allowed", len(l.Addrs), maxAddrs)
	}
	if !slash {
		return l, nil
	}
	var err error
	if l.Words, err = Normalize(words); err != nil {
		return Line{}, err
	}
	if l.Words == "" {
		return Line{}, errors.New("address line with a slash but no words after it: was it cut off?")
	}
	return l, nil
}

// parseAddr reads one address, with or without a port.
func parseAddr(s string) (netip.AddrPort, error) {
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		host, bracketed := s, strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]")
		if bracketed {
			host = s[1 : len(s)-1]
		}
		ip, ipErr := netip.ParseAddr(host)
		switch {
		case ipErr != nil:
			return netip.AddrPort{}, explainAddr(s)
		case ip.Is6() && !bracketed:
			// In 2001:db8::1:7070 nobody can tell whether 7070 is a port.
			return netip.AddrPort{}, fmt.Errorf("write the IPv6 address %q in brackets, as in [2001:db8::1]:7070", s)
		case ip.Is4() && bracketed:
			return netip.AddrPort{}, explainAddr(s)
		}
		a = netip.AddrPortFrom(ip, DefaultPort)
	}
	ip := a.Addr().Unmap()
	switch {
	case a.Port() == 0:
		return netip.AddrPort{}, fmt.Errorf("port 0 in %q: nobody can be reached there", s)
	case ip.Zone() != "":
		return netip.AddrPort{}, fmt.Errorf("zone in %q: it means something on one machine only", s)
	case ip.IsUnspecified():
		return netip.AddrPort{}, fmt.Errorf("%q is the unspecified address: nobody can be reached there", s)
	case ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return netip.AddrPort{}, fmt.Errorf("%q is the address of a group, not of a peer", s)
	}
	return netip.AddrPortFrom(ip, a.Port()), nil
}

// explainAddr says why s is no address.
func explainAddr(s string) error {
	host, port, found := strings.Cut(s, ":")
	if _, err := netip.ParseAddr(host); err == nil && found {
		return fmt.Errorf("bad port %q in %q: it is a number from 1 to 65535", port, s)
	}
	if strings.ContainsFunc(host, unicode.IsLetter) && !strings.Contains(port, ":") && !strings.HasPrefix(s, "[") {
		return fmt.Errorf("%q looks like a host name: give the IP address instead", s)
	}
	return fmt.Errorf("%q is not an IP address", s)
}

// String writes the line so that ParseLine reads the same again. It is meant to be shown, words included.
func (l Line) String() string {
	var b strings.Builder
	for i, a := range l.Addrs {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(a.String())
	}
	if l.Words != "" {
		b.WriteString("/" + l.Words)
	}
	return b.String()
}
