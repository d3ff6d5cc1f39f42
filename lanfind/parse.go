package lanfind

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
	maxMessage = 9000 // bytes, RFC 6762, section 17
	maxRecords = 512  // of one message
	maxFound   = 32   // instances of one message that are looked at
	maxAddrs   = 8    // of one peer

	maxTTL = 2 * time.Minute // to which longer ones are cut, so that nothing false stays for long
)

// errMessage says that a packet is no message, or one of no use here.
var errMessage = errors.New("not a message of multicast DNS")

// A message is what matters here of a DNS message.
type message struct {
	id        uint16
	response  bool
	questions []dns.Question
	known     map[string]bool // labels of instances that a query knows for long enough
	found     []instance
	bare      []string // labels of instances without the records that describe them
}

// An instance is what a message says about one instance of the service.
type instance struct {
	label  string
	claims claims
	addrs  []netip.Addr  // without zones
	ttl    time.Duration // 0 is a goodbye
}

// claims are what a peer says of itself.
type claims struct {
	id, name, room, key string
	port                uint16
	since               int64 // Unix time, or 0
}

// parse reads a packet. Everything in it is a stranger's word.
func parse(b []byte) (*message, error) {
	if len(b) < 12 || len(b) > maxMessage {
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
	m := &message{id: d.Id, response: d.Response}
	if d.Response {
		m.read(append(d.Answer, d.Extra...))
		return m, nil
	}
	m.questions = d.Question
	m.readKnown(d.Answer)
	m.read(d.Extra) // who asks by datagram introduces itself
	return m, nil
}

// readKnown reads the known answers of a query (RFC 6762, section 7.1).
func (m *message) readKnown(all []dns.RR) {
	for _, rr := range all {
		ptr, ok := rr.(*dns.PTR)
		if !ok || ptr.Hdr.Ttl < ttlSeconds/2 || len(m.known) >= maxRecords {
			continue
		}
		if label, ok := pointsTo(ptr); ok {
			if m.known == nil {
				m.known = make(map[string]bool)
			}
			m.known[label] = true
		}
	}
}

// pointsTo returns the instance to which a record of our service type points.
func pointsTo(ptr *dns.PTR) (label string, ok bool) {
	if !strings.EqualFold(ptr.Hdr.Name, serviceName) {
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
func (m *message) read(all []dns.RR) {
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
func (m *message) add(label string, p *parts, all []dns.RR) {
	switch {
	case p.ptr != nil && p.ptr.Hdr.Ttl == 0, p.srv != nil && p.srv.Hdr.Ttl == 0:
		m.found = append(m.found, instance{label: label})
	case p.srv != nil && p.txt != nil && p.srv.Port != 0:
		ttl := p.srv.Hdr.Ttl
		if p.ptr != nil {
			ttl = min(ttl, p.ptr.Hdr.Ttl)
		}
		m.found = append(m.found, instance{
			label:  label,
			claims: readClaims(label, p),
			addrs:  addressesOf(p.srv.Target, all),
			ttl:    min(time.Duration(ttl)*time.Second, maxTTL),
		})
	case p.ptr != nil:
		m.bare = append(m.bare, label)
	}
}

// readClaims reads what an instance says of itself. What is malformed counts as not said.
func readClaims(label string, p *parts) claims {
	c := claims{port: p.srv.Port}
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
			c.id = value
		case key == "room" && validRoom(value):
			c.room = value
		case key == "key" && validKey(value):
			c.key = value
		case key == "since":
			if n, err := strconv.ParseInt(value, 10, 64); err == nil && n > 0 && n < 1<<40 {
				c.since = n
			}
		}
	}
	c.name = nickname(label, c.id)
	if c.id == "" { // announced by another program
		c.id = cut(cleanText(label), maxLabel)
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
		if len(ip) == 0 || len(addrs) >= maxAddrs || rr.Header().Ttl == 0 || !strings.EqualFold(rr.Header().Name, host) {
			continue
		}
		if a, ok := netip.AddrFromSlice(ip); ok {
			addrs = append(addrs, a.Unmap())
		}
	}
	return addrs
}
