package stunt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// JoinOptions say which room of which server. Server and Side must be set.
type JoinOptions struct {
	// Server is "host", "host:port", or a URL whose scheme is ws, wss, http or https. A host alone means ws on port 7478.
	Server string
	// Room is a name, up to 64 bytes. The room is made when nobody is there. Default: the server hands out a number.
	Room string
	// Side is which of the two members this is.
	Side Side
	// Trace reports what happens to the connection. Default: nothing.
	Trace *Trace
	// TLS is for servers with wss. Default: the system's certificate authorities.
	TLS *tls.Config
	// Proxy returns the proxy for a URL, or nil: http, https, socks5 or socks5h. Default: as HTTP_PROXY, HTTPS_PROXY,
	// ALL_PROXY and NO_PROXY say.
	Proxy func(*url.URL) (*url.URL, error)
	// KeepAlive is how often the server is asked to answer, for which it has half as long. Default: 20 seconds.
	KeepAlive time.Duration
}

// Trace has functions that a Room calls, when they are not nil, one at a time. They must return soon and must not call
// the Room.
type Trace struct {
	// Disconnected is called when the connection to the server is lost. The Room rejoins.
	Disconnected func(err error)
	// Failed is called when an attempt to rejoin has failed. The next one follows after a pause, of 15 seconds at most.
	Failed func(err error)
	// Rejoined is called when the Room is in its room again.
	Rejoined func()
}

const (
	keepAlive = 20 * time.Second
	dropTime  = 10 * time.Second // how long Drop waits for the end
	leaveTime = time.Second      // how long Close waits for the server to know
	firstWait = 250 * time.Millisecond
	maxWait   = 15 * time.Second
	calmTime  = 10 * time.Second // a connection that lasted so long was a good one
)

// Room is a membership in a room. It lasts until Close, or until the server ends it.
type Room struct {
	dialer *dialer
	opts   JoinOptions
	cancel context.CancelFunc
	done   chan struct{} // closed when run has ended

	mu      sync.Mutex
	closed  bool
	out     chan []byte   // to the present connection; nil between two
	meeting *Meeting      // the present one, or nil
	met     bool          // Meet has returned it
	err     error         // why there will be no more meetings
	changed chan struct{} // closed, and replaced, when one of these changes
}

// Join returns when the server has taken this side in: two round trips, and one more with TLS. It does not try again.
// The context bounds Join only.
func Join(ctx context.Context, o *JoinOptions) (*Room, error) {
	if o == nil {
		o = &JoinOptions{}
	}
	if o.Side.other() == "" {
		return nil, fmt.Errorf("joining a room: side %q is none of those that meet", o.Side)
	}
	if o.Room != "" {
		if err := checkName(o.Room); err != nil {
			return nil, fmt.Errorf("joining a room: %w", err)
		}
	}
	d, err := newDialer(o)
	if err != nil {
		return nil, fmt.Errorf("joining a room: %w", err)
	}
	conn, err := d.join(ctx)
	if err != nil {
		return nil, fmt.Errorf("joining a room: %w", err)
	}
	r := &Room{dialer: d, opts: *o, done: make(chan struct{}), changed: make(chan struct{})}
	if r.opts.Trace == nil {
		r.opts.Trace = &Trace{}
	}
	if r.opts.KeepAlive <= 0 {
		r.opts.KeepAlive = keepAlive
	}
	var run context.Context
	run, r.cancel = context.WithCancel(context.Background())
	r.out = make(chan []byte)
	go r.run(run, conn, r.out)
	return r, nil
}

// Name is the name of the room, or the number that the server handed out.
func (r *Room) Name() string { return r.dialer.room }

// Meet waits for the other side and returns each meeting once. It goes on waiting while the connection to the server
// is lost. Its errors are ctx's, or final.
func (r *Room) Meet(ctx context.Context) (*Meeting, error) {
	for {
		r.mu.Lock()
		m, met, err, changed := r.meeting, r.met, r.err, r.changed
		if m != nil && !met {
			r.met = true
			r.mu.Unlock()
			return m, nil
		}
		r.mu.Unlock()
		if err != nil {
			return nil, fmt.Errorf("waiting in the room: %w", err)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting in the room: %w", context.Cause(ctx))
		}
	}
}

// Close leaves the room. The other side is told, after what was sent to it. It takes a second at most.
func (r *Room) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return net.ErrClosed
	}
	r.closed = true
	out := r.out
	r.mu.Unlock()
	t := time.NewTimer(leaveTime)
	defer t.Stop()
	if out != nil {
		select {
		case out <- envelope{Type: typeLeave}.encode():
			select {
			case <-r.done: // the server has closed the connection
			case <-t.C:
			}
		case <-r.done:
		case <-t.C:
		}
	}
	r.cancel()
	<-r.done
	return nil
}

// update changes what Meet looks at.
func (r *Room) update(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	close(r.changed)
	r.changed = make(chan struct{})
}

// run keeps the membership: one connection after the other.
func (r *Room) run(ctx context.Context, conn *websocket.Conn, out chan []byte) {
	defer close(r.done)
	wait := firstWait
	for {
		began := time.Now()
		err := r.attend(ctx, conn, out)
		if time.Since(began) > calmTime {
			wait = firstWait
		}
		closed := false
		r.update(func() {
			r.out, closed = nil, r.closed
			r.end(err)
		})
		var refused *RefusedError
		if errors.As(err, &refused) && !refused.final() {
			refused = nil
		}
		if !closed && refused == nil {
			if f := r.opts.Trace.Disconnected; f != nil {
				f(err)
			}
			out = make(chan []byte)
			conn, err = r.rejoin(ctx, &wait, out)
		}
		if closed || ctx.Err() != nil {
			err = net.ErrClosed
		}
		if err != nil {
			if conn != nil {
				_ = conn.CloseNow()
			}
			r.update(func() { r.err = err })
			return
		}
	}
}

// rejoin tries until it is in again, with pauses that grow. An error is final.
func (r *Room) rejoin(ctx context.Context, wait *time.Duration, out chan []byte) (*websocket.Conn, error) {
	for {
		// When a server restarts, its members shall not all come back in the same moment.
		if err := sleep(ctx, *wait/2+rand.N(*wait)); err != nil {
			return nil, err
		}
		*wait = min(2**wait, maxWait*2/3)
		conn, err := r.dialer.join(ctx)
		if err == nil {
			r.update(func() { r.out = out })
			if f := r.opts.Trace.Rejoined; f != nil {
				f()
			}
			return conn, nil
		}
		var refused *RefusedError
		if ctx.Err() != nil || errors.As(err, &refused) && refused.final() {
			return nil, err
		}
		if f := r.opts.Trace.Failed; f != nil {
			f(err)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
