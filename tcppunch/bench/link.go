package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	heartbeat = 2 * time.Second // between pings when there is nothing to say
	lastWord  = time.Second     // to tell the other side why we give up, or that all is over
	maxQueue  = 256             // frames that wait to be written, and signals that wait to be read
)

// A link speaks frames over the control connection. One goroutine reads and one
// writes, from the beginning to the end, so that two sides that both write never wait
// for each other.
//
// Deadlines are only ever set when giving up: one that interrupts a write leaves a
// tls.Conn broken for good.
type link struct {
	conn    net.Conn
	silence time.Duration
	caller  context.Context
	ctx     context.Context // ends when the link stops; its cause says why
	cancel  context.CancelCauseFunc
	once    sync.Once
	unhook  func() bool
	writer  sync.WaitGroup
	others  sync.WaitGroup

	out     chan []byte // frames to be written
	hello   chan hello
	dones   chan done // two, as the other side may be a step ahead
	signals chan signal
	bye     chan struct{} // closed when the other side has said BYE

	heard atomic.Int64 // when the last frame came, Unix nanoseconds
	began atomic.Int64 // when the write under way began; 0 if there is none
	count atomic.Int64 // bytes that the other side says to have received
	pongs atomic.Value // of func(seq uint64): who wants to know of answers
}

type signal struct {
	id  uint32
	msg []byte
}

func newLink(ctx context.Context, conn net.Conn, silence time.Duration) *link {
	l := &link{
		conn: conn, silence: silence, caller: ctx,
		out:   make(chan []byte, maxQueue),
		hello: make(chan hello, 1), dones: make(chan done, 2), signals: make(chan signal, maxQueue), bye: make(chan struct{}),
	}
	l.pongs.Store(func(uint64) {})
	l.heard.Store(time.Now().UnixNano())
	// The caller's end arrives through stop, which sets the deadline first.
	l.ctx, l.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	l.unhook = context.AfterFunc(ctx, func() { l.stop(context.Cause(ctx)) })
	l.writer.Go(l.writeLoop)
	l.others.Go(l.readLoop)
	l.others.Go(l.watch)
	return l
}

var errDone = errors.New("all is done")

// stop gives up: what is under way has a short time to end. The first cause counts.
func (l *link) stop(cause error) {
	l.once.Do(func() {
		l.conn.SetDeadline(time.Now().Add(lastWord)) //nolint:errcheck // closed: over anyway
		l.cancel(cause)
	})
}

// finish ends the link and returns why Run failed. The other side is told, and has a
// moment to hear it: closing with unread data would take the word away.
func (l *link) finish(err error) error {
	if err == nil {
		err = l.parting()
	}
	if err == nil {
		l.stop(errDone)
	} else {
		l.stop(err)
		err = context.Cause(l.ctx)
	}
	l.unhook()
	l.writer.Wait()
	var remote *RemoteError
	if err != nil && !errors.As(err, &remote) && !errors.Is(err, ErrPeerGone) {
		body, _ := json.Marshal(fail{codeOf(err), clean(err.Error())}) // strings: always possible
		l.conn.Write(appendFrame(nil, kindFail, body))                 //nolint:errcheck // it helps only the other side
	}
	l.others.Wait()
	if err != nil && l.caller.Err() != nil {
		return fmt.Errorf("interrupted: %w", l.caller.Err())
	}
	return err
}

// parting says BYE and waits for the other side's.
func (l *link) parting() error {
	if err := l.write(kindBye, nil); err != nil {
		return err
	}
	t := time.NewTimer(lastWord)
	defer t.Stop()
	select {
	case <-l.bye:
	case <-t.C: // all was said
	case <-l.ctx.Done():
	}
	return nil
}

func (l *link) write(k kind, body []byte) error {
	select {
	case l.out <- appendFrame(nil, k, body):
		return nil
	case <-l.ctx.Done():
		return context.Cause(l.ctx)
	}
}

