package main

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/tcppunch/tcppunch/stunt"
	"github.com/tcppunch/tcppunch/tcppunch"
	"github.com/tcppunch/tcppunch/tcppunch/pair"
)

// wire is one end of a room in memory, which breaks when its peer closes it.
type wire struct {
	out chan<- []byte
	in  <-chan []byte
}

func (w wire) Send(_ context.Context, msg []byte) error {
	w.out <- msg
	return nil
}

func (w wire) Recv(context.Context) ([]byte, error) {
	if msg, ok := <-w.in; ok {
		return msg, nil
	}
	return nil, stunt.ErrPeerLeft
}

func sealedSignals(t *testing.T) (a, b *signals, leave func()) {
	t.Helper()
	code, err := pair.ParseCode("4821-abdomen-yogurt")
	if err != nil {
		t.Fatal(err)
	}
	ab, ba := make(chan []byte, 8), make(chan []byte, 8)
	a, b = &signals{}, &signals{}
	done := make(chan error)
	go func() {
		var err error
		a.sealed, err = pair.Seal(t.Context(), wire{ab, ba}, code, true)
		done <- err
	}()
	b.sealed, err = pair.Seal(t.Context(), wire{ba, ab}, code, false)
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	return a, b, func() { close(ab) }
}

// TestSignals: what a Dial that failed means, which depends on the room.
func TestSignals(t *testing.T) {
	noPath := fmt.Errorf("dialling: %w", tcppunch.ErrNoPath)
	impossible := fmt.Errorf("dialling: %w", tcppunch.ErrImpossible)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	isMeeting := func(err error) bool { return errors.As(err, new(*meetingError)) }

	a, b, leave := sealedSignals(t)
	if err := a.Send(t.Context(), []byte("offer")); err != nil {
		t.Fatal(err)
	}
	if msg, err := b.Recv(t.Context()); string(msg) != "offer" || err != nil {
		t.Errorf("got %q, %v", msg, err)
	}
	if err := a.farewell(t.Context(), noPath); !errors.Is(err, tcppunch.ErrNoPath) || isMeeting(err) {
		t.Errorf("no path: %v", err)
	}
	if msg, err := b.Recv(t.Context()); !errors.Is(err, errGaveUp) {
		t.Errorf("after the farewell: got %q, %v, want %v", msg, err, errGaveUp)
	}
	if err := b.farewell(t.Context(), noPath); isMeeting(err) {
		t.Errorf("the other side has given up: %v, and this one waits for it", err)
	}
	leave()
	if _, err := b.Recv(ended); err == nil {
		t.Error("nobody is there, and says something")
	}
	if err := b.farewell(ended, noPath); isMeeting(err) {
		t.Errorf("the time is over: %v", err)
	}
	if err := b.farewell(t.Context(), noPath); isMeeting(err) {
		t.Errorf("what broke when the time was over counts: %v", err)
	}
	if _, err := b.Recv(t.Context()); !errors.Is(err, stunt.ErrPeerLeft) {
		t.Errorf("got %v", err)
	}
	if err := b.farewell(t.Context(), noPath); !isMeeting(err) || !errors.Is(err, stunt.ErrPeerLeft) {
		t.Errorf("the other side has left: %v", err)
	}
	if err := b.farewell(t.Context(), impossible); isMeeting(err) {
		t.Errorf("both have seen that it is impossible: %v, and this one waits", err)
	}
}
