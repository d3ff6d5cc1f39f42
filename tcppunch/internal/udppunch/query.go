package udppunch

import (
	"context"
	"net/netip"
	"time"

	"github.com/tcppunch/tcppunch/stunt/stun"
)

// A query waits for a STUN server's answer.
type query struct {
	server netip.AddrPort
	answer chan []byte
}

const (
	// queryPause is the time from the first request to the second, which is twice
	// as long each time. RFC 8489 has 500 ms; here a person waits.
	queryPause    = 150 * time.Millisecond
	maxQueryPause = 1200 * time.Millisecond
)

// Query asks a STUN server for the port's public address, until ctx ends.
func (p *Port) Query(ctx context.Context, server netip.AddrPort) (stun.Result, error) {
	s := p.socket(server)
	if s == nil {
		return stun.Result{}, errNoFamily
	}
	request, id := new(stun.Request).Encode()
	q := &query{server: server, answer: make(chan []byte, 1)}
	m := p.mesh
	m.mu.Lock()
	m.queries[id] = q
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.queries, id)
	}()
	for pause := queryPause; ; pause = min(2*pause, maxQueryPause) {
		if err := s.Send(request, server); err != nil {
			return stun.Result{}, err
		}
		select {
		case b := <-q.answer:
			r, err := stun.ParseResponse(b)
			return r.Result, err
		case <-time.After(pause):
		case <-ctx.Done():
			return stun.Result{}, context.Cause(ctx)
		}
	}
}

// answered tells whether a message answers a query, and passes it on.
func (m *Mesh) answered(b []byte, from netip.AddrPort) bool {
	id, ok := stun.ResponseID(b)
	if !ok {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	q := m.queries[id]
	if q == nil || q.server != from {
		return false
	}
	select {
	case q.answer <- append([]byte(nil), b...):
	default:
	}
	return true
}