func (l *link) writeJSON(k kind, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return l.write(k, body)
}

// writeSoon drops the frame when many wait already: nobody must make us keep what he
// does not read.
func (l *link) writeSoon(k kind, body []byte) {
	select {
	case l.out <- appendFrame(nil, k, body):
	default:
	}
}

// writeLoop writes what is queued. When all is done nothing of it is left out.
func (l *link) writeLoop() {
	for {
		select {
		case b := <-l.out:
			l.began.Store(time.Now().UnixNano())
			_, err := l.conn.Write(b)
			l.began.Store(0)
			if err != nil {
				l.stop(lost(err))
				return
			}
		case <-l.ctx.Done():
			for len(l.out) > 0 && errors.Is(context.Cause(l.ctx), errDone) {
				if _, err := l.conn.Write(<-l.out); err != nil {
					return
				}
			}
			return
		}
	}
}

// readLoop takes frames until the last one. When the link has stopped it reads on
// until the other side has closed, or the deadline.
func (l *link) readLoop() {
	r := bufio.NewReader(l.conn)
	first := true
	for {
		k, body, err := readFrame(r)
		if err == nil {
			l.heard.Store(time.Now().UnixNano())
			err = l.take(k, body, first)
			first = false
		}
		if errors.Is(err, errDone) {
			return
		}
		if err != nil {
			if errors.As(err, new(*RemoteError)) {
				l.stop(err)
				return // that was its last word
			}
			l.stop(lost(err))
			io.Copy(io.Discard, r) //nolint:errcheck // until the deadline that stop has set
			return
		}
	}
}

// take passes a frame on to whom it concerns. It never waits.
func (l *link) take(k kind, body []byte, first bool) error {
	if first != (k == kindHello) && k != kindFail {
		if first {
			return violation("%s instead of HELLO", k)
		}
		return violation("a second HELLO")
	}
	switch k {
	case kindHello:
		h, err := parseHello(body)
		if err == nil {
			l.hello <- h
		}
		return err
	case kindDone:
		d, err := parseDone(body)
		if err != nil {
			return err
		}
		return offerTo(l.dones, d, "DONE before its time")
	case kindSignal:
		if len(body) < signalID {
			return violation("SIGNAL of %d bytes", len(body))
		}
		return offerTo(l.signals, signal{binary.BigEndian.Uint32(body), body[signalID:]}, "too many signals")
	case kindPing:
		l.writeSoon(kindPong, body)
	case kindPong:
		l.pongs.Load().(func(uint64))(binary.BigEndian.Uint64(body))
	case kindCount:
		if n := binary.BigEndian.Uint64(body); n <= maxCount {
			l.count.Store(int64(n))
		}
	case kindFail:
		return parseFail(body)
	case kindBye:
		close(l.bye)
		return errDone
	default:
		return violation("%s on the control connection", k)
	}
	return nil
}

func offerTo[T any](ch chan<- T, v T, complaint string) error {
	select {
	case ch <- v:
		return nil
	default:
		return violation("%s", complaint)
	}
}

// watch sends heartbeats, and gives up when nothing has been heard for too long.
func (l *link) watch() {
	t := time.NewTicker(min(heartbeat, max(l.silence/4, time.Millisecond)))
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-l.bye:
			return
		case <-l.ctx.Done():
			return
		}
		if time.Since(time.Unix(0, l.heard.Load())) > l.silence {
			l.stop(fmt.Errorf("%w: it went silent for %v", ErrPeerGone, l.silence))
			return
		}
		if began := l.began.Load(); began != 0 && time.Since(time.Unix(0, began)) > l.silence {
			l.stop(fmt.Errorf("%w: it has taken nothing for %v", ErrPeerGone, l.silence))
			return
		}
		l.ping(0)
	}
}

func (l *link) ping(seq uint64) { l.writeSoon(kindPing, binary.BigEndian.AppendUint64(nil, seq)) }
