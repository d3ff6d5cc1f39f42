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
	// Patience is how long a room is asked for again that is full, and after a lost connection a place that somebody else
	// has: mostly it is somebody who is about to go. Default: 10 seconds when joining and a minute when rejoining.
	// Negative: not at all.
	Patience time.Duration
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

	joinPatience   = 4 * time.Second
	rejoinPatience = time.Minute
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

// Join returns when the server has taken this side in: two round trips, and one more with TLS. It tries again only while
// the room is full, for the time of Patience. The context bounds Join only.
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
	conn, err := d.joinPatiently(ctx, o.patience(joinPatience))
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

func (o *JoinOptions) patience(usual time.Duration) time.Duration {
	if o.Patience == 0 {
		return usual
	}
	return o.Patience
}

// joinPatiently tries again while the room is full: somebody may be there who does not know the code, and is sent away.
func (d *dialer) joinPatiently(ctx context.Context, patience time.Duration) (*websocket.Conn, error) {
	began, wait := time.Now(), 2*firstWait
	for {
		conn, err := d.join(ctx)
		pause := wait/2 + rand.N(wait)
		if !errors.Is(err, ErrRoomFull) || time.Since(began)+pause > patience || sleep(ctx, pause) != nil {
			return conn, err
		}
		wait = min(2*wait, 4*time.Second)
	}
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
	c := &comeback{wait: firstWait}
	for {
		began := time.Now()
		ended := r.attend(ctx, conn, out)
		if time.Since(began) > calmTime {
			c.wait = firstWait
		}
		err, final := r.ending(ended, c)
		closed := false
		r.update(func() {
			r.out, closed = nil, r.closed
			r.end(err)
		})
		if !closed && !final {
			if f := r.opts.Trace.Disconnected; f != nil {
				f(err)
			}
			out = make(chan []byte)
			conn, err = r.rejoin(ctx, c, out)
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

// ending decides what the end of a connection means: why it ended, and whether that is final. Who made the room is sent
// away by mistake only: somebody was there first after the server had lost its memory, or says that it made the room too.
func (r *Room) ending(err error, c *comeback) (_ error, final bool) {
	var refused *RefusedError
	if !errors.As(err, &refused) {
		return err, false
	}
	c.retry = refused.Retry
	if refused.Code == codeDropped && r.dialer.made {
		return fmt.Errorf("%w: %s", ErrDisconnected, refused.Message), false
	}
	return err, refused.final()
}

// A comeback is what paces attempts to rejoin.
type comeback struct {
	wait  time.Duration // the next pause
	retry time.Duration // how long the server has asked to wait
}

// pause waits before the next attempt. When a server restarts, its members shall not all come back in the same moment.
func (c *comeback) pause(ctx context.Context) error {
	d := max(c.wait/2+rand.N(c.wait), c.retry+rand.N(c.retry/2+1))
	c.wait, c.retry = min(2*c.wait, maxWait*2/3), 0
	return sleep(ctx, d)
}

// rejoin tries until it is in again, with pauses that grow. An error is final.
func (r *Room) rejoin(ctx context.Context, c *comeback, out chan []byte) (*websocket.Conn, error) {
	var taken time.Time // since when somebody else is there
	for {
		if err := c.pause(ctx); err != nil {
			return nil, err
		}
		conn, err := r.dialer.join(ctx)
		if err == nil {
			r.update(func() { r.out = out })
			if f := r.opts.Trace.Rejoined; f != nil {
				f()
			}
			return conn, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		var refused *RefusedError
		if errors.As(err, &refused) {
			c.retry = refused.Retry
			if refused.final() && !refused.taken() {
				return nil, err
			}
			if refused.taken() && taken.IsZero() {
				taken = time.Now()
			}
			if refused.taken() && time.Since(taken) >= r.opts.patience(rejoinPatience) {
				return nil, fmt.Errorf("%w: %w", ErrTakenOver, err)
			}
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
