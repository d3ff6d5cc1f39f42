package kcpconn

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"
)

// fail ends the stream. The caller holds mu.
func (c *Conn) fail(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	close(c.over)
	// Stay a while: the peer may not have heard how it ended.
	time.AfterFunc(graveTime, func() {
		c.mu.Lock()
		at := c.remote
		c.mu.Unlock()
		c.via.Detach(c, at, c.secrets.conv, c.secrets.tag)
	})
}

// CloseWrite ends our half of the stream: the peer reads io.EOF after all that
// was written.
func (c *Conn) CloseWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.writeError(); err != nil {
		return err
	}
	c.finish()
	return nil
}

// finish queues the end of stream. The caller holds mu.
func (c *Conn) finish() {
	c.seal(endOfStream)
	c.send.finished = true
	c.begun()
	token(c.work)
}

// Close ends the stream after the peer has acknowledged all that was written,
// for which it waits while there is progress, and 5 seconds more. An error says
// that something may not have arrived.
func (c *Conn) Close() error {
	c.mu.Lock()
	if c.local {
		c.mu.Unlock()
		return net.ErrClosed
	}
	c.local = true
	if c.err == nil && !c.send.finished && !c.peer.closed && c.peer.running {
		c.finish()
	}
	token(c.readable)
	token(c.writable)
	c.mu.Unlock()

	err := c.settle()

	c.mu.Lock()
	if c.err == nil {
		c.epitaph = closed
		if err != nil {
			c.epitaph = reset
		}
		c.farewell()
		c.fail(net.ErrClosed)
	}
	c.mu.Unlock()
	<-c.pumped
	return err
}

// settle waits until all that was written has arrived.
func (c *Conn) settle() error {
	timer := time.NewTimer(lingerTime)
	defer timer.Stop()
	c.mu.Lock()
	una := c.board.una
	for {
		done, err := c.delivered()
		at := c.board.una
		c.mu.Unlock()
		if done {
			return err
		}
		if at != una {
			una = at
			timer.Reset(lingerTime)
		}
		select {
		case <-c.settled:
		case <-c.over:
		case <-timer.C:
			return fmt.Errorf("closing the stream: what was written may not have arrived: %w", ErrSilent)
		}
		c.mu.Lock()
	}
}

// delivered says whether there is nothing left to wait for. The caller holds mu.
func (c *Conn) delivered() (done bool, err error) {
	left := c.queued() + int(c.board.next-c.board.una)
	switch {
	case left == 0 && len(c.send.stage) == 0:
		return true, nil
	case c.err != nil && errors.Is(c.err, net.ErrClosed):
		return true, fmt.Errorf("closing the stream: what was written may not have arrived: %w", c.err)
	case c.err != nil:
		return true, c.err
	case c.peer.closed && left <= 1 && c.send.finished: // but for the end of stream, of which it need not know
		return true, nil
	case c.peer.closed:
		return true, ErrReset
	}
	return false, nil
}

// farewell tells the peer how it ended, three times since nothing tells whether
// it arrived. The caller holds mu.
func (c *Conn) farewell() {
	for range 3 {
		_ = c.via.Send(c.lastWords(), c.remote)
	}
}

// lastWords makes the datagram that tells how it ended. With closed it says what
// has arrived, since the last acknowledgements may not have.
func (c *Conn) lastWords() []byte {
	var body []byte
	if c.epitaph == closed {
		body = binary.BigEndian.AppendUint32(nil, c.send.una)
	}
	return c.secrets.seal(nil, c.epitaph, body)
}

// Discard ends the stream at once, whatever was written, and tells the peer.
func (c *Conn) Discard() {
	c.mu.Lock()
	c.local = true
	if c.err == nil {
		c.epitaph = reset
		c.farewell()
		c.fail(net.ErrClosed)
	}
	c.mu.Unlock()
	<-c.pumped
}
