package natcheck

import (
	"context"
	"crypto/rand"
	"net/netip"
	"sync"
	"time"

	"github.com/tcppunch/tcppunch/stunt/stun"
)

// hairpin finds out whether two sockets of ours reach each other by their mapped addresses. That they do not has to be
// seen twice.
func (c *udpCheck) hairpin(ctx context.Context, server netip.AddrPort) Answer {
	return agree(ctx, Yes, func(ctx context.Context, n int) Answer {
		if !sleep(ctx, time.Duration(n)*hairpinLater) {
			return ""
		}
		return c.tryHairpin(ctx, server)
	})
}

// tryHairpin has two sockets send to each other's mapped addresses, so that each NAT session has been opened from
// inside.
func (c *udpCheck) tryHairpin(parent context.Context, server netip.AddrPort) Answer {
	ctx := parent
	certain := true
	var sockets [2]*socket
	var mapped [2]netip.AddrPort
	for i := range sockets {
		s, err := newSocket(server.Addr())
		if err != nil {
			return ""
		}
		defer s.close()
		res, _, err := s.ask(ctx, server, &stun.Request{})
		if err != nil || !alike(server.Addr(), res.Mapped.Addr()) {
			return ""
		}
		sockets[i], mapped[i] = s, res.Mapped
		certain = certain && c.result.serves(s.port(), res.Mapped)
	}
	nonce := make([]byte, nonceSize)
	_, _ = rand.Read(nonce) // never fails
	ctx, cancel := context.WithTimeout(ctx, hairpinTime+4*min(c.rtt, maxRTT))
	defer cancel()
	again := time.NewTicker(hairpinTime / hairpinTries)
	defer again.Stop()
	var sent [2]bool
	for {
		for i, s := range sockets {
			if _, err := s.pc.WriteToUDPAddrPort(nonce, mapped[1-i]); err == nil { // what is lost is sent again
				sent[i] = true
			}
		}
		for waiting := true; waiting; {
			var got string
			select {
			case got = <-sockets[0].others:
			case got = <-sockets[1].others:
			case <-again.C:
				waiting = false
			case <-ctx.Done():
				if parent.Err() != nil || !certain || !sent[0] || !sent[1] {
					return ""
				}
				return No
			}
			if got == string(nonce) {
				return Yes
			}
		}
	}
}

// idleTimes are after which parts of the longest time mappings are looked for, in 36ths.
func idleTimes(longest time.Duration) []time.Duration {
	var all []time.Duration
	for _, part := range []time.Duration{1, 2, 4, 6, 9, 12, 18, 24, 30, 36} {
		all = append(all, longest*part/36)
	}
	return all
}

// lifetimes makes a mapping for each idle time, and looks after that time whether it is there still (RFC 5780 section
// 4.6).
func (c *udpCheck) lifetimes(ctx context.Context, server netip.AddrPort) (lived, died []int64) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, idle := range idleTimes(c.run.opt.MaxLifetime) {
		wg.Go(func() {
			alive := c.outlives(ctx, server, idle)
			mu.Lock()
			defer mu.Unlock()
			switch alive {
			case Yes:
				lived = append(lived, int64(idle))
			case No:
				died = append(died, int64(idle))
			}
		})
	}
	wg.Wait()
	return lived, died
}

// outlives reports whether a mapping lives through an idle time: another socket then asks the server to answer to it.
func (c *udpCheck) outlives(ctx context.Context, server netip.AddrPort, idle time.Duration) Answer {
	s, err := newSocket(server.Addr())
	if err != nil {
		return ""
	}
	defer s.close()
	res, _, err := s.ask(ctx, server, &stun.Request{})
	if err != nil {
		return ""
	}
	t := time.NewTimer(idle)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return ""
	}
	asking, err := newSocket(server.Addr())
	if err != nil {
		return ""
	}
	defer asking.close()
	check, _, err := asking.ask(ctx, server, &stun.Request{})
	if err != nil || check.Mapped.Addr() != res.Mapped.Addr() {
		return "" // the answer would go to another address than that of the mapping
	}
	return asking.relay(ctx, s, server, res.Mapped.Port())
}

// relay asks from one socket for an answer to the mapped port of another.
func (s *socket) relay(ctx context.Context, to *socket, server netip.AddrPort, port uint16) Answer {
	i := to.expect(server, &stun.Request{ResponsePort: port})
	i.from = s
	i.send()
	_, _, err := i.wait(ctx)
	switch {
	case err == nil:
		return Yes
	case ctx.Err() == nil:
		return No
	}
	return ""
}
