package transfer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	defaultIdle = 30 * time.Second
	heartbeat   = 5 * time.Second // between frames while there is nothing to say
	lastWord    = 2 * time.Second // to tell the other side why we give up, and to hear its answer
	buffered    = 64 << 10        // bytes of small frames put together
	blocks      = 4               // blocks of data in flight on either side, so memory is constant
)

// errDone is the cause with which a link ends that nothing went wrong with.
var errDone = errors.New("done")

// frame is one frame as the reader hands it on. The body of a data frame comes
// from the pool and has to be given back.
type frame struct {
	kind kind
	body []byte
}

// link speaks frames over the connection. One goroutine reads, from the beginning
// to the last frame, so that a failure of the other side is heard while this one
// writes, waits for a person, or is at work on the disk.
//
// Deadlines are only ever set by stop, when giving up: a deadline that interrupts
// a write leaves a tls.Conn broken for good.
type link struct {
	conn   net.Conn
	idle   time.Duration
	ctx    context.Context // ends when the link stops; its cause says why
	cancel context.CancelCauseFunc
	once   sync.Once
	wg     sync.WaitGroup
	caller context.Context
	unhook func() // detaches from the caller's context

	in      chan frame
	pool    chan []byte
	gated   bool          // only frames asked for by expect may come
	next    atomic.Uint32 // the kind that may come next, when gated
	pending atomic.Int64  // when the read under way began, Unix nanoseconds, 0 if there is none
	remote  *RemoteError  // what the other side reported; read it after wg.Wait

	mu     sync.Mutex // guards the writing half
	w      *bufio.Writer
	broken bool      // a write failed: whatever follows would be garbage
	silent bool      // the last frame is out: no more heartbeats
	wrote  time.Time // when the last frame was written
}

// newLink starts the reader and the clocks. gated is for the sender, who always
// knows which single frame may come; what else comes is a violation.
func newLink(ctx context.Context, conn net.Conn, idle time.Duration, gated bool) *link {
	if idle <= 0 {
		idle = defaultIdle
	}
	l := &link{
		caller: ctx,
		conn:   conn,
		idle:   idle,
		in:     make(chan frame, 1),
		pool:   make(chan []byte, blocks),
		gated:  gated,
		w:      bufio.NewWriterSize(conn, buffered),
		wrote:  time.Now(),
	}
	for range blocks {
		l.pool <- nil // grown on demand
	}
	// The caller's cancellation arrives through stop, which sets the deadline first.
	l.ctx, l.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	hooked := make(chan struct{})
	undo := context.AfterFunc(ctx, func() {
		defer close(hooked)
		l.stop(interrupted(ctx))
	})
	l.unhook = func() {
		if !undo() {
			<-hooked
		}
	}
	l.expect(kindHello)
	l.wg.Go(l.readLoop)
	l.wg.Go(l.watch)
	l.wg.Go(l.beat)
	return l
}

