package stunt

import (
	"context"
	"net"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/time/rate"
)

// writeTime is how long a member may take to accept what its kernel has no place for.
const writeTime = 10 * time.Second

// A member is one connection in a room. A goroutine reads from it, and another writes while there is something to
// write.
type member struct {
	hub      *hub
	side     Side
	token    string
	network  *network
	room     *room
	rejoined bool // says that it was here before
	made     bool // the room, by coming
	claims   bool // says that it made the room, and the server cannot know

	frames *rate.Limiter // of what the member says; the reader's

	// Guarded by hub.mu.
	conn    *websocket.Conn // nil until the handshake is over
	link    net.Conn        // what conn runs on
	idle    *time.Timer     // set with conn
	queue   [][]byte
	queued  int // bytes
	writing bool
	sent    int           // messages in this meeting
	left    bool          // of its own will
	gone    bool          // out of its room
	why     *RefusedError // with gone: the reason to tell
}

// attach gives a member that has joined its connection, and serves it. Without one the member leaves.
func (h *hub) attach(m *member, conn *websocket.Conn, link net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	defer h.wg.Done()
	if conn == nil {
		m.forget()
		m.left = !m.rejoined // a place is kept for who is known to try again
		h.remove(m, nil)
		delete(h.links, m)
		return
	}
	conn.SetReadLimit(int64(frameLimit(h.limits.Message)))
	m.conn, m.link = conn, link
	m.frames = rate.NewLimiter(rate.Limit(h.limits.Messages)/10, 2*h.limits.Messages+spareFrames)
	m.idle = time.AfterFunc(h.limits.Idle/2, m.probe)
	h.wg.Go(m.read)
	m.wake()
	if m.gone && m.why == nil { // removed meanwhile
		m.abort()
	}
}

// tell queues a frame. Who reads too slowly is disconnected: first the one whose queue is full, then, while there is
// too much in all, whoever makes most wait.
func (h *hub) tell(m *member, frame []byte) {
	if m.gone {
		return
	}
	m.queue = append(m.queue, frame)
	m.queued += len(frame)
	h.waiting += len(frame)
	if m.queued > h.limits.Buffer {
		h.slow(m)
		return
	}
	m.wake()
	for h.waiting > h.limits.Buffers {
		worst := m
		for p := range h.links {
			if p.queued > worst.queued {
				worst = p
			}
		}
		if worst.queued == 0 {
			return
		}
		h.slow(worst)
	}
}

func (h *hub) slow(m *member) {
	h.met.slow.Inc()
	m.forget()
	if m.gone { // it was to read what is queued, and the reason
		m.why = nil
		m.abort()
	}
	h.remove(m, nil)
}

// forget empties the queue.
func (m *member) forget() {
	m.hub.waiting -= m.queued
	m.queue, m.queued = nil, 0
}

// close ends the connection: after what is queued and the reason, or without one, at once.
func (m *member) close(why *RefusedError) {
	m.why = why
	if why == nil {
		m.forget()
		m.abort()
		return
	}
	m.wake()
}

// abort makes the reader and the writer end, also where the WebSocket waits for the other side to close.
func (m *member) abort() {
	if m.link != nil {
		_ = m.link.Close()
	}
}

// wake starts the writer if there is something for it to do.
func (m *member) wake() {
	if m.conn == nil || m.writing || len(m.queue) == 0 && (!m.gone || m.why == nil) {
		return
	}
	m.writing = true
	m.hub.wg.Go(m.write)
}

// write empties the queue, and tells the end.
func (m *member) write() {
	for {
		m.hub.mu.Lock()
		if len(m.queue) == 0 {
			m.writing = false
			gone, why := m.gone, m.why
			m.why = nil
			m.hub.mu.Unlock()
			if gone && why != nil {
				_ = m.conn.Close(statusRefused, why.reason()) // it is over either way
			}
			return
		}
		frame := m.queue[0]
		m.queue = m.queue[1:]
		m.queued -= len(frame)
		m.hub.waiting -= len(frame)
		m.hub.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), writeTime)
		err := m.conn.Write(ctx, websocket.MessageText, frame)
		cancel()
		if err != nil {
			m.hub.mu.Lock()
			m.forget()
			m.writing = false
			m.hub.remove(m, nil)
			m.hub.mu.Unlock()
			return
		}
	}
}

// statusRefused is the close code of a server that sends a member away; the reason is a RefusedError's.
const statusRefused websocket.StatusCode = 4000

// read serves what the member says until the connection ends: closing it is what ends a read.
func (m *member) read() {
	defer m.detach()
	for {
		typ, b, err := m.conn.Read(context.Background())
		if err != nil {
			return
		}
		m.heard()
		if !m.spend() {
			continue // until the connection is closed
		}
		e, err := fromMember(b, m.hub.limits.Message)
		if err == nil && typ != websocket.MessageText {
			err = errMessage
		}
		if err != nil {
			m.hub.met.malformed.Inc()
			m.hub.refuse(m, &RefusedError{Code: codeBadRequest, Message: err.Error()})
			continue // until the connection is closed
		}
		switch e.Type {
		case typeMessage:
			m.hub.forward(m, e)
		case typeDrop:
			m.hub.drop(m, e.Meeting)
		case typeLeave:
			m.hub.leave(m)
			return
		}
	}
}

// spareFrames is how many more frames than messages a member may send at once.
const spareFrames = 64

// spend counts a frame of any type, also of those that mean nothing. Who sends too many is sent away.
func (m *member) spend() bool {
	if m.frames.Allow() {
		return true
	}
	m.hub.refuse(m, &RefusedError{Code: codeTooManyMessages, Message: "too many messages in too short a time"})
	return false
}

// refuse sends a member away for what it did.
func (h *hub) refuse(m *member, why *RefusedError) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remove(m, why)
}

// detach is the end of the connection.
func (m *member) detach() {
	m.hub.mu.Lock()
	m.idle.Stop()
	m.hub.remove(m, nil)
	m.forget()
	delete(m.hub.links, m)
	m.hub.mu.Unlock()
	_ = m.conn.CloseNow()
}

// heard notes a sign of life.
func (m *member) heard() { m.idle.Reset(m.hub.limits.Idle / 2) }

// probe asks a silent member whether it is there.
func (m *member) probe() {
	m.hub.mu.Lock()
	if m.gone {
		m.hub.mu.Unlock()
		return
	}
	m.hub.wg.Add(1)
	m.hub.mu.Unlock()
	defer m.hub.wg.Done()
	m.alive(m.hub.limits.Idle / 2)
}

// challenge asks who has a side that somebody else wants. It reports whether the side is free now.
func (h *hub) challenge(m *member) bool {
	h.mu.Lock()
	gone, conn := m.gone, m.conn
	h.mu.Unlock()
	return gone || conn != nil && !m.alive(challengeTime)
}

// challengeTime is how long a newcomer waits for the answer of who has its side.
const challengeTime = 3 * time.Second

// alive asks the member to answer within the time, and removes it if it does not.
func (m *member) alive(within time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if err := m.conn.Ping(ctx); err != nil {
		m.hub.met.silent.Inc()
		m.hub.lose(m)
		return false
	}
	return true
}
