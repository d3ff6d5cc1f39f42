package dnssd

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// MaxMessage is how many bytes a message has at most: RFC 6762, section 17.
	MaxMessage = 9000
	// MaxAddrs is how many addresses of an instance are looked at.
	MaxAddrs = 8
	// MaxTTL is what longer ones are cut to, so that nothing false stays for long.
	MaxTTL = 2 * time.Minute

	maxRecords = 512 // of one message
	maxFound   = 32  // instances of one message that are looked at
)

// errMessage says that a packet is no message, or one of no use here.
var errMessage = errors.New("not a message of multicast DNS")

// A Message is what matters here of a DNS message.
type Message struct {
	ID        uint16
	Response  bool
	Questions []dns.Question
	Known     map[string]bool // labels of instances that a query knows for long enough
	Found     []Instance
	Bare      []string // labels of instances without the records that describe them
}

// An Instance is what a message says about one instance of the service.
type Instance struct {
	Label  string
	Claims Claims
	Addrs  []netip.Addr  // without zones
	TTL    time.Duration // 0 is a goodbye
}

// AsksForType reports whether a query is for instances of the service type.
func (m *Message) AsksForType() bool {
	for _, q := range m.Questions {
		if strings.EqualFold(q.Name, ServiceName) {
			return true
		}
	}
	return false
}

// Parse reads a packet. Everything in it is a stranger's word.
func Parse(b []byte) (*Message, error) {
	if len(b) < 12 || len(b) > MaxMessage {
		return nil, errMessage
	}
	records := 0
	for at := 4; at < 12; at += 2 {
		records += int(binary.BigEndian.Uint16(b[at:]))
	}
	var d dns.Msg
	// RFC 6762, section 18: whatever has another opcode or a response code is ignored.
	if records > maxRecords || d.Unpack(b) != nil || d.Opcode != dns.OpcodeQuery || d.Rcode != dns.RcodeSuccess {
		return nil, errMessage
	}
	m := &Message{ID: d.Id, Response: d.Response}
	if d.Response {
		m.read(append(d.Answer, d.Extra...))
		return m, nil
	}
	m.Questions = d.Question
	m.readKnown(d.Answer)
	m.read(d.Extra) // who asks by datagram introduces itself
	return m, nil
}

// readKnown reads the known answers of a query (RFC 6762, section 7.1).
func (m *Message) readKnown(all []dns.RR) {
	for _, rr := range all {
		ptr, ok := rr.(*dns.PTR)
		if !ok || ptr.Hdr.Ttl < TTL/2 || len(m.Known) >= maxRecords {
			continue
		}
		if label, ok := pointsTo(ptr); ok {
			if m.Known == nil {
				m.Known = make(map[string]bool)
			}
			m.Known[label] = true
		}
	}
}

// pointsTo returns the instance to which a record of our service type points.
func pointsTo(ptr *dns.PTR) (label string, ok bool) {
	if !strings.EqualFold(ptr.Hdr.Name, ServiceName) {
		return "", false
	}
	return instanceOf(ptr.Ptr)
}

// parts are the records of a message that describe one instance.
type parts struct {
	ptr *dns.PTR
	srv *dns.SRV
	txt *dns.TXT
}

// read puts the records of a message together to instances.
func (m *Message) read(all []dns.RR) {
	byLabel := make(map[string]*parts)
	var labels []string // in the order of the message
	of := func(label string) *parts {
		p := byLabel[label]
		if p == nil && len(labels) < maxFound {
			p = new(parts)
			byLabel[label] = p
			labels = append(labels, label)
		}
		if p == nil {
			return new(parts) // one too many
		}
		return p
	}
	for _, rr := range all {
		switch rr := rr.(type) {
		case *dns.PTR:
			if label, ok := pointsTo(rr); ok {
				of(label).ptr = rr
			}
		case *dns.SRV:
			if label, ok := instanceOf(rr.Hdr.Name); ok {
				of(label).srv = rr
			}
		case *dns.TXT:
			if label, ok := instanceOf(rr.Hdr.Name); ok {
				of(label).txt = rr
			}
		}
	}
	for _, label := range labels {
		m.add(label, byLabel[label], all)
	}
}

// add adds an instance, of which the goodbye of any record is a goodbye.
func (m *Message) add(label string, p *parts, all []dns.RR) {
	switch {
	case p.ptr != nil && p.ptr.Hdr.Ttl == 0, p.srv != nil && p.srv.Hdr.Ttl == 0:
		m.Found = append(m.Found, Instance{Label: label})
	case p.srv != nil && p.txt != nil && p.srv.Port != 0:
		ttl := p.srv.Hdr.Ttl
		if p.ptr != nil {
			ttl = min(ttl, p.ptr.Hdr.Ttl)
		}
		m.Found = append(m.Found, Instance{
			Label:  label,
			Claims: readClaims(label, p),
			Addrs:  addressesOf(p.srv.Target, all),
			TTL:    min(time.Duration(ttl)*time.Second, MaxTTL),
		})
	case p.ptr != nil:
		m.Bare = append(m.Bare, label)
	}
}

// readClaims reads what an instance says of itself. What is malformed counts as not said.
func readClaims(label string, p *parts) Claims {
	c := Claims{Port: p.srv.Port}
	seen := make(map[string]bool)
	for _, s := range p.txt.Txt {
		key, value, _ := strings.Cut(unescape(s), "=")
		key = strings.ToLower(key)
		if seen[key] {
			continue // the first one counts: RFC 6763, section 6.4
		}
		seen[key] = true
		switch {
		case key == "id" && validID(value):
			c.ID = value
		case key == "room" && validRoom(value):
			c.Room = value
		case key == "key" && validKey(value):
			c.Key = value
		case key == "since":
			if n, err := strconv.ParseInt(value, 10, 64); err == nil && n > 0 && n < 1<<40 {
				c.Since = n
			}
		}
	}
	c.Name = nickname(label, c.ID)
	if c.ID == "" { // announced by another program
		c.ID = cut(cleanText(label), maxLabel)
	}
	return c
}

// addressesOf returns the addresses that a message gives a host.
func addressesOf(host string, all []dns.RR) []netip.Addr {
	var addrs []netip.Addr
	for _, rr := range all {
		var ip []byte
		switch rr := rr.(type) {
		case *dns.A:
			ip = rr.A.To4()
		case *dns.AAAA:
			ip = rr.AAAA
		}
		if len(ip) == 0 || len(addrs) >= MaxAddrs || rr.Header().Ttl == 0 || !strings.EqualFold(rr.Header().Name, host) {
			continue
		}
		if a, ok := netip.AddrFromSlice(ip); ok {
			addrs = append(addrs, a.Unmap())
		}
	}
	return addrs
}
