package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tcppunch/tcppunch/stunt"
	"github.com/tcppunch/tcppunch/stunt/natcheck"
)

// serveCmd is `tcppunch serve`.
type serveCmd struct {
	Listen    string   `default:":7478" placeholder:"[HOST]:PORT" help:"Where rooms are (default ${default})."`
	Host      string   `placeholder:"ADDR" help:"The address of this machine to serve on. Default: all."`
	STUNPorts []uint16 `name:"stun-ports" default:"3478,3479" placeholder:"PORT" help:"The two ports of STUN, UDP and TCP (default ${default})."`
	Alt       string   `placeholder:"ADDR" help:"A second public address of this machine, with which 'check' can tell more."`

	TLSCert    string   `name:"tls-cert" type:"path" placeholder:"FILE" help:"Certificate chain for wss, PEM. Read again when it changes."`
	TLSKey     string   `name:"tls-key" type:"path" placeholder:"FILE" help:"Its private key."`
	TrustProxy []string `placeholder:"PREFIX" help:"Reverse proxies whose X-Forwarded-For is believed."`

	MetricsFrom []string `placeholder:"PREFIX" help:"Who may read /metrics. Default: this machine and the trusted proxies themselves."`

	LogFormat string        `enum:"text,json" default:"text" help:"How to log, text or json; -v logs every join."`
	Drain     time.Duration `default:"30s" help:"How long meetings may go on after a signal to stop. A second signal ends at once."`

	Limits limitFlags `embed:"" prefix:"max-" group:"Limits, where a network is an IPv4 /24 or IPv6 /64, and an IPv6 /48 has 16 times as much:"`
}

// limitFlags are stunt.Limits, with the same defaults, as the flags --max-….
type limitFlags struct {
	Rooms    int           `default:"100000" help:"Rooms."`
	Members  int           `default:"200" help:"Members of a network at a time."`
	Conns    int           `default:"800" help:"Connections of a network at a time."`
	Joins    int           `default:"120" help:"Joins of a network a minute."`
	Misses   int           `default:"6" help:"Joins of a network a minute to rooms in which nobody waits."`
	Message  int           `default:"16384" help:"Bytes of a message."`
	Messages int           `default:"256" help:"Messages of a member in a meeting."`
	RoomAge  time.Duration `default:"24h" help:"Age of a room."`
	Idle     time.Duration `default:"1m" help:"Silence of a member."`
	Request  time.Duration `default:"10s" help:"Time that a client has to send its request."`
	Buffer   int           `default:"65536" help:"Bytes that wait for a member that reads slowly."`
	Buffers  int           `default:"67108864" help:"Bytes that wait for all members."`
}

func (f limitFlags) limits() stunt.Limits {
	return stunt.Limits{
		Rooms: f.Rooms, Members: f.Members, Conns: f.Conns, Joins: f.Joins, Misses: f.Misses,
		Message: f.Message, Messages: f.Messages, RoomAge: f.RoomAge, Idle: f.Idle, Handshake: f.Request,
		Buffer: f.Buffer, Buffers: f.Buffers,
	}
}

// Help shows examples below the flags.
func (serveCmd) Help() string {
	return `On a machine with a public address, and TCP 7478, 3478, 3479 and UDP 3478, 3479 open:

  tcppunch serve
  tcppunch send --server HOST FILE         from anywhere

With certificates, or behind a reverse proxy that has them:

  tcppunch serve --listen :443 --tls-cert fullchain.pem --tls-key privkey.pem
  tcppunch serve --listen 127.0.0.1:7478 --trust-proxy 127.0.0.1/32
  tcppunch send --server https://HOST FILE

The rooms' port also has /healthz for everybody, and /metrics for Prometheus on this machine, or where else it runs:

  tcppunch serve --metrics-from 192.0.2.17,2001:db8:17::/48`
}

// Run serves until a signal comes.
func (c *serveCmd) Run(ctx context.Context, common *cli, out *output) error {
	proxies, err := prefixes("--trust-proxy", c.TrustProxy)
	if err != nil {
		return usage(err)
	}
	watchers, err := prefixes("--metrics-from", c.MetricsFrom)
	if err != nil {
		return usage(err)
	}
	stun, err := c.stunConfig()
	if err != nil {
		return usage(err)
	}
	log := c.logger(out, common.Verbose)
	tlsConfig, err := c.tls(log)
	if err != nil {
		return err
	}
	address, err := c.listenAddress()
	if err != nil {
		return usage(err)
	}
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	rooms, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return serveFailure(fmt.Errorf("serving rooms on %s: %w", address, err))
	}
	stunServer, err := natcheck.Listen(ctx, stun)
	if err != nil {
		return serveFailure(errors.Join(err, rooms.Close()))
	}
	listening(out, rooms.Addr(), stunServer.Addrs(), tlsConfig != nil)
	server := &stunt.Server{
		Limits: c.Limits.limits(), TLS: tlsConfig, TrustedProxies: proxies, MetricsFrom: watchers, Drain: c.Drain, Logger: log,
	}
	// Who is in a meeting still needs STUN while the rooms wait for the last meetings to end.
	group, broken := errgroup.WithContext(context.WithoutCancel(ctx))
	stunCtx, stopSTUN := context.WithCancel(broken)
	defer stopSTUN()
	roomsCtx, stopRooms := context.WithCancel(ctx)
	defer stopRooms()
	defer context.AfterFunc(broken, stopRooms)()
	group.Go(func() error {
		defer stopSTUN()
		return server.Serve(roomsCtx, rooms)
	})
	group.Go(func() error { return stunServer.Serve(stunCtx) })
	return group.Wait()
}

