package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/tcppunch/tcppunch/lanfind"
	"github.com/tcppunch/tcppunch/tcppunch/transfer"
)

// A level is what a finding is worth.
type level string

const (
	isOK        level = "ok"
	isProblem   level = "problem"   // a test showed it
	isSuspected level = "suspected" // the tests allow other causes too
	isNote      level = "note"
)

// A finding is what a test means. It is an event of the contract.
type finding struct {
	Code   string `json:"code"`
	Level  level  `json:"level"`
	Result string `json:"result"`
	Tested string `json:"tested"`
	Advice string `json:"advice"`
}

// verdicts says what a report means. Only what a test has shown is called a problem.
func verdicts(r *lanReport) []finding {
	var all []finding
	fit := 0
	for i := range r.Interfaces {
		s := &r.Interfaces[i]
		if s.Unfit != "" {
			continue
		}
		fit++
		all = append(all, s.addresses(), s.multicast(r))
		if len(s.Strangers) > 0 {
			all = append(all, s.strangers())
		}
		if len(s.Detours) > 0 {
			all = append(all, s.detours())
		}
		if r.Peers == 0 && len(s.Voices) == 0 {
			all = append(all, s.company())
		}
	}
	if fit == 0 {
		all = append(all, noInterface(r))
	}
	all = append(all, r.datagrams(fit)...)
	if f, ok := r.vpn(); ok {
		all = append(all, f)
	}
	return append(all, r.peers(fit))
}

// noInterface tells why there is none.
func noInterface(r *lanReport) finding {
	f := finding{Code: "no-interface", Level: isProblem, Result: "This machine is on no network", Tested: "all network interfaces",
		Advice: "Plug in the cable, or join the wireless network"}
	var each []string
	for _, s := range r.Interfaces {
		each = append(each, transfer.Clean(s.Name)+": "+s.Unfit)
		if s.Unfit == "no address" {
			f.Advice = "The interface is up and has no address: see why it gets none (DHCP), or give it one"
		}
	}
	if len(each) > 0 {
		f.Tested += " (" + strings.Join(each[:min(len(each), 8)], ", ") + ")"
	}
	return f
}

// addresses judges those of an interface that is in use.
func (s *lanSeen) addresses() finding {
	f := finding{Code: "interface", Level: isOK, Result: fmt.Sprintf("%s is up", interfaceText(&s.Interface)), Tested: "state and addresses"}
	four := slices.DeleteFunc(slices.Clone(s.Addrs), func(p netip.Prefix) bool { return !p.Addr().Is4() })
	if len(four) > 0 && !slices.ContainsFunc(four, func(p netip.Prefix) bool { return !p.Addr().IsLinkLocalUnicast() }) {
		f.Code, f.Level = "self-assigned", isSuspected
		f.Result = fmt.Sprintf("%s has given itself an address, since nobody gave it one", interfaceText(&s.Interface))
		f.Advice = "Other machines have probably one of another network: see why DHCP does not answer"
	}
	return f
}

// multicast judges whether it goes out and comes in.
func (s *lanSeen) multicast(r *lanReport) finding {
	name := transfer.Clean(s.Name)
	asked, echoed := s.Asked[0]+s.Asked[1], s.Echoed[0]+s.Echoed[1]
	voices := "no other host"
	if n := len(s.Voices); n > 0 {
		voices = plural(n, "other host")
	}
	f := finding{Code: "multicast", Level: isOK, Tested: fmt.Sprintf("%s sent by multicast, %s of this machine came back to it, %s heard",
		plural(asked, "packet"), numbered(echoed), voices)}
	switch {
	case !s.Multicast:
		f.Code, f.Level, f.Result, f.Tested = "multicast-off", isProblem, "Multicast is switched off on "+name, "the interface's flags"
		f.Advice = "Switch it on (Linux: ip link set dev " + name + " multicast on). Until then hosts are looked for by datagrams to every address"
	case asked == 0:
		f.Code, f.Level, f.Result = "multicast-unsent", isProblem, "Multicast does not get out by "+name
		f.Tested = "questions by multicast" + because(r.Trouble)
		f.Advice = "See the routes for 224.0.0.0/4 and ff00::/8, and the rules of this machine's firewall for what goes out"
	case echoed == 0:
		f.Code, f.Level, f.Result = "multicast-dropped", isProblem, "This machine's firewall drops multicast that comes in by "+name
		f.Advice = "Let UDP port 5353 to 224.0.0.251 and ff02::fb in. Until then hosts are looked for by datagrams, which takes seconds longer and needs this program at work on both sides"
		if r.Peers > 0 {
			f.Level = isNote // something else does its work
		}
	case s.Asked[0] > 0 && s.Echoed[0] == 0 || s.Asked[1] > 0 && s.Echoed[1] == 0:
		of := "IPv4"
		if s.Echoed[0] > 0 {
			of = "IPv6"
		}
		f.Level, f.Result = isNote, fmt.Sprintf("Multicast works on %s, but not that of %s", name, of)
	case len(s.Voices) == 0:
		f.Result = "Multicast goes out by " + name + " and is let in"
	default:
		f.Result = fmt.Sprintf("Multicast on %s works, from other hosts too", name)
	}
	return f
}

