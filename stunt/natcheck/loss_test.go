package natcheck

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tcppunch/tcppunch/stunt/stun"
	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// filter adds rules to a host of a lab.
func filter(t *testing.T, host *natlab.Machine, rules ...string) {
	t.Helper()
	script := "table inet broken {"
	for _, r := range rules {
		script += " " + r + ";"
	}
	if r := host.Run("nft", script+" }"); r.Code != 0 {
		t.Fatalf("nft: %s%s", r.Stdout, r.Stderr)
	}
}

// Chains for rules, and the ports that systems give out.
const (
	in   = "chain in { type filter hook input priority 10; tcp dport 32768-65535 ct state new "
	out  = "chain out { type filter hook output priority 10; "
	syns = "tcp flags & (syn|ack) == syn "
)

// What goes wrong on the way, or at the server, is not taken for a refusal by the NAT.
func TestNoFalseRefusal(t *testing.T) {
	symmetric := natlab.NAT{Mapping: natlab.AddressAndPortDependent, Ports: natlab.Random}
	for _, tt := range []struct {
		name    string
		nat     natlab.NAT
		friend  bool // that SYNs of the server's get out was seen before the rule came
		host    string
		rule    string
		mapping Behavior
		inbound Outcome
		dialled bool // what an unsolicited SYN meets is known
	}{
		{"server rejects", natlab.NAT{RSTEndsSession: true}, true, "s", in + "reject with tcp reset; }", EndpointIndependent, "", true},
		{"server drops", natlab.NAT{}, true, "s", in + "drop; }", EndpointIndependent, Accepted, true},
		{"server drops, NAT refuses", natlab.NAT{RefuseInboundSYN: true}, true, "s", in + "drop; }", EndpointIndependent, "", true},
		{"server may not dial", natlab.NAT{}, false, "s", out + syns + "drop; }", EndpointIndependent, "", false},
		{"server may not dial, by RST", natlab.NAT{}, false, "s", out + "meta l4proto tcp " + syns + "reject with tcp reset; }", EndpointIndependent, "", false},
		{"server may not dial, by ICMP", natlab.NAT{}, false, "s", out + syns + "reject; }", EndpointIndependent, "", false},
		{
			"second ports are late", symmetric, true, "s",
			"chain in { type filter hook input priority 10; tcp dport 3479 " + syns + "quota until 120 bytes drop; }",
			AddressAndPortDependent, Accepted, true,
		},
		{
			"first SYNs are lost", natlab.NAT{Unsolicited: natlab.Reset}, true, "a",
			out + "tcp dport 32768-65535 " + syns + "quota until 240 bytes drop; }", EndpointIndependent, Accepted, true,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			lab := natlab.New(t, behind(tt.nat))
			o := Options{Servers: serversAt(lab.Host("s").Addr(), also)}
			startServer(t, lab.Host("s"), ServerConfig{Alt: also})
			if tt.friend {
				runClient(t, lab.Host("friend"), o)
			}
			filter(t, lab.Host(tt.host), tt.rule)
			res := runClient(t, lab.Host("a"), o)
			if res.Err != "" {
				t.Fatal(res.Err)
			}
			t.Logf("after %v: %+v", res.Took, *res.Report)
			want(t, map[string][2]any{
				"mapping":           {res.Report.TCP.Mapping, tt.mapping},
				"inbound SYN":       {res.Report.TCP.InboundSYN, tt.inbound},
				"unsolicited known": {res.Report.TCP.Unsolicited != "", tt.dialled},
			})
		})
	}
}

// A quick check tells what a punch depends on, and asks for no more.
func TestQuick(t *testing.T) {
	t.Parallel()
	lab := natlab.New(t, behind(natlab.NAT{RefuseInboundSYN: true}))
	r := report(t, lab, Options{Quick: true})
	want(t, map[string][2]any{
		"mapping": {r.TCP.Mapping, EndpointIndependent}, "inbound SYN": {r.TCP.InboundSYN, Silent}, "hairpin": {r.TCP.Hairpin, No},
		"ports": {r.TCP.Ports, Preserving}, "routers": {r.Routers, 1}, "unsolicited": {r.TCP.Unsolicited, ""}, "UDP": {r.UDP, Transport{}},
	})
}

