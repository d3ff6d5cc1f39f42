package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch"
	"github.com/tcppunch/tcppunch/tcppunch/bench"
)

// benchCmd is `tcppunch bench`.
type benchCmd struct {
	findFlags
	lanFlags
	Given   string        `arg:"" optional:"" name:"code" help:"The code that the other side's screen shows, or the address that its --listen shows. Without one a code is made."`
	Time    time.Duration `default:"5s" help:"How long data flows in each direction of each transport: 100ms to 60s. The shorter one of the two sides counts."`
	Streams int           `default:"1" help:"How many TCP connections carry data side by side: 1 to 32. The larger one of the two sides counts."`
	Plain   bool          `default:"true" negatable:"" help:"Measure TCP without encryption too."`
	// The system's own is what send and recv have, and bench without this.
	Congestion string `placeholder:"NAME" help:"Congestion control of TCP on this side, such as cubic or bbr, where the system lets a program choose (Linux). Default: what a transfer has."`
	Plot       string `placeholder:"FILE.svg" type:"path" help:"Draw throughput and round trips over time into this file."`
	Listen     bool   `help:"Be reached directly, on one local network: no server, no punching. Shows what to type on the other machine."`
}

// Help shows examples below the flags.
func (benchCmd) Help() string {
	return `Measures what the network gives between two machines by TCP, by TCP without
encryption, and by UDP (KCP): how long it takes to connect, round trips, speed
each way, round trips under load, what was sent twice, CPU time. It runs on both
sides, which both show the table. Nothing but random bytes is sent; 5 seconds each way
over a fast network are gigabytes.

  tcppunch bench --server rendezvous.example.org --plot bench.svg
  tcppunch bench --server rendezvous.example.org 4821-otter-lamp

Without a server, with each other's address; the same on both sides:

  tcppunch bench --peer 203.0.113.20:7070/otter-lamp-sofa
  tcppunch bench --peer 203.0.113.10:7070/otter-lamp-sofa

On one local network, through the firewalls of both machines, if no server is
configured:

  tcppunch bench
  tcppunch bench 4821-otter-lamp

or where one of them lets connections in, without words: whoever comes first is
measured with.

  tcppunch bench --listen
  tcppunch bench 192.168.1.5:7070`
}

// Run measures with the other side and shows what came of it.
func (c *benchCmd) Run(ctx context.Context, common *cli, out *output) error {
	if err := c.check(); err != nil {
		return usage(err)
	}
	plot, err := newPicture(c.Plot)
	if err != nil {
		return err
	}
	defer plot.discard()
	m := &measuring{cmd: c, common: common, out: out}
	control, err := m.connect(ctx)
	if err != nil {
		return err
	}
	bars := newBenchBars(out, c.Time)
	report, err := bench.Run(ctx, control, &bench.Options{Time: c.Time, Transports: m.transports(), Trace: bars.trace()})
	bars.end()
	hangUpRaw(control, err)
	out.results(report)
	if err != nil {
		return err
	}
	if err := plot.draw(report, out); err != nil {
		return err
	}
	return allFailed(report)
}

func (c *benchCmd) check() error {
	switch {
	case c.Time < bench.MinTime || c.Time > bench.MaxTime:
		return fmt.Errorf("--time must be %v to %v", bench.MinTime, bench.MaxTime)
	case c.Streams < 1 || c.Streams > bench.MaxStreams:
		return fmt.Errorf("--streams must be 1 to %d", bench.MaxStreams)
	case c.Sockets < 1 || c.Sockets > 4096:
		return errSockets
	case c.Listen && (c.Given != "" || c.Code != "" || c.Peer != ""):
		return errors.New("--listen waits for the other side: it takes no code and no address")
	}
	return nil
}

// allFailed is the error when nothing at all was measured.
func allFailed(r *bench.Report) error {
	for _, res := range r.Results {
		if res.Err == nil {
			return nil
		}
	}
	return &failure{statusNoPath, "no-path", errors.New("nothing could be measured"), "the table tells why"}
}

// hangUpRaw closes a connection that was used. What is still on its way to a peer who
// has gone silent must not keep the port for minutes.
func hangUpRaw(conn net.Conn, err error) {
	if errors.Is(err, bench.ErrPeerGone) {
		if punched, ok := conn.(*tcppunch.Conn); ok {
			punched.Abort()
			return
		}
		if secure, ok := conn.(*tls.Conn); ok {
			conn = secure.NetConn()
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			tcp.SetLinger(0) //nolint:errcheck // closed: over anyway
		}
	}
	conn.Close()
}