// are counts what is there.
func are(n int, one string) string {
	if n == 1 {
		return "1 " + one + " is"
	}
	return fmt.Sprintf("%d %ss are", n, one)
}

func addresses(n int) string {
	if n == 1 {
		return "1 address"
	}
	return fmt.Sprintf("%d addresses", n)
}

func numbered(n int) string {
	if n == 0 {
		return "none"
	}
	return fmt.Sprint(n)
}

// because is what errors say, or nothing.
func because(all []error) string {
	if len(all) == 0 {
		return ""
	}
	return " (" + shown(all[0]) + ")"
}

func (s *lanSeen) strangers() finding {
	return finding{Code: "other-subnet", Level: isProblem,
		Result: fmt.Sprintf("%s on %s, but with addresses of another network: %s", are(len(s.Strangers), "host"), transfer.Clean(s.Name), some(s.Strangers)),
		Tested: "where packets came from, against " + strings.Join(networksOf(s.Addrs), ", "),
		Advice: "Give both machines addresses of one network (both by DHCP from one router), or use a server with --server"}
}

// detours judges routes that lead away from the interface.
func (s *lanSeen) detours() finding {
	d := s.Detours[0]
	f := finding{Code: "route", Level: isProblem, Tested: fmt.Sprintf("by which interface the system would send to %s", some(addrsOf(s.Detours)))}
	switch {
	case d.Via == "":
		f.Result = fmt.Sprintf("The system has no route to addresses of %s's own network", transfer.Clean(s.Name))
		f.Advice = "See the routes, and the rules of a VPN or firewall that take them away"
	case d.Tunnel:
		f.Code = "vpn-route"
		f.Result = fmt.Sprintf("The VPN %s takes what should go to hosts on %s", transfer.Clean(d.Via), transfer.Clean(s.Name))
		f.Advice = "Allow access to the local network in the VPN's settings, or end it while you send"
	default:
		f.Result = fmt.Sprintf("Addresses of %s's own network lead to %s", transfer.Clean(s.Name), transfer.Clean(d.Via))
		f.Advice = "Two interfaces have networks that overlap: change one of them"
	}
	return f
}

// company judges who is there at all, where nobody was heard.
func (s *lanSeen) company() finding {
	name := transfer.Clean(s.Name)
	f := finding{Code: "alone", Level: isSuspected, Tested: fmt.Sprintf("%s asked by datagram, of which %s answered ARP", addresses(s.Swept), s.answering())}
	switch {
	case !s.Table || s.Swept == 0:
		f.Code, f.Level, f.Result = "unknown", isNote, "Whether anybody else is on "+name+" cannot be told"
		f.Tested = "the system's table of neighbours, which cannot be read here"
		if s.Swept == 0 {
			f.Tested = "nothing, since no datagram could be sent"
		}
	case len(s.Hosts) == 0 && s.Gateway.IsValid():
		f.Code, f.Result = "isolation", fmt.Sprintf("On %s only the router answers: either nobody else is there, or the access point keeps its guests apart (client isolation)", name)
		f.Advice = "Use another network than one for guests, a cable, or a hotspot of one of the machines; or a server with --server"
	case len(s.Hosts) == 0:
		f.Result = fmt.Sprintf("On %s nobody answers: either nobody is there, or the network keeps its hosts apart (client isolation, another VLAN)", name)
		f.Advice = "See that both machines are on the same network"
	case s.Reached == 0:
		f.Code, f.Result = "isolation", fmt.Sprintf("%s on %s, but what is sent to them gets no answer: their firewalls drop it, or the network keeps hosts apart (client isolation)", are(len(s.Hosts), "other host"), name)
		f.Tested += fmt.Sprintf("; connecting to %d of them by TCP", s.Tried)
		f.Advice = "Run this test on the other machine; if it sees as little, use another network, or a server with --server"
	default:
		f.Code, f.Level, f.Result = "neighbours", isOK, fmt.Sprintf("%s on %s and can be reached, but none of them announces itself", are(len(s.Hosts), "other host"), name)
		f.Tested += fmt.Sprintf("; connecting to %d of them by TCP, of which %d answered", s.Tried, s.Reached)
	}
	return f
}

