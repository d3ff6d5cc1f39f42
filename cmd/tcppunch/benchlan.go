package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch"
)

const (
	benchALPN = "tcppunch-bench/1"
	// lanHandshakeTime bounds TLS with whoever has connected.
	lanHandshakeTime = 5 * time.Second
	// lanRetry is the pause after an address that nobody listens at yet.
	lanRetry = 300 * time.Millisecond
)

// isAddress tells the address of a --listen from a code, in which there is no colon.
func isAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil || strings.Contains(s, ":")
}

// lanTLS is TLS with a certificate that nobody vouches for: it keeps listeners out, and
// tells whether the other end runs a benchmark. What is sent is worth nothing.
func lanTLS() (*tls.Config, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, public, private)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}},
		MinVersion:   tls.VersionTLS13, NextProtos: []string{benchALPN}, SessionTicketsDisabled: true,
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			if cs.NegotiatedProtocol != benchALPN {
				return errors.New("the other side does not run tcppunch bench")
			}
			return nil
		},
	}, nil
}

// listenLAN waits for the other side to connect to this machine.
func (m *measuring) listenLAN(ctx context.Context) (net.Conn, error) {
	conf, err := lanTLS()
	if err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(ctx, "tcp", ":"+portOf(m.cmd.Port))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("port %d: %w", m.cmd.Port, tcppunch.ErrPortInUse)
	}
	if err != nil {
		return nil, err
	}
	defer ln.Close()
	m.tellListening(ln.Addr().(*net.TCPAddr).AddrPort().Port())
	limited, cancel := context.WithTimeout(ctx, m.common.Timeout)
	defer cancel()
	defer context.AfterFunc(limited, func() { ln.Close() })()
	for {
		conn, err := ln.Accept()
		if limited.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return nil, m.nobody(ctx, "nobody connected within %v")
		}
		if err != nil {
			return nil, err
		}
		began, secure := time.Now(), tls.Server(conn, conf)
		if err := m.handshake(limited, secure); err != nil {
			m.out.detail("not the other side: %v: %s", conn.RemoteAddr(), shown(err))
			conn.Close()
			continue
		}
		m.connected(secure, tcppunch.Accepted, began, time.Since(began))
		return secure, nil
	}
}

// tellListening says what to type on the other machine.
func (m *measuring) tellListening(port uint16) {
	e := struct {
		Local []string `json:"local"`
	}{[]string{}}
	for _, a := range ownAddrs() {
		e.Local = append(e.Local, netip.AddrPortFrom(a, port).String())
	}
	m.out.event("address", e)
	options := ""
	if _, flags, ok := strings.Cut(m.cmd.otherCommand(), " "); ok {
		options = " " + flags
	}
	if len(e.Local) == 0 {
		m.out.say("Listening on port %d; this machine has no network.", port)
	}
	for i, a := range e.Local {
		intro := "On the other machine:"
		if i > 0 {
			intro = "                  or:"
		}
		m.out.say("%s tcppunch bench %s%s", intro, a, options)
	}
	m.out.event("waiting", struct {
		Where string `json:"where"`
	}{"port " + portOf(port)})
	m.out.say("Waiting for the other side …")
}

// ownAddrs lists this machine's addresses that others may use, IPv4 first.
func ownAddrs() []netip.Addr {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var own []netip.Addr
	for _, a := range all {
		p, err := netip.ParsePrefix(a.String())
		if ip := p.Addr().Unmap(); err == nil && ip.IsGlobalUnicast() && !slices.Contains(own, ip) {
			own = append(own, ip)
		}
	}
	slices.SortStableFunc(own, func(a, b netip.Addr) int { return a.BitLen() - b.BitLen() })
	return own
}

// dialLAN connects to a machine that listens, also when it does so only later.
func (m *measuring) dialLAN(ctx context.Context, addr string) (net.Conn, error) {
	if a, err := netip.ParseAddr(addr); err == nil {
		addr = netip.AddrPortFrom(a, m.cmd.Port).String()
	}
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, usage(fmt.Errorf("%q is neither an address with a port nor a code", addr))
	}
	conf, err := lanTLS()
	if err != nil {
		return nil, err
	}
	m.out.event("waiting", struct {
		Where string `json:"where"`
	}{addr})
	limited, cancel := context.WithTimeout(ctx, m.common.Timeout)
	defer cancel()
	told := false
	for {
		var d net.Dialer
		d.SetMultipathTCP(false)
		began := time.Now()
		conn, err := d.DialContext(limited, "tcp", addr)
		rtt := time.Since(began)
		if err == nil {
			secure := tls.Client(conn, conf)
			if err = m.handshake(limited, secure); err == nil {
				m.connected(secure, tcppunch.Plain, began, rtt)
				return secure, nil
			}
			conn.Close()
			return nil, &failure{statusFailed, "protocol", fmt.Errorf("whoever listens at %s is not the other side: %w", addr, err), "check the address and its port"}
		}
		var dns *net.DNSError
		if errors.As(err, &dns) && ctx.Err() == nil {
			return nil, usage(err)
		}
		if !told && limited.Err() == nil {
			told = true
			m.out.say("Nobody listens at %s yet; waiting … (%s)", addr, shown(systemWord(err)))
		}
		t := time.NewTimer(lanRetry)
		select {
		case <-t.C:
		case <-limited.Done():
			t.Stop()
			return nil, m.nobody(ctx, "nobody listened at "+addr+" within %v")
		}
	}
}

// systemWord is the system's own word, without the addresses again.
func systemWord(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

func (m *measuring) handshake(ctx context.Context, conn *tls.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, lanHandshakeTime)
	defer cancel()
	return conn.HandshakeContext(ctx)
}

// connected tells what came of a try that began then: a dial, or the handshake with whoever
// was accepted. The round trip is the first one of it.
func (m *measuring) connected(conn *tls.Conn, how tcppunch.Technique, began time.Time, rtt time.Duration) {
	p := tcppunch.Path{Network: "tcp", Kind: tcppunch.KindLAN, Technique: how, Punch: time.Since(began), RTT: rtt}
	if a, ok := conn.LocalAddr().(*net.TCPAddr); ok {
		p.Local = plainAddr(a)
	}
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		p.Remote = plainAddr(a)
	}
	m.out.connected(p, nil)
}

func plainAddr(a *net.TCPAddr) netip.AddrPort {
	return netip.AddrPortFrom(a.AddrPort().Addr().Unmap(), a.AddrPort().Port())
}

// nobody is the end of a wait: by the person, or by the time.
func (m *measuring) nobody(ctx context.Context, why string) error {
	if ctx.Err() != nil {
		return interrupted(ctx.Err())
	}
	return &failure{statusNoPath, "timeout", fmt.Errorf(why, m.common.Timeout), "start both sides, and check the address and the firewall of the listening one"}
}