// A measuring is one run of the command: how it reaches the other side, first for
// the control connection, then through that for all that is measured.
type measuring struct {
	cmd    *benchCmd
	common *cli
	out    *output

	stun    []string     // for connections that are measured
	hosts   []netip.Addr // of this machine, for these; all if none
	routers *routers     // what is known of this side's; may be nil
}

// connect makes the control connection, by whatever works.
func (m *measuring) connect(ctx context.Context) (net.Conn, error) {
	c := m.cmd
	lan := c.Given != "" && isAddress(c.Given)
	switch {
	case lan && (c.Code != "" || c.Peer != ""):
		return nil, usage(errors.New("an address and a code, or --peer, were given: give one of them"))
	case lan:
		return m.dialLAN(ctx, c.Given)
	case c.Listen:
		return m.listenLAN(ctx)
	case c.Peer != "" && c.Given == "" && c.Code == "":
		return m.meetPeer(ctx)
	}
	if err := c.checkWays(c.Given, &c.lanFlags); err != nil {
		return nil, err
	}
	code, err := c.code(ctx, c.Given, tcppunch.SideA, m.common.Timeout, m.out)
	if err != nil {
		return nil, err
	}
	r := &rendezvous{flags: &c.codeFlags, lan: &c.lanFlags, via: c.anyWay(), common: m.common, side: tcppunch.SideA, code: code, other: c.otherCommand(), out: m.out, lanGuesses: new(lanGuesses)}
	conn, err := r.connect(ctx)
	if err != nil {
		return nil, err
	}
	if m.hosts = lanHosts(conn); m.hosts == nil {
		m.stun, m.routers = c.stunUsed(m.common.STUN), r.routers
	}
	return conn, nil
}

// otherCommand is what to run on the other machine. Of the flags it needs those that
// count only if both sides have them.
func (c *benchCmd) otherCommand() string {
	if c.Time > bench.DefaultTime {
		return "bench --time " + c.Time.String()
	}
	return "bench"
}

// meetPeer connects to the address that the other side has told.
func (m *measuring) meetPeer(ctx context.Context) (net.Conn, error) {
	if len(m.common.STUN) > 0 {
		m.stun = stunServers(m.common.STUN)
	}
	return m.cmd.serverless(ctx, m.common, m.cmd.anyWay(), tcppunch.SideEither, m.out)
}

// anyWay is how the control connection is made: --via is about what is measured.
func (c *benchCmd) anyWay() *viaFlags { return &viaFlags{Via: "auto", HeadStart: c.HeadStart} }

// transports are what is measured, in this order.
func (m *measuring) transports() []bench.Transport {
	var ts []bench.Transport
	via := m.cmd.transport()
	if via != tcppunch.ViaKCP {
		ts = append(ts, bench.Transport{Name: "tcp", Streams: m.cmd.Streams, Dial: m.dialer(tcppunch.ViaTCP, false)})
		if m.cmd.Plain {
			ts = append(ts, bench.Transport{Name: "tcp plain", Like: "tcp", Streams: m.cmd.Streams, Dial: m.dialer(tcppunch.ViaTCP, true)})
		}
	}
	if via != tcppunch.ViaTCP {
		ts = append(ts, bench.Transport{Name: "kcp", Dial: m.dialer(tcppunch.ViaKCP, false), Counters: kcpCounters})
	}
	return ts
}

// dialer makes a connection by one transport alone. Plain is what is below TLS, once
// that has told who is there: so what both sides send is as before, but not
// encrypted.
func (m *measuring) dialer(via tcppunch.Via, plain bool) func(context.Context, *bench.Signals) (net.Conn, error) {
	return func(ctx context.Context, s *bench.Signals) (net.Conn, error) {
		conn, err := m.dial(ctx, via, s)
		var dial *tcppunch.DialError
		if errors.As(err, &dial) {
			return nil, noPath(dial)
		}
		if err != nil {
			return nil, err
		}
		m.out.detail("%s: %v", via, conn.Path())
		if plain {
			return &unencrypted{conn.Plain(), conn}, nil
		}
		return conn, nil
	}
}

// unencrypted is what is below the TLS of a connection.
type unencrypted struct {
	net.Conn
	above *tcppunch.Conn
}

// NetConn lets the counters of the connection be found.
func (u *unencrypted) NetConn() net.Conn { return u.Conn }

// Close closes what is below first, as TLS has nothing more to say there.
func (u *unencrypted) Close() error {
	err := u.Conn.Close()
	u.above.Close() //nolint:errcheck // cannot say goodbye
	return err
}

func portOf(n uint16) string { return strconv.Itoa(int(n)) }