// answering counts who answers ARP.
func (s *lanSeen) answering() string {
	n := len(s.Hosts)
	if s.Gateway.IsValid() {
		n++
	}
	return numbered(n)
}

// datagrams judges what goes to single addresses.
func (r *lanReport) datagrams(fit int) []finding {
	var all []finding
	if r.Port != nil {
		all = append(all, finding{Code: "port-taken", Level: isProblem,
			Result: fmt.Sprintf("Another program has UDP port %d, from which datagrams would go", lanfind.DefaultPort),
			Tested: "opening it (" + shown(r.Port) + ")", Advice: "End that program. Until then hosts whose firewalls drop multicast are not found"})
	}
	if r.Forbidden > 0 {
		all = append(all, finding{Code: "sending-forbidden", Level: isProblem, Result: "This machine's firewall does not let packets out to the local network",
			Tested: fmt.Sprintf("sending, which the system refused %s", plural(r.Forbidden, "time")),
			Advice: "See its rules for what goes out, and those of a VPN that shuts out the local network"})
	}
	if other := slices.DeleteFunc(slices.Clone(r.Trouble), func(err error) bool { return errors.Is(err, lanfind.ErrPort) }); len(other) > 0 && fit > 0 {
		all = append(all, finding{Code: "trouble", Level: isNote, Result: "Not all packets could be sent: " + shown(other[0]), Tested: "sending"})
	}
	return all
}

// vpn tells of one that leaves the local network alone.
func (r *lanReport) vpn() (finding, bool) {
	for _, s := range r.Interfaces {
		if !s.Tunnel || s.Unfit == "down" {
			continue
		}
		name := transfer.Clean(s.Name)
		if slices.ContainsFunc(r.Interfaces, func(o lanSeen) bool {
			return slices.ContainsFunc(o.Detours, func(d detour) bool { return d.Via == s.Name })
		}) {
			continue // it has been told
		}
		f := finding{Code: "vpn", Level: isNote, Result: fmt.Sprintf("The VPN %s is up, and leaves the local network alone", name),
			Tested: "by which interface the system would send to hosts of the local network, and to others"}
		if r.Default == s.Name {
			f.Result = fmt.Sprintf("The VPN %s takes all that leaves the local network, but not what stays there", name)
		}
		return f, true
	}
	return finding{}, false
}

// peers tells who was found.
func (r *lanReport) peers(fit int) finding {
	f := finding{Code: "peers", Level: isOK, Result: are(r.Peers, "peer") + " seen", Tested: "multicast and datagrams, for some seconds"}
	switch {
	case r.Peers > 0:
	case fit > 0:
		f.Level, f.Result = isNote, "No peer announces itself, so far as this machine can hear"
		f.Advice = "Is tcppunch at work on the other machine? It is seen only while it waits"
	default:
		f.Level, f.Result = isNote, "No peer is seen"
	}
	if r.ByDatagram > 0 {
		f.Result += fmt.Sprintf(", %d by datagrams alone", r.ByDatagram)
	}
	return f
}

// some are the first few of many addresses.
func some(all []netip.Addr) string {
	var each []string
	for _, a := range all[:min(len(all), 3)] {
		each = append(each, a.String())
	}
	if len(all) > 3 {
		each = append(each, fmt.Sprintf("%d more", len(all)-3))
	}
	return strings.Join(each, ", ")
}

func addrsOf(all []detour) []netip.Addr {
	var addrs []netip.Addr
	for _, d := range all {
		addrs = append(addrs, d.To)
	}
	return addrs
}

func networksOf(all []netip.Prefix) []string {
	var each []string
	for _, p := range all {
		if p.Addr().Is4() {
			each = append(each, p.Masked().String())
		}
	}
	return each
}
