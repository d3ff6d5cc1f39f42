package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/cupwriter"
	"golang.org/x/term"

	"github.com/tcppunch/tcppunch/lanfind"
)

// watchPeers shows who comes and goes until ctx ends: on a terminal a list that is
// always true, elsewhere a line for each event.
func watchPeers(ctx context.Context, o *lanfind.Options, out *output) error {
	out.say("Looking around until Ctrl-C …")
	show := out.tellPeer
	if out.tty {
		s := newPeerScreen(out)
		defer s.close()
		show = s.show
	}
	for e, err := range lanfind.Browse(ctx, o) {
		if err != nil {
			return err
		}
		out.peerEvent(e.Kind, &e.Peer)
		show(e)
	}
	return nil // it was to go on until then
}

// tellPeer says on one line what happened to a peer.
func (o *output) tellPeer(e lanfind.Event) {
	text := fmt.Sprintf("%s: %s", e.Kind, peerName(&e.Peer))
	if e.Kind != lanfind.Gone {
		text += " at " + peerAddr(&e.Peer)
		if w := peerWaiting(&e.Peer); w != "no" {
			text += ", waiting " + w
		}
	}
	o.say("%s", text)
}

// A peerScreen is the list at the lower end of a terminal. What is said meanwhile
// stands above.
type peerScreen struct {
	out *output

	mu  sync.Mutex
	up  *cupwriter.Writer // guarded by mu
	all peerList          // guarded by mu
}

func newPeerScreen(out *output) *peerScreen {
	s := &peerScreen{out: out, up: cupwriter.New(out.human, false), all: make(peerList)}
	out.startBar(s)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draw()
	return s
}

// close leaves the list as it is.
func (s *peerScreen) close() { s.out.endBar() }

func (s *peerScreen) show(e lanfind.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all.apply(e)
	s.draw()
}

// Write puts text above the list.
func (s *peerScreen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up.Write(b)
	if err := s.up.Flush(0); err != nil {
		return 0, err
	}
	s.draw()
	return len(b), nil
}

// draw puts the list where the one before stood. The mutex is held.
func (s *peerScreen) draw() {
	width, height := s.out.screenSize()
	lines := []string{"Nobody yet."}
	if len(s.all) > 0 {
		lines = peerLines(s.all.sorted(), width, time.Now())
	}
	if most := max(2, height-1); len(lines) > most {
		lines = append(lines[:most-1], fmt.Sprintf("… and %s", plural(len(lines)-most+1, "more line")))
	}
	io.WriteString(s.up, "\r"+strings.Join(lines, "\n")+"\n") //nolint:errcheck // a buffer
	s.up.Flush(len(lines))                                    //nolint:errcheck // nobody looks
}

// screenSize is the size of the terminal, or that of a page.
func (o *output) screenSize() (width, height int) {
	if f, ok := o.human.(interface{ Fd() uintptr }); ok && o.tty {
		if w, h, err := term.GetSize(int(f.Fd())); err == nil && w > 0 && h > 0 {
			return w, h
		}
	}
	return 80, 1 << 20
}
