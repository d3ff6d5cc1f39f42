package tcppunch

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/tcppunch/tcppunch/stunt/stun"
	"github.com/tcppunch/tcppunch/tcppunch/internal/sock"
	"github.com/tcppunch/tcppunch/tcppunch/internal/udppunch"
)

const (
	// stunTime bounds the search for a public address.
	stunTime = 4 * time.Second
	// minSecond is how long the second server at least has.
	minSecond = 100 * time.Millisecond
	// maxServers bounds how many STUN servers a lane asks.
	maxServers = 3
	// udpLate is how much later than TCP's answers UDP's may come. Of one server
	// they take half the time, so what is not there then was lost, or UDP is
	// blocked, for which TCP shall not wait. After the first round there is time.
	udpLate      = 10 * time.Millisecond
	udpLateAgain = 500 * time.Millisecond
	// tcpLate is how much later than UDP's TCP's may come: as long as it takes to
	// send a SYN that was lost again, or this many times what UDP took.
	tcpLate      = 1500 * time.Millisecond
	tcpLateTimes = 4
)

// A lane is one local port, of TCP or of UDP, with its mapping.
type lane struct {
	port *sock.Port // or
	udp  *udppunch.Port

	mu     sync.Mutex
	mapped []netip.AddrPort
	seen   []observation
	other  netip.Addr // a second address of a server's, which is being asked
	held   []net.Conn // the STUN connections; open, they hold the mapping
	errs   []error
}

func (l *lane) number() uint16 {
	if l.udp != nil {
		return l.udp.Number()
	}
	return l.port.Number()
}

// askBoth asks STUN about TCP ports and UDP ports at once. Neither waits much
// longer than the other needs.
func askBoth(ctx context.Context, tcp, udp []*lane, servers []string, late time.Duration) {
	tcpCtx, endTCP := context.WithCancel(ctx)
	defer endTCP()
	udpCtx, endUDP := context.WithCancel(ctx)
	defer endUDP()
	start := time.Now()
	tcpDone, udpDone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(tcpDone)
		askAll(tcpCtx, tcp, servers)
		if anyMapped(tcp) {
			time.AfterFunc(late, endUDP)
		}
	}()
	go func() {
		defer close(udpDone)
		askAll(udpCtx, udp, servers)
		if anyMapped(udp) {
			time.AfterFunc(max(tcpLateTimes*time.Since(start), tcpLate), endTCP)
		}
	}()
	<-tcpDone
	<-udpDone
}

func anyMapped(lanes []*lane) bool {
	return slices.ContainsFunc(lanes, func(l *lane) bool { return len(l.mapped) > 0 })
}

func askAll(ctx context.Context, lanes []*lane, servers []string) {
	var wg sync.WaitGroup
	for _, ln := range lanes {
		wg.Go(func() { ln.askSTUN(ctx, servers) })
	}
	wg.Wait()
}

// askSTUN asks some servers at once. It stops when one has answered, unless the
// mapping is such that a second answer tells more: then that one gets twice as
// much time again.
func (l *lane) askSTUN(ctx context.Context, servers []string) {
	ctx, cancel := context.WithTimeout(ctx, stunTime)
	defer cancel()
	start := time.Now()
	var wg sync.WaitGroup
	for i, server := range servers {
		if i == maxServers {
			break
		}
		wg.Go(func() {
			res, err := l.ask(ctx, server)
			if err != nil {
				l.mu.Lock()
				l.errs = append(l.errs, fmt.Errorf("STUN server %s: %w", server, err))
				l.mu.Unlock()
				return
			}
			switch {
			case !res.Mapped.Addr().Is4(): // this host's own address: of little interest
				time.AfterFunc(max(2*time.Since(start), minSecond), cancel)
				return
			case res.Mapped.Port() == l.number():
				cancel() // port preserving: what others see is the same
				return
			}
			time.AfterFunc(max(2*time.Since(start), minSecond), cancel)
			if other, ok := otherAddr(server, res); ok && l.first(other.Addr()) {
				l.ask(ctx, other.String()) //nolint:errcheck // one more opinion
			}
		})
	}
	wg.Wait()
}

