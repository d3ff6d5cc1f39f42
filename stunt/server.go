package stunt

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/coder/websocket"
)

// DefaultPort is where a server listens unless told otherwise.
const DefaultPort = 7478

// Server is a rendezvous server. The zero value is useful.
type Server struct {
	// Limits say how much it takes. Default: those of a public server.
	Limits Limits
	// TLS serves wss instead of ws. It needs certificates. Default: none; a reverse proxy may add TLS.
	TLS *tls.Config
	// TrustedProxies are the reverse proxies whose X-Forwarded-For is believed. Default: none.
	TrustedProxies []netip.Prefix
	// MetricsFrom are those who may read /metrics, beside the TrustedProxies themselves. Default: this machine.
	MetricsFrom []netip.Prefix
	// Drain is how long meetings may go on when the server is to stop. Default: 30 seconds.
	Drain time.Duration
	// Logger is told what happens, without payloads, room names and tokens. Default: nobody is.
	Logger *slog.Logger
}

const (
	defaultDrain = 30 * time.Second
	// endTime is how long members may take to accept that it is over.
	endTime = 2 * time.Second
	// headerBytes is how long a request may be, to which net/http adds some.
	headerBytes = 8 << 10
	// linkBuffer is the size of a WebSocket's read and write buffer: most of the time it holds a ping.
	linkBuffer = 512
)

// Serve serves rooms at /v1/join, a sign of life at /healthz and figures for Prometheus at /metrics. When ctx ends, it
// closes ln, sends away who waits alone, lets meetings go on for the time of Drain, and returns nil; else it returns why
// it had to stop. A Server may serve several listeners; each has rooms of its own.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	log := s.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	h := newHub(s.Limits.orDefault())
	ln = &countingListener{Listener: ln, hub: h, trusted: s.TrustedProxies}
	if s.TLS != nil {
		c := s.TLS.Clone()
		c.NextProtos = []string{"http/1.1"} // WebSockets come with it alone
		ln = tls.NewListener(ln, c)
	}
	web := &http.Server{
		Handler:           s.handler(h, log),
		ReadHeaderTimeout: h.limits.Handshake,
		ReadTimeout:       h.limits.Handshake,
		WriteTimeout:      h.limits.Handshake + challengeTime,
		IdleTimeout:       h.limits.Handshake,
		MaxHeaderBytes:    headerBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	go func() { failed <- web.Serve(ln) }()
	var err error
	select {
	case <-ctx.Done():
		log.Info("stopping")
	case err = <-failed:
		err = fmt.Errorf("accepting members: %w", err)
	}
	s.finish(h, web, err != nil)
	if err == nil {
		<-failed
	}
	log.Info("stopped")
	return err
}

// finish ends what is going on, unless something broke, when it is over or took too long.
func (s *Server) finish(h *hub, web *http.Server, broken bool) {
	drain := s.Drain
	if drain <= 0 {
		drain = defaultDrain
	}
	h.stop()
	ctx, cancel := context.WithTimeout(context.Background(), endTime)
	if err := web.Shutdown(ctx); err != nil { // closes the listener first; members are hijacked and stay
		_ = web.Close()
	}
	cancel()
	if !broken {
		t := time.NewTimer(drain)
		select {
		case <-h.empty:
		case <-t.C:
		}
		t.Stop()
	}
	ctx, cancel = context.WithTimeout(context.Background(), endTime)
	defer cancel()
	h.end(ctx)
}

func (s *Server) handler(h *hub, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+joinPath, func(w http.ResponseWriter, r *http.Request) { s.join(h, log, w, r) })
	figures := h.met.handler()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		if !s.mayWatch(r) {
			http.Error(w, "the figures are not for this address", http.StatusForbidden)
			return
		}
		figures.ServeHTTP(w, r)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		h.mu.Lock()
		stopping := h.stopping
		h.mu.Unlock()
		if stopping {
			http.Error(w, "stopping", http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	})
	return mux
}

// mayWatch reports whether a request for the figures comes from where it may. One that came through a proxy which is not
// trusted may come from anywhere.
func (s *Server) mayWatch(r *http.Request) bool {
	peer := hostAddr(r.RemoteAddr)
	if r.Header.Get("X-Forwarded-For") != "" && !contains(s.TrustedProxies, peer) {
		return false
	}
	from := clientAddr(r, s.TrustedProxies)
	if len(s.MetricsFrom) == 0 && from.IsLoopback() {
		return true
	}
	return contains(s.MetricsFrom, from) || contains(s.TrustedProxies, from)
}

// join takes a member in. The handler is over when the WebSocket begins, so that its buffers and its stack are free.
func (s *Server) join(h *hub, log *slog.Logger, w http.ResponseWriter, r *http.Request) {
	from := clientAddr(r, s.TrustedProxies)
	if r.Header.Get(joinHeader) == "" {
		refuse(w, &RefusedError{Code: codeBadRequest, Message: "programs join here, with the header " + joinHeader})
		return
	}
	q, err := decodeJoin(r.Header.Get(joinHeader))
	if err != nil {
		h.met.joins.WithLabelValues(codeBadRequest).Inc()
		refuse(w, &RefusedError{Code: codeBadRequest, Message: err.Error()})
		return
	}
	m, holder, refused := h.join(q, from)
	if holder != nil && h.challenge(holder) {
		m, _, refused = h.join(q, from)
	}
	if refused != nil {
		log.Debug("refused", "network", prefixOf(from, 64), "side", q.Side, "code", refused.Code)
		refuse(w, refused)
		return
	}
	w.Header().Set(roomHeader, url.QueryEscape(m.room.name))
	if m.made {
		w.Header().Set(madeHeader, "1")
	}
	slim := &slimWriter{ResponseWriter: w}
	conn, err := websocket.Accept(slim, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // members have no cookies that another site could use
		OnPingReceived:     func(context.Context, []byte) bool { m.heard(); return m.spend() },
		OnPongReceived:     func(context.Context, []byte) { m.heard() },
	})
	if err != nil {
		log.Debug("no websocket", "network", prefixOf(from, 64), "err", err)
		conn = nil
	}
	log.Debug("joined", "network", prefixOf(from, 64), "side", q.Side)
	h.attach(m, conn, slim.link)
}

func refuse(w http.ResponseWriter, e *RefusedError) {
	if e.Retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(e.Retry.Seconds()))))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.status())
	_, _ = w.Write(e.encode())
}

// slimWriter hands a connection over with small buffers: there may be very many that only wait.
type slimWriter struct {
	http.ResponseWriter
	link net.Conn // what is beneath the connection that was handed over
}

func (w *slimWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	w.link = conn
	if t, ok := conn.(*tls.Conn); ok {
		w.link = t.NetConn() // closes at once: TLS would say so first, to somebody who may not read
	}
	// The client has its answer already, and what it then sent may have been read together with the request.
	early := rw.Reader.Buffered()
	r := bufio.NewReaderSize(io.MultiReader(io.LimitReader(rw.Reader, int64(early)), conn), max(linkBuffer, early))
	if _, err := r.Peek(early); err != nil { // into the buffer, where it is looked for
		_ = conn.Close()
		return nil, nil, err
	}
	return conn, bufio.NewReadWriter(r, bufio.NewWriterSize(conn, linkBuffer)), nil
}
