package lanfind

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
	ttlSeconds    = uint32(maxTTL / time.Second)
	legacySeconds = 10      // the most for askers of plain DNS: RFC 6762, section 6.7
	cacheFlush    = 1 << 15 // RFC 6762, section 10.2
	maxKnown      = 20      // known answers in a query, which shall fit into one packet
)

// wants are the records that were asked for.
type wants uint8

const (
	wantType     wants = 1 << iota // that the service type is here
	wantPTR                        // that this instance is
	wantInstance                   // what it is
	wantHost                       // where it is

	wantAll = wantPTR | wantInstance | wantHost
)

// local is what this program announces, as DNS has it.
type local struct {
	label, instance, host string
	port                  uint16
	txt                   []string
}

func newLocal(s *Service, now time.Time) *local {
	l := &local{label: instanceLabel(s.Name, s.ID), port: s.Port}
	l.instance = escapeLabel(l.label) + "." + serviceName
	// A host name of its own: that of the machine belongs to the system's responder, and may tell what the nickname shall not.
	l.host = "tcppunch-" + s.ID + ".local."
	l.txt = []string{"txtvers=1", "id=" + s.ID, "since=" + strconv.FormatInt(now.Unix(), 10)}
	if s.Room != "" {
		l.txt = append(l.txt, "room="+s.Room)
	}
	if s.Key != "" {
		l.txt = append(l.txt, "key="+s.Key)
	}
	for i, t := range l.txt {
		l.txt[i] = strings.ReplaceAll(t, `\`, `\\`) // an escape in package dns
	}
	return l
}

// asked returns what of l a query asks for, but for what the asker knows.
func (l *local) asked(m *message) wants {
	var w wants
	for _, q := range m.questions {
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
		case strings.EqualFold(q.Name, serviceName) && is(dns.TypePTR):
			if !m.known[l.label] {
				w |= wantPTR
			}
		case strings.EqualFold(q.Name, metaName) && is(dns.TypePTR):
			w |= wantType
		case ours && strings.EqualFold(label, l.label) && is(dns.TypeSRV, dns.TypeTXT):
			w |= wantInstance
		case strings.EqualFold(q.Name, l.host) && is(dns.TypeA, dns.TypeAAAA):
			w |= wantHost
		}
	}
	return w
}

// answer is a response with what is wanted, and beside it whatever one needs to reach the host, so that one packet is
// enough (RFC 6763, section 12). A TTL of 0 is a goodbye.
func (l *local) answer(w wants, addrs []netip.Addr, ttl uint32) *dns.Msg {
	m := new(dns.Msg)
	m.Response, m.Authoritative = true, true
	put := func(with wants, rr ...dns.RR) {
		if w&with != 0 {
			m.Answer = append(m.Answer, rr...)
		} else if w != wantType {
			m.Extra = append(m.Extra, rr...)
		}
	}
	if w&wantType != 0 {
		m.Answer = append(m.Answer, &dns.PTR{Hdr: header(metaName, dns.TypePTR, ttl), Ptr: serviceName})
	}
	if w&wantPTR != 0 {
		put(wantPTR, &dns.PTR{Hdr: header(serviceName, dns.TypePTR, ttl), Ptr: l.instance})
	}
	put(wantInstance, l.service(ttl)...)
	hosts, types := l.hosts(addrs, ttl)
	put(wantHost, hosts...)
	if w != wantType && ttl != 0 {
		// That there is no more than this, so that nobody waits for it (RFC 6762, section 6.1).
		m.Extra = append(m.Extra,
			&dns.NSEC{Hdr: unique(l.instance, dns.TypeNSEC, ttl), NextDomain: l.instance, TypeBitMap: []uint16{dns.TypeTXT, dns.TypeSRV}},
			&dns.NSEC{Hdr: unique(l.host, dns.TypeNSEC, ttl), NextDomain: l.host, TypeBitMap: types})
	}
	return m
}

func (l *local) service(ttl uint32) []dns.RR {
	return []dns.RR{
		&dns.SRV{Hdr: unique(l.instance, dns.TypeSRV, ttl), Port: l.port, Target: l.host},
		&dns.TXT{Hdr: unique(l.instance, dns.TypeTXT, ttl), Txt: l.txt},
	}
}

// hosts returns the address records, and which types there are.
func (l *local) hosts(addrs []netip.Addr, ttl uint32) (all []dns.RR, types []uint16) {
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

// legacy is the answer to an asker of plain DNS, who wants it to look like one of a server (RFC 6762, section 6.7).
func (l *local) legacy(m *message, w wants, addrs []netip.Addr) *dns.Msg {
	a := l.answer(w, addrs, legacySeconds)
	a.Id, a.Question = m.id, m.questions
	for _, rr := range append(a.Answer, a.Extra...) {
		rr.Header().Class &^= cacheFlush
	}
	return a
}

// a knownAnswer is an instance for which nobody needs to answer again.
type knownAnswer struct {
	label string
	left  time.Duration
}

// query asks for all instances, and for what describes the bare ones.
func query(known []knownAnswer, bare []string) *dns.Msg {
	m := new(dns.Msg)
	m.Question = []dns.Question{{Name: serviceName, Qtype: dns.TypePTR, Qclass: dns.ClassINET}}
	for _, label := range bare {
		m.Question = append(m.Question, dns.Question{Name: escapeLabel(label) + "." + serviceName, Qtype: dns.TypeANY, Qclass: dns.ClassINET})
	}
	for _, k := range known[:min(len(known), maxKnown)] {
		m.Answer = append(m.Answer, &dns.PTR{
			Hdr: header(serviceName, dns.TypePTR, uint32(k.left/time.Second)), Ptr: escapeLabel(k.label) + "." + serviceName,
		})
	}
	return m
}

// hello is what goes out by datagram: a query in which the asker introduces itself, if it announces anything.
func hello(l *local, addrs []netip.Addr) *dns.Msg {
	m := query(nil, nil)
	if l != nil {
		hosts, _ := l.hosts(addrs, ttlSeconds)
		m.Extra = append(append(m.Extra, l.service(ttlSeconds)...), hosts...)
	}
	return m
}

func encode(m *dns.Msg) ([]byte, error) {
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