// listening tells people and programs that all ports are open.
func listening(out *output, rooms net.Addr, stun []netip.AddrPort, secure bool) {
	e := struct {
		Rooms string   `json:"rooms"`
		STUN  []string `json:"stun"`
	}{Rooms: rooms.String()}
	for _, a := range stun {
		e.STUN = append(e.STUN, a.String())
	}
	out.event("listening", e)
	with := ""
	if secure {
		with = " with TLS"
	}
	out.say("Rooms on %s%s, STUN on %s (UDP and TCP). Ctrl-C ends it.", e.Rooms, with, strings.Join(e.STUN, ", "))
}

// prefixes reads what is written in a flag: addresses, or prefixes.
func prefixes(flag string, values []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, s := range values {
		p, err := netip.ParsePrefix(s)
		if a, aerr := netip.ParseAddr(s); aerr == nil {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s %q is neither an address nor a prefix", flag, s)
		}
		all = append(all, p)
	}
	return all, nil
}

// stunConfig reads what is written in the flags for STUN.
func (c *serveCmd) stunConfig() (*natcheck.ServerConfig, error) {
	stun := &natcheck.ServerConfig{Software: "tcppunch"}
	if len(c.STUNPorts) != 2 || c.STUNPorts[0] == c.STUNPorts[1] || c.STUNPorts[0] == 0 || c.STUNPorts[1] == 0 {
		return nil, errors.New("--stun-ports needs two different ports")
	}
	stun.Ports = [2]uint16(c.STUNPorts)
	for _, f := range []struct {
		flag, value string
		addr        *netip.Addr
	}{{"--host", c.Host, &stun.Host}, {"--alt", c.Alt, &stun.Alt}} {
		if f.value == "" {
			continue
		}
		var err error
		if *f.addr, err = netip.ParseAddr(strings.Trim(f.value, "[]")); err != nil {
			return nil, fmt.Errorf("%s %q is no address", f.flag, f.value)
		}
	}
	return stun, nil
}

// listenAddress puts --host where --listen names none.
func (c *serveCmd) listenAddress() (string, error) {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return "", fmt.Errorf("--listen %q is neither host:port nor :port", c.Listen)
	}
	if host == "" {
		host = strings.Trim(c.Host, "[]")
	}
	return net.JoinHostPort(host, port), nil
}

func (c *serveCmd) logger(out *output, verbose bool) *slog.Logger {
	o := &slog.HandlerOptions{}
	if verbose {
		o.Level = slog.LevelDebug
	}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(logWriter{out}, o))
	}
	return slog.New(slog.NewTextHandler(logWriter{out}, o))
}

// logWriter writes whole lines among those for people.
type logWriter struct{ out *output }

func (w logWriter) Write(b []byte) (int, error) {
	w.out.mu.Lock()
	defer w.out.mu.Unlock()
	return w.out.human.Write(b)
}

// serveFailure names what keeps a server from starting.
func serveFailure(err error) error {
	const wsaeaddrinuse = syscall.Errno(10048) // what Windows says
	switch {
	case errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, wsaeaddrinuse):
		return &failure{statusFailed, "port-in-use", err,
			"another server runs here already; end it, or choose other ports with --listen and --stun-ports"}
	case errors.Is(err, syscall.EACCES):
		return &failure{statusFailed, "permission", err,
			"ports below 1024 need a privilege; choose others with --listen and --stun-ports"}
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return &failure{statusFailed, "no-address", err, "--listen, --host and --alt take addresses that this machine has"}
	}
	return err
}

// tls is nil without certificates.
func (c *serveCmd) tls(log *slog.Logger) (*tls.Config, error) {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return nil, usage(errors.New("--tls-cert and --tls-key need each other"))
	}
	if c.TLSCert == "" {
		return nil, nil
	}
	k := &keyPair{certFile: c.TLSCert, keyFile: c.TLSKey, log: log}
	if err := k.load(time.Now()); err != nil {
		return nil, err
	}
	return &tls.Config{GetCertificate: k.get}, nil
}

// A keyPair is a certificate that is read again when its files change, as they do every few weeks.
type keyPair struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex
	cert    *tls.Certificate
	read    [2]time.Time // when the files were changed, as of cert
	checked time.Time
}

// checkEvery is how often the files are looked at, however many connections come.
const checkEvery = time.Second

func (k *keyPair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := time.Now(); now.Sub(k.checked) >= checkEvery {
		if err := k.load(now); err != nil {
			k.log.Warn("keeping the old certificate", "err", err) // the two files change one after the other
		}
	}
	return k.cert, nil
}

// load reads the files if they have changed.
func (k *keyPair) load(now time.Time) error {
	k.checked = now
	var changed [2]time.Time
	for i, name := range []string{k.certFile, k.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return fmt.Errorf("reading the certificate: %w", err)
		}
		changed[i] = info.ModTime()
	}
	if changed == k.read {
		return nil
	}
	cert, err := tls.LoadX509KeyPair(k.certFile, k.keyFile)
	if err != nil {
		return fmt.Errorf("reading the certificate: %w", err)
	}
	if k.cert != nil {
		k.log.Info("read the new certificate")
	}
	k.cert, k.read = &cert, changed
	return nil
}
