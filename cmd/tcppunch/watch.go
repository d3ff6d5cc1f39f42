package main

import (
	"sync"
	"time"

	"github.com/tcppunch/tcppunch/stunt"
)

// quietTime is how long the connection to the server may be lost before the
// person is told. Most come back sooner.
const quietTime = 3 * time.Second

// A serverWatch tells the person that the connection to the server is lost, if
// that lasts.
type serverWatch struct {
	out    *output
	server string

	mu      sync.Mutex
	lost    *time.Timer // tells, unless the connection is back first; guarded by mu
	told    bool        // guarded by mu
	stopped bool        // guarded by mu
}

func (w *serverWatch) trace() *stunt.Trace {
	return &stunt.Trace{
		Disconnected: w.disconnected,
		Failed:       func(err error) { w.out.detail("rejoining the room: %s", shown(err)) },
		Rejoined:     w.rejoined,
	}
}

func (w *serverWatch) disconnected(err error) {
	w.out.detail("lost the connection to the server: %s", shown(err))
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lost == nil && !w.stopped {
		w.lost = time.AfterFunc(quietTime, w.tell)
	}
}

func (w *serverWatch) tell() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lost != nil && !w.told && !w.stopped {
		w.told = true
		w.out.say("Warning: the server %s cannot be reached; still trying …", w.server)
	}
}

func (w *serverWatch) rejoined() {
	w.out.detail("back in the room")
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lost != nil {
		w.lost.Stop()
	}
	if w.told {
		w.out.say("The server %s is back.", w.server)
	}
	w.lost, w.told = nil, false
}

// isLost reports whether there is no connection now.
func (w *serverWatch) isLost() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lost != nil
}

// stop keeps it from telling anything more.
func (w *serverWatch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	if w.lost != nil {
		w.lost.Stop()
	}
}