// Two tries have to agree, but for a success.
func TestAgree(t *testing.T) {
	for _, tt := range []struct{ one, two, want Outcome }{
		{Accepted, RST, Accepted}, {RST, Accepted, Accepted}, {"", Accepted, Accepted}, {RST, RST, RST}, {Silent, Silent, Silent},
		{RST, Silent, ""}, {"", RST, ""}, {Silent, "", ""}, {"", "", ""},
	} {
		got := agree(t.Context(), Accepted, func(_ context.Context, n int) Outcome { return []Outcome{tt.one, tt.two}[n] })
		if got != tt.want {
			t.Errorf("%q and %q: got %q, want %q", tt.one, tt.two, got, tt.want)
		}
	}
}

// What a server tells of a dial-back, by how long it took and by what it knows of its own way out.
func TestBelieve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(ServerConfig{})
		const rtt = 100 * time.Millisecond
		expect := func(from netip.Addr, o Outcome, took time.Duration, want Outcome) {
			t.Helper()
			if got := s.believe(from, o, took, rtt); got != want {
				t.Errorf("%q after %v: got %q, want %q", o, took, got, want)
			}
		}
		full := dialTime(rtt)
		expect(loop, Silent, full, "") // nothing was ever answered
		expect(loop, RST, time.Millisecond, "")
		expect(loop, ICMP, time.Millisecond, "")
		expect(loop, Silent, full, "")
		expect(loop, ICMP, rtt, ICMP)
		expect(loop, RST, rtt, RST)
		expect(loop, Silent, full, Silent)
		expect(loop, Silent, full+time.Second, "") // too busy to tell
		expect(other, Silent, full, "")
		expect(other, Accepted, 0, Accepted)
		expect(other, Silent, full, Silent)
		time.Sleep(proofLife)
		expect(loop, Silent, full, "")
	})
}

// Who asks too much over UDP is not answered, the sooner if the answers go or come from elsewhere; others are.
func TestUDPLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(ServerConfig{})
		from, asked := netip.AddrPortFrom(loop, 7070), netip.AddrPortFrom(other, 3478)
		count := func(to netip.AddrPort) (n int) {
			for range 1000 {
				if s.affords(from, asked, asked, to) {
					n++
				}
			}
			return n
		}
		elsewherePort := netip.AddrPortFrom(loop, 9)
		if detours, plain := count(elsewherePort), count(from); detours != detourBurst || plain != answerBurst-detourBurst {
			t.Errorf("%d and %d answers at once, want %d and %d", detours, plain, detourBurst, answerBurst-detourBurst)
		}
		if !s.affords(netip.AddrPortFrom(elsewhere, 1), asked, asked, netip.AddrPortFrom(elsewhere, 1)) {
			t.Error("another client is not answered")
		}
		time.Sleep(time.Second)
		if detours, plain := count(elsewherePort), count(from); detours != detourRate || plain != answerRate-detourRate {
			t.Errorf("%d and %d answers after a second, want %d and %d", detours, plain, detourRate, answerRate-detourRate)
		}
	})
}

// What is known when the time is over is reported.
func TestRunOutOfTime(t *testing.T) {
	at := liar{func(q *stun.Request, from netip.AddrPort) []byte {
		if p, ok := findProbe(q.Extra); ok && p.op != opHello {
			return nil
		}
		return answer(q, stun.Response{Result: stun.Result{Mapped: from}, Extra: []stun.Attribute{probe{opHello, 0xFF, 9}.attribute()}})
	}}.serve(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	r, err := Run(ctx, &Options{Servers: []string{at}})
	if err != nil {
		t.Fatal(err)
	}
	want(t, map[string][2]any{
		"mapping": {r.TCP.Mapping, NoNAT}, "inbound SYN": {r.TCP.InboundSYN, ""}, "unsolicited": {r.TCP.Unsolicited, ""},
	})
}
