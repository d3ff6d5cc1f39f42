package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tcppunch/tcppunch/stunt/natcheck"
)

// checkCmd is `tcppunch check`.
type checkCmd struct {
	serverFlags
	Slow    bool          `help:"Measure too how long UDP mappings live, which takes as long as --longest."`
	Longest time.Duration `default:"3m" help:"With --slow: how long to look for the end of a mapping."`
}

// Help shows examples below the flags.
func (checkCmd) Help() string {
	return `It asks STUN servers, which tell how they see this side. What a router does to
incoming connections, only a server of this program tells:

  tcppunch check --server HOST
  tcppunch check --stun stun.example.org,stun2.example.org:443`
}

// Run prints what this network's routers do. A bad router is no failure.
func (c *checkCmd) Run(ctx context.Context, common *cli, out *output) error {
	servers, err := c.servers(common.STUN)
	if err != nil {
		return usage(err)
	}
	if c.Longest <= 0 || common.Timeout <= 0 {
		return usage(errors.New("--longest and --timeout must be more than nothing"))
	}
	took := "some seconds"
	if c.Slow {
		took = duration(c.Longest)
	}
	out.say("Asking %s, which takes %s …", strings.Join(servers, ", "), took)
	limited, cancel := context.WithTimeout(ctx, common.Timeout)
	defer cancel()
	r, err := natcheck.Run(limited, &natcheck.Options{Servers: servers, Slow: c.Slow, MaxLifetime: c.Longest})
	switch {
	case ctx.Err() != nil:
		return interrupted(context.Cause(ctx))
	case err == nil:
	case limited.Err() != nil:
		return &failure{statusNoPath, "timeout", err, "allow more time with --timeout"}
	default:
		return &failure{statusNoPath, "no-network", err, "connect this machine to a network, or name other servers with --server or --stun"}
	}
	meaning := r.Meaning()
	out.event("report", struct {
		*natcheck.Report
		Meaning []string `json:"meaning"`
	}{r, meaning})
	out.say("%s", strings.TrimSuffix(checkTable(r), "\n"))
	for _, s := range meaning {
		out.say("%s", s)
	}
	for _, s := range r.Skipped {
		out.detail("not tried: %s", s)
	}
	return nil
}

// servers are those of --server and of --stun, or else the public ones.
func (c *checkCmd) servers(given []string) ([]string, error) {
	host, err := c.host()
	if err != nil {
		return nil, err
	}
	if host == "" || len(given) == 0 {
		return c.stun(given), nil
	}
	all := c.stun(nil)
	for _, s := range stunServers(given) {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all, nil
}

// checkTable draws the report: a column for TCP, one for UDP.
func checkTable(r *natcheck.Report) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	row := func(cells ...string) {
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	tcp, udp := &r.TCP, &r.UDP
	row("", "TCP", "UDP")
	row("this side", address(tcp.Local, tcp.Blocked), address(udp.Local, udp.Blocked))
	row("seen as", address(tcp.Mapped, tcp.Blocked), address(udp.Mapped, udp.Blocked))
	row("mapping", known(mappingText(tcp)), known(mappingText(udp)))
	row("filtering", known(string(tcp.Filtering)), known(string(udp.Filtering)))
	if tcp.Ports != "" || udp.Ports != "" {
		row("ports", known(portsText(tcp)), known(portsText(udp)))
	}
	row("unsolicited SYN", known(met(tcp.Unsolicited)), "")
	row("SYN after our own", known(met(tcp.InboundSYN)), "")
	if tcp.RSTEnds != "" {
		row("RST ends session", string(tcp.RSTEnds), "")
	}
	if tcp.Hairpin != "" || udp.Hairpin != "" {
		row("hairpin", known(string(tcp.Hairpin)), known(string(udp.Hairpin)))
	}
	if udp.LifetimeMin > 0 || udp.LifetimeMax > 0 {
		row("lifetime when idle", "", lifetimeText(udp))
	}
	if r.Routers >= 0 {
		row("routers before the public side", fmt.Sprint(r.Routers), "")
	}
	if v6 := r.IPv6; v6.Address.IsValid() {
		row("IPv6", v6.Address.String(), "")
		row("  unsolicited SYN", known(met(v6.Unsolicited)), "")
		row("  SYN after our own", known(met(v6.InboundSYN)), "")
	}
	w.Flush() //nolint:errcheck // a strings.Builder takes all
	var lines []string
	for line := range strings.Lines(b.String()) {
		lines = append(lines, strings.TrimRight(line, " \n"))
	}
	return strings.Join(lines, "\n") + "\n"
}

// known marks what could not be found out.
func known(s string) string {
	if s == "" {
		return "?"
	}
	return s
}

func address(a fmt.Stringer, blocked bool) string {
	s := a.String()
	switch {
	case blocked:
		return "blocked"
	case strings.HasPrefix(s, "invalid"):
		return "?"
	}
	return s
}

func mappingText(t *natcheck.Transport) string {
	if t.Mapping == natcheck.NoNAT {
		return "no NAT"
	}
	return string(t.Mapping)
}

func portsText(t *natcheck.Transport) string {
	s := string(t.Ports)
	if t.Ports == natcheck.Sequential {
		s += fmt.Sprintf(", step %d", t.Step)
		if t.Churn > 0 {
			s += fmt.Sprintf(", others take up to %d", t.Churn)
		}
	}
	return s
}

// met says what a SYN met.
func met(o natcheck.Outcome) string {
	switch o {
	case natcheck.Accepted:
		return "let in"
	case natcheck.Silent:
		return "dropped"
	case natcheck.RST:
		return "refused with a RST"
	case natcheck.ICMP:
		return "refused with ICMP"
	}
	return ""
}

func lifetimeText(t *natcheck.Transport) string {
	switch {
	case t.LifetimeMax == 0:
		return "more than " + duration(t.LifetimeMin)
	case t.LifetimeMin == 0:
		return "less than " + duration(t.LifetimeMax)
	}
	return duration(t.LifetimeMin) + " to " + duration(t.LifetimeMax)
}
