package dnssd

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// TTL is how many seconds announcements are good for.
	TTL = uint32(MaxTTL / time.Second)
	// MaxKnown is how many known answers a query has, which shall fit into one packet.
	MaxKnown = 20

	legacySeconds = 10      // the most for askers of plain DNS: RFC 6762, section 6.7
	cacheFlush    = 1 << 15 // RFC 6762, section 10.2
)

// Wants are the records that were asked for.
type Wants uint8

// What can be asked for, and all that describes an instance.
const (
	WantType     Wants = 1 << iota // that the service type is here
	WantPTR                        // that this instance is
	WantInstance                   // what it is
	WantHost                       // where it is

	WantAll = WantPTR | WantInstance | WantHost
)

// Local is what this program announces, as DNS has it.
type Local struct {
	// Label is the first label of the name of its instance.
	Label string

	instance, host string // names
	port           uint16
	txt            []string
}

// New returns what announces c, which Check has found good.
func New(c Claims) *Local { return Named(instanceLabel(c.Name, c.ID), c) }

// Named is New with a label of the caller's.
func Named(label string, c Claims) *Local {
	l := &Local{Label: label, port: c.Port}
	l.instance = escapeLabel(l.Label) + "." + ServiceName
	// A host name of its own: that of the machine belongs to the system's responder, and may tell what the nickname shall not.
	l.host = "tcppunch-" + c.ID + ".local."
	l.txt = []string{"txtvers=1", "id=" + c.ID, "since=" + strconv.FormatInt(c.Since, 10)}
	if c.Room != "" {
		l.txt = append(l.txt, "room="+c.Room)
	}
	if c.Key != "" {
		l.txt = append(l.txt, "key="+c.Key)
	}
	for i, t := range l.txt {
		l.txt[i] = strings.ReplaceAll(t, `\`, `\\`) // an escape in package dns
	}
	return l
}

// Asked returns what of l a query asks for, but for what the asker knows.
func (l *Local) Asked(m *Message) Wants {
	var w Wants
	for _, q := range m.Questions {
		if class := q.Qclass &^ cacheFlush; class != dns.ClassINET && class != dns.ClassANY {
			continue
		}
		is := func(types ...uint16) bool {
			for _, t := range types {
				if q.Qtype == t {
					return true
				}
			}
			return q.Qtype == dns.TypeANY
		}
		switch label, ours := instanceOf(q.Name); {
		case strings.EqualFold(q.Name, ServiceName) && is(dns.TypePTR):
			if !m.Known[l.Label] {
				w |= WantPTR
			}
		case strings.EqualFold(q.Name, metaName) && is(dns.TypePTR):
			w |= WantType
		case ours && strings.EqualFold(label, l.Label) && is(dns.TypeSRV, dns.TypeTXT):
			w |= WantInstance
		case strings.EqualFold(q.Name, l.host) && is(dns.TypeA, dns.TypeAAAA):
			w |= WantHost
		}
	}
	return w
}

// Answer is a response with what is wanted, and beside it whatever one needs to reach the host, so that one packet is
// enough (RFC 6763, section 12). A TTL of 0 is a goodbye.
func (l *Local) Answer(w Wants, addrs []netip.Addr, ttl uint32) *dns.Msg {
	m := new(dns.Msg)
	m.Response, m.Authoritative = true, true
	put := func(with Wants, rr ...dns.RR) {
		if w&with != 0 {
			m.Answer = append(m.Answer, rr...)
		} else if w != WantType {
			m.Extra = append(m.Extra, rr...)
		}
	}
	if w&WantType != 0 {
		m.Answer = append(m.Answer, &dns.PTR{Hdr: header(metaName, dns.TypePTR, ttl), Ptr: ServiceName})
	}
	if w&WantPTR != 0 {
		put(WantPTR, &dns.PTR{Hdr: header(ServiceName, dns.TypePTR, ttl), Ptr: l.instance})
	}
	put(WantInstance, l.service(ttl)...)
	hosts, types := l.hosts(addrs, ttl)
	put(WantHost, hosts...)
	if w != WantType && ttl != 0 {
		// That there is no more than this, so that nobody waits for it (RFC 6762, section 6.1).
		m.Extra = append(m.Extra,
			&dns.NSEC{Hdr: unique(l.instance, dns.TypeNSEC, ttl), NextDomain: l.instance, TypeBitMap: []uint16{dns.TypeTXT, dns.TypeSRV}},
			&dns.NSEC{Hdr: unique(l.host, dns.TypeNSEC, ttl), NextDomain: l.host, TypeBitMap: types})
	}
	return m
}

func (l *Local) service(ttl uint32) []dns.RR {
	return []dns.RR{
		&dns.SRV{Hdr: unique(l.instance, dns.TypeSRV, ttl), Port: l.port, Target: l.host},
		&dns.TXT{Hdr: unique(l.instance, dns.TypeTXT, ttl), Txt: l.txt},
	}
}

// hosts returns the address records, and which types there are.
func (l *Local) hosts(addrs []netip.Addr, ttl uint32) (all []dns.RR, types []uint16) {
	var six []dns.RR
	for _, a := range addrs {
		if a.Is4() {
			all = append(all, &dns.A{Hdr: unique(l.host, dns.TypeA, ttl), A: net.IP(a.AsSlice())})
		} else {
			six = append(six, &dns.AAAA{Hdr: unique(l.host, dns.TypeAAAA, ttl), AAAA: net.IP(a.AsSlice())})
		}
	}
	if len(all) > 0 {
		types = append(types, dns.TypeA)
	}
	if len(six) > 0 {
		types = append(types, dns.TypeAAAA)
	}
	return append(all, six...), types
}

// Legacy is the answer to an asker of plain DNS, who wants it to look like one of a server (RFC 6762, section 6.7).
func (l *Local) Legacy(m *Message, w Wants, addrs []netip.Addr) *dns.Msg {
	a := l.Answer(w, addrs, legacySeconds)
	a.Id, a.Question = m.ID, m.Questions
	for _, rr := range append(a.Answer, a.Extra...) {
		rr.Header().Class &^= cacheFlush
	}
	return a
}

// A Known answer is an instance for which nobody needs to answer again.
type Known struct {
	Label string
	Left  time.Duration // of its TTL
}

// Query asks for all instances, and for what describes the bare ones.
func Query(known []Known, bare []string) *dns.Msg {
	m := new(dns.Msg)
	m.Question = []dns.Question{{Name: ServiceName, Qtype: dns.TypePTR, Qclass: dns.ClassINET}}
	for _, label := range bare {
		m.Question = append(m.Question, dns.Question{Name: escapeLabel(label) + "." + ServiceName, Qtype: dns.TypeANY, Qclass: dns.ClassINET})
	}
	for _, k := range known[:min(len(known), MaxKnown)] {
		m.Answer = append(m.Answer, &dns.PTR{
			Hdr: header(ServiceName, dns.TypePTR, uint32(k.Left/time.Second)), Ptr: escapeLabel(k.Label) + "." + ServiceName,
		})
	}
	return m
}

// AskForTypes has a query ask for all service types there are.
func AskForTypes(q *dns.Msg) {
	q.Question = append(q.Question, dns.Question{Name: metaName, Qtype: dns.TypePTR, Qclass: dns.ClassINET})
}

// Hello is what goes out by datagram: a query in which the asker introduces itself, if it announces anything.
func Hello(l *Local, addrs []netip.Addr) *dns.Msg {
	m := Query(nil, nil)
	if l != nil {
		hosts, _ := l.hosts(addrs, TTL)
		m.Extra = append(append(m.Extra, l.service(TTL)...), hosts...)
	}
	return m
}

// Encode writes a message as it goes over the network.
func Encode(m *dns.Msg) ([]byte, error) {
	m.Compress = true
	b, err := m.Pack()
	if err != nil {
		return nil, fmt.Errorf("encoding a message: %w", err)
	}
	return b, nil
}

func header(name string, kind uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
}

// unique is the header of a record that nobody else has.
func unique(name string, kind uint16, ttl uint32) dns.RR_Header {
	h := header(name, kind, ttl)
	h.Class |= cacheFlush
	return h
}