func interrupted(ctx context.Context) error {
	err := ctx.Err()
	if cause := context.Cause(ctx); !errors.Is(cause, err) {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	return &failure{text: "interrupted", cause: err}
}

// stop gives up: nothing new is begun, and what is under way has a short time to
// end. The first cause counts.
func (l *link) stop(cause error) {
	l.once.Do(func() {
		_ = l.conn.SetDeadline(time.Now().Add(lastWord))
		l.cancel(cause)
	})
}

// finish ends the link and returns why the transfer failed. After a failure on
// this side it tells the other one and waits, briefly, until that has been
// read: closing with unread data would reset the connection and take the word with it.
func (l *link) finish(err error) error {
	defer l.unhook()
	if err == nil {
		l.cancel(errDone)
		// The reader ends by itself, unless the other side neither ends nor leaves.
		late := time.AfterFunc(lastWord, func() { _ = l.conn.SetReadDeadline(time.Now()) })
		l.wg.Wait()
		late.Stop()
		return nil
	}
	l.stop(err)
	cause := context.Cause(l.ctx)
	var theirs *RemoteError
	switch {
	case errors.As(cause, &theirs):
		_ = l.writeLast(kindBye, nil)
	case !errors.Is(cause, ErrPeerGone):
		code, message := report(cause)
		_ = l.writeLast(kindFail, appendFail(nil, code, message))
	}
	l.wg.Wait()
	if errors.Is(cause, ErrPeerGone) { // find out why
		switch {
		case l.caller.Err() != nil: // the caller may well have closed it
			return interrupted(l.caller)
		case l.remote != nil:
			return l.remote
		}
	}
	return cause
}

// readLoop hands on frames until the last one. When the link has stopped it reads
// on, and drops what comes, until the other side has heard of it.
func (l *link) readLoop() {
	r := bufio.NewReaderSize(timedReader{l}, buffered)
	for {
		k, n, err := readHeader(r)
		if err == nil {
			var last bool
			if last, err = l.take(r, k, n); last {
				return
			}
		}
		if err != nil {
			l.stop(lost(err))
			_, _ = io.Copy(io.Discard, r) // until the deadline that stop has set
			return
		}
	}
}

// lost is the failure for an error of the connection itself.
func lost(err error) error {
	var f *failure
	switch {
	case errors.As(err, &f):
		return err
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return &failure{kind: ErrPeerGone, text: "it closed the connection"}
	}
	return &failure{kind: ErrPeerGone, cause: err}
}

// take reads one body and passes it on. It reports whether no frame can follow.
func (l *link) take(r *bufio.Reader, k kind, n int) (last bool, err error) {
	stopped := l.ctx.Err() != nil
	if k == kindPing || !k.known() || (stopped && k != kindFail) {
		_, err := r.Discard(n)
		return stopped && k == kindBye, err
	}
	if k == kindFail {
		return l.takeFail(r, n)
	}
	if l.gated && !l.next.CompareAndSwap(uint32(k), 0) {
		return false, protocolError("unexpected " + k.String())
	}
	body, ok := l.buffer(k, n)
	if !ok {
		_, err := r.Discard(n)
		return false, err
	}
	if _, err := io.ReadFull(r, body); err != nil {
		return false, noEOF(err)
	}
	select {
	case l.in <- frame{k, body}:
	case <-l.ctx.Done():
	}
	return k == kindResult || k == kindBye, nil
}

func (l *link) takeFail(r io.Reader, n int) (last bool, err error) {
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return false, noEOF(err)
	}
	remote, err := parseFail(body)
	if err != nil {
		return false, err
	}
	l.remote = remote
	l.stop(remote)
	return true, nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// buffer returns room for a body, for data from the pool, waiting for it if need
// be: that is what slows the other side down to the speed of the disk.
func (l *link) buffer(k kind, n int) (body []byte, ok bool) {
	if k != kindData {
		return make([]byte, n), true
	}
	select {
	case b := <-l.pool:
		if cap(b) < n {
			b = make([]byte, n)
		}
		return b[:n], true
	case <-l.ctx.Done():
		return nil, false
	}
}

// recycle gives the body of a data frame back.
func (l *link) recycle(b []byte) { l.pool <- b }

// expect allows one frame of this kind, when gated.
func (l *link) expect(k kind) { l.next.Store(uint32(k)) }

// read waits for the next frame.
func (l *link) read() (frame, error) {
	select {
	case f := <-l.in:
		return f, nil
	case <-l.ctx.Done():
		return frame{}, context.Cause(l.ctx)
	}
}

// readKind waits for the next frame, which must be of this kind.
func (l *link) readKind(want kind) ([]byte, error) {
	f, err := l.read()
	if err != nil {
		return nil, err
	}
	if f.kind != want {
		return nil, protocolError(fmt.Sprintf("%s instead of %s", f.kind, want))
	}
	return f.body, nil
}

// write queues one frame. Small ones wait for flush.
func (l *link) write(k kind, body []byte) error {
	if l.ctx.Err() != nil {
		return context.Cause(l.ctx)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.writeLocked(k, body, false)
}

// writeLast writes the last frame of this side, also on a link that has stopped.
func (l *link) writeLast(k kind, body []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silent = true
	return l.writeLocked(k, body, true)
}

func (l *link) flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed(l.w.Flush())
}

func (l *link) writeLocked(k kind, body []byte, flush bool) error {
	if l.broken {
		return context.Cause(l.ctx)
	}
	var h [headerSize]byte
	_, _ = l.w.Write(appendHeader(h[:0], k, len(body))) // bufio keeps the error
	_, err := l.w.Write(body)
	if err == nil && flush {
		err = l.w.Flush()
	}
	l.wrote = time.Now()
	return l.failed(err)
}

func (l *link) failed(err error) error {
	if err == nil {
		return nil
	}
	l.broken = true
	l.stop(lost(err))
	return context.Cause(l.ctx)
}

// beat sends a heartbeat when nothing else was sent for a while.
func (l *link) beat() {
	t := time.NewTicker(heartbeat)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-l.ctx.Done():
			return
		}
		if !l.mu.TryLock() {
			continue // somebody is writing: no need
		}
		if !l.silent && time.Since(l.wrote) > heartbeat/2 {
			_ = l.writeLocked(kindPing, nil, true)
		}
		l.mu.Unlock()
	}
}

// watch gives up when nothing has been heard for too long. It counts only while
// a read is under way: a slow disk on this side is not the other side's silence.
func (l *link) watch() {
	t := time.NewTicker(max(min(l.idle/4, time.Second), time.Millisecond))
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-l.ctx.Done():
			return
		}
		began := l.pending.Load()
		if began != 0 && time.Since(time.Unix(0, began)) > l.idle {
			l.stop(&failure{kind: ErrPeerGone, text: fmt.Sprintf("the other side went silent for %v", l.idle)})
			return
		}
	}
}

// timedReader notes when a read of the connection began.
type timedReader struct{ l *link }

func (r timedReader) Read(p []byte) (int, error) {
	r.l.pending.Store(time.Now().UnixNano())
	n, err := r.l.conn.Read(p)
	r.l.pending.Store(0)
	return n, err
}

// greet exchanges hellos. Both sides write first, so that two senders, or two
// receivers, find out; over an unbuffered pipe that needs two goroutines.
func (l *link) greet(role byte, features []string) (hello, error) {
	mine := hello{version: version, min: minVersion, role: role, features: features}
	said := make(chan struct{})
	l.wg.Go(func() {
		defer close(said)
		if l.write(kindHello, mine.append(nil)) == nil {
			_ = l.flush() // a failure has stopped the link
		}
	})
	body, err := l.readKind(kindHello)
	if err != nil {
		return hello{}, err
	}
	select {
	case <-said: // before anything else is written
	case <-l.ctx.Done():
		return hello{}, context.Cause(l.ctx)
	}
	theirs, err := parseHello(body)
	switch {
	case err != nil:
		return theirs, err
	case theirs.role != roleSend && theirs.role != roleReceive:
		return theirs, protocolError("hello without a role")
	case theirs.role == role && role == roleSend:
		return theirs, &failure{kind: ErrProtocol, text: "both sides want to send"}
	case theirs.role == role:
		return theirs, &failure{kind: ErrProtocol, text: "both sides want to receive"}
	case theirs.version < minVersion || version < theirs.min:
		return theirs, &failure{kind: ErrVersion, text: fmt.Sprintf("this side speaks %d to %d, the other %d to %d",
			minVersion, version, theirs.min, theirs.version)}
	}
	return theirs, nil
}
