package natlab

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/tcppunch/tcppunch/tcppunch/natlab/internal/ip"
)

// Names of the interfaces of a Linux NAT or router.
const (
	wanName = "wan"
	lanName = "lan"
)

func (b *builder) linuxNAT(n *natPlan, lan *segment, at joint) *box {
	x := b.box(n.Name)
	bits, bits6 := 32, 128
	var gateway, gateway6 netip.Addr
	if n.Behind != "" {
		for i := range b.plan.nats {
			if o := &b.plan.nats[i]; o.Name == n.Behind {
				bits, bits6, gateway, gateway6 = o.lan.Bits(), 64, o.inside, o.in6
			}
		}
	}
	wan := b.port(x, Outside, wanName, withBits(n.outside, bits), withBits(n.out6, bits6))
	wan.routes = b.defaults(gateway, gateway6)
	x.flows = newFlows()
	wan.station.up, wan.station.flows = at.up, x.flows
	*at.down = wan.station
	in := b.port(x, Inside, lanName, withBits(n.inside, n.lan.Bits()), withBits(n.in6, 64))
	in.station.up = fromGateway{lan}
	lan.gateway = in.station
	for i := range b.plan.nats {
		if o := &b.plan.nats[i]; o.Behind == n.Name {
			for _, p := range o.inner6 {
				in.routes = append(in.routes, fmt.Sprintf("%v via %v", p, o.out6))
			}
		}
	}
	x.sysctls = append(x.sysctls, forwarding()...)
	x.rules = natRules(&n.NAT)
	return x
}

// linuxRouter is the nth Linux kernel between a NAT and its wire.
func (b *builder) linuxRouter(n *natPlan, nth int) *box {
	x := b.box(fmt.Sprintf("%s-router%d", n.Name, nth))
	r := b.plan.routerAddrs(b.wires-1, 200+nth, n.Behind != "")
	for _, name := range []string{wanName, lanName} {
		b.port(x, Side(-1), name, withBits(r.addr, 32), withBits(r.addr6, 128))
	}
	x.ports[0].routes = b.defaults(netip.Addr{}, netip.Addr{})
	x.ports[1].routes = []string{n.outside.String()}
	for _, p := range n.inner6 {
		x.ports[1].routes = append(x.ports[1].routes, p.String())
	}
	if n.out6.IsValid() {
		x.ports[1].routes = append(x.ports[1].routes, n.out6.String())
	}
	x.sysctls = append(x.sysctls, forwarding()...)
	return x
}

// fromGateway takes what a Linux NAT sends into its LAN.
type fromGateway struct{ *segment }

func (g fromGateway) accept(p *ip.Packet) { g.forward(p, nil) }

// forwarding makes a kernel a router that answers every packet that it must answer.
func forwarding() []string {
	return []string{
		"net/ipv4/ip_forward", "1", "net/ipv6/conf/all/forwarding", "1",
		"net/ipv4/icmp_ratelimit", "0", "net/ipv6/icmp/ratelimit", "0",
	}
}

// refuse returns the nft statements that answer what is unsolicited, the last of them for all that is left.
func refuse(u Unsolicited) string {
	switch u {
	case Reset, Accept:
		return "meta l4proto tcp reject with tcp reset; reject with icmpx type port-unreachable"
	case ICMP:
		return "reject with icmpx type port-unreachable"
	case Prohibited:
		return "reject with icmpx type admin-prohibited"
	}
	return "drop"
}

// natRules are the rules of a Linux NAT: masquerade, and a firewall for both families.
func natRules(n *NAT) string {
	masquerade, input := "masquerade", refuse(n.Unsolicited)
	if n.Ports == Random {
		masquerade = "masquerade fully-random"
	}
	if n.Unsolicited == Accept {
		input = "accept"
	}
	var first strings.Builder
	for _, b := range n.Blocked {
		fmt.Fprintf(&first, "meta l4proto %v drop;", b)
	}
	if n.RefuseInboundSYN {
		fmt.Fprintf(&first, "iifname %q tcp flags & (syn|ack|rst) == syn jump refuse;", wanName)
	}
	return fmt.Sprintf(`
table ip nat {
	chain post { type nat hook postrouting priority 100; oifname %[1]q %[3]s; }
}
table inet filter {
	chain refuse { %[6]s; }
	chain input {
		type filter hook input priority 0;
		iifname { %[2]q, "lo" } accept; ct state established,related accept; %[4]s;
	}
	chain forward {
		type filter hook forward priority 0;
		%[5]s ct state established,related accept; iifname %[2]q accept; %[6]s;
	}
}
`, wanName, lanName, masquerade, input, first.String(), refuse(n.Unsolicited))
}

// hostRules are the rules of a host's own firewall.
func hostRules(f Firewall) string {
	refusal := "drop"
	switch f {
	case NoFirewall:
		return ""
	case RejectUnsolicited:
		refusal = refuse(Reset)
	}
	return fmt.Sprintf(`
table inet filter {
	chain input { type filter hook input priority 0; iifname "lo" accept; ct state established,related accept; %s; }
}
`, refusal)
}