// otherAddr is the second address of a server that has one, on the port that was
// asked. A server that lies must not make us dial into our own network.
func otherAddr(server string, res stun.Result) (netip.AddrPort, bool) {
	asked, err := netip.ParseAddrPort(server)
	port := asked.Port()
	if err != nil {
		_, p, err := net.SplitHostPort(server)
		n, perr := strconv.ParseUint(p, 10, 16)
		if err != nil || perr != nil {
			return netip.AddrPort{}, false
		}
		port = uint16(n)
	}
	o := netip.AddrPortFrom(res.Other.Addr(), port)
	return o, dialable(o) && o.Addr().Is4() && kindOf(o.Addr()) == KindPublic && o.Addr() != res.Origin.Addr()
}

// first tells, once, that no other goroutine asks the server at this address.
func (l *lane) first(server netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.other.IsValid() {
		return false
	}
	l.other = server
	return true
}

// ask queries one server. A connection is kept, as it holds the mapping.
func (l *lane) ask(ctx context.Context, server string) (stun.Result, error) {
	var conn net.Conn
	var from netip.AddrPort
	var res stun.Result
	var err error
	if l.udp != nil {
		from, res, err = queryPacket(ctx, l.udp, server)
	} else if conn, res, err = queryFrom(ctx, l.port, server); err == nil {
		from = remoteAddr(conn)
	}
	if err != nil {
		return res, err
	}
	res.Mapped = unmap(res.Mapped)
	l.mu.Lock()
	defer l.mu.Unlock()
	if conn != nil {
		l.held = append(l.held, conn)
	}
	l.seen = append(l.seen, observation{server: from, mapped: res.Mapped})
	if !slices.Contains(l.mapped, res.Mapped) {
		l.mapped = append(l.mapped, res.Mapped)
	}
	return res, nil
}

func queryFrom(ctx context.Context, port *sock.Port, server string) (net.Conn, stun.Result, error) {
	conn, err := port.Dial(ctx, stunNetwork(server), server)
	if err != nil {
		return nil, stun.Result{}, err
	}
	// Without a TIME_WAIT the next run can ask the same server from the same
	// port at once, even when this one is killed.
	if t, ok := conn.(*net.TCPConn); ok {
		t.SetLinger(0) //nolint:errcheck // helps only the next run
	}
	res, err := stun.Query(ctx, conn)
	if err != nil {
		conn.Close()
		return nil, stun.Result{}, err
	}
	return conn, res, nil
}

// stunNetwork prefers IPv4, where there are mappings to be told: an IPv6 address
// is this host's own.
func stunNetwork(server string) string {
	host, _, err := net.SplitHostPort(server)
	if a, aerr := netip.ParseAddr(host); err == nil && aerr == nil && a.Is6() {
		return "tcp"
	}
	if slices.ContainsFunc(hostAddrs(), netip.Addr.Is4) {
		return "tcp4"
	}
	return "tcp"
}

// queryPacket asks over UDP.
func queryPacket(ctx context.Context, port *udppunch.Port, server string) (netip.AddrPort, stun.Result, error) {
	to, err := resolve(ctx, server)
	if err != nil {
		return to, stun.Result{}, err
	}
	res, err := port.Query(ctx, to)
	return to, res, err
}

// resolve finds a server's address, an IPv4 one if it has one.
func resolve(ctx context.Context, server string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddrPort(server); err == nil {
		return unmap(a), nil
	}
	host, service, err := net.SplitHostPort(server)
	if err != nil {
		return netip.AddrPort{}, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "udp", service)
	if err != nil {
		return netip.AddrPort{}, err
	}
	network := "ip"
	if stunNetwork(server) == "tcp4" {
		network = "ip4"
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, network, host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(ips[0].Unmap(), uint16(port)), nil
}

func (l *lane) close() {
	if l.udp != nil {
		l.udp.Close()
		return
	}
	l.port.Close()
	for _, c := range l.held {
		c.Close()
	}
}
