package stunt

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/coder/websocket"
)

// maxUnread is how many messages a Meeting keeps until Recv takes them. A server's default limit is lower.
const maxUnread = 512

// Meeting is the time that both sides are in the room. Send, Recv and Drop may be called at the same time.
type Meeting struct {
	id    uint64
	first bool
	out   chan<- []byte
	in    chan []byte
	over  chan struct{}
	why   error // set before over is closed
}

// First reports whether this side made the room, or was there before the other. It tells two SideBench apart. Of other
// sides both may be told so, when both say that they made the room and the server, after a restart, cannot know.
func (m *Meeting) First() bool { return m.first }

// Done is closed when the meeting is over.
func (m *Meeting) Done() <-chan struct{} { return m.over }

// Send hands a message of up to MaxMessage bytes to the connection. That it returns nil does not mean that the other
// side has it.
func (m *Meeting) Send(ctx context.Context, msg []byte) error {
	if len(msg) > MaxMessage {
		return fmt.Errorf("sending to the other side: %d bytes are more than %d", len(msg), MaxMessage)
	}
	if err := m.say(ctx, envelope{Type: typeMessage, Meeting: m.id, Data: msg}); err != nil {
		return fmt.Errorf("sending to the other side: %w", err)
	}
	return nil
}

func (m *Meeting) say(ctx context.Context, e envelope) error {
	select {
	case <-m.over:
		return m.why
	default:
	}
	select {
	case m.out <- e.encode():
		return nil
	case <-m.over:
		return m.why
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Recv returns the next message. Those that came before the meeting was over are returned before the reason of its end.
func (m *Meeting) Recv(ctx context.Context) ([]byte, error) {
	select {
	case b := <-m.in:
		return b, nil
	default:
	}
	select {
	case b := <-m.in:
		return b, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the other side's message: %w", context.Cause(ctx))
	case <-m.over:
	}
	select {
	case b := <-m.in:
		return b, nil
	default:
		return nil, fmt.Errorf("waiting for the other side's message: %w", m.why)
	}
}

// Drop ends the meeting because the other side is a wrong one. Who made the room, or came first, stays and can meet the
// next one; the other is sent away, and its Room is over, with ErrDropped. That may be this side: a stranger cannot
// throw the owner out of its room. If the server has mistaken an owner for the other one, its Room rejoins. Drop returns
// when the meeting is over.
func (m *Meeting) Drop() {
	ctx, cancel := context.WithTimeout(context.Background(), dropTime)
	defer cancel()
	if m.say(ctx, envelope{Type: typeDrop, Meeting: m.id}) != nil {
		return // it is over already, or the line is dead, which ends it too
	}
	select {
	case <-m.over:
	case <-ctx.Done():
	}
}

// end ends the present meeting. The mutex is held.
func (r *Room) end(why error) {
	if r.meeting != nil {
		r.meeting.why = why
		close(r.meeting.over)
		r.meeting = nil
	}
}

// attend is one connection, from the joining to its end, of which it returns the reason.
func (r *Room) attend(ctx context.Context, conn *websocket.Conn, out chan []byte) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer func() { _ = conn.CloseNow() }()
	defer cancel(nil)
	wg.Go(func() { cancel(write(ctx, conn, out)) })
	wg.Go(func() { cancel(r.keepAlive(ctx, conn)) })
	conn.SetReadLimit(int64(frameLimit(MaxMessage)))
	for {
		_, b, err := conn.Read(ctx)
		if err != nil {
			return reason(ctx, err)
		}
		e, err := fromServer(b)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDisconnected, err)
		}
		if err := r.heed(e, out); err != nil {
			return err
		}
	}
}

// reason is why a connection ended: in the server's words, if it has said any.
func reason(ctx context.Context, err error) error {
	var closed websocket.CloseError
	if errors.As(err, &closed) {
		if refused := decodeReason(closed.Reason); refused != nil && closed.Code == statusRefused {
			if refused.final() {
				return refused
			}
			return fmt.Errorf("%w: %w", ErrDisconnected, refused)
		}
	}
	if ctx.Err() != nil && context.Cause(ctx) != nil {
		err = context.Cause(ctx)
	}
	return fmt.Errorf("%w: %w", ErrDisconnected, err)
}

// heed does what the server says.
func (r *Room) heed(e envelope, out chan []byte) error {
	r.mu.Lock()
	present := r.meeting
	r.mu.Unlock()
	switch {
	case e.Type == typeMet:
		if !e.First && !r.dialer.number {
			r.dialer.made = false // it came back to a room that is somebody else's by now
		}
		r.update(func() {
			r.end(ErrPeerLeft)
			r.meeting = &Meeting{
				id: e.Meeting, first: e.First, out: out, in: make(chan []byte, maxUnread), over: make(chan struct{}),
			}
			r.met = false
		})
	case present == nil || present.id != e.Meeting: // of a meeting that is over for this side
	case e.Type == typeOver:
		r.update(func() { r.end(ErrPeerLeft) })
	default:
		select {
		case present.in <- e.Data:
		default:
			return fmt.Errorf("%w: more than %d messages wait to be read", ErrDisconnected, maxUnread)
		}
	}
	return nil
}

// write sends one frame after the other. A dead line is found by keepAlive.
func write(ctx context.Context, conn *websocket.Conn, out <-chan []byte) error {
	for {
		select {
		case b := <-out:
			if err := conn.Write(ctx, websocket.MessageText, b); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// keepAlive asks the server to answer again and again, which also keeps the mappings of NATs on the way.
func (r *Room) keepAlive(ctx context.Context, conn *websocket.Conn) error {
	for {
		if err := sleep(ctx, r.opts.KeepAlive); err != nil {
			return nil
		}
		ping, cancel := context.WithTimeout(ctx, r.opts.KeepAlive/2)
		err := conn.Ping(ping)
		cancel()
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("the server does not answer: %w", err)
		}
	}
}
