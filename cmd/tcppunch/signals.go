package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch"
	"github.com/tcppunch/tcppunch/tcppunch/pair"
)

// signals carry the engine's messages through the sealed room. They remember if
// the room broke: a Dial that ended for it looks like one without a path. An
// empty message, which the engine never sends, says that one side has given up,
// so that the other does not wait for it to come back.
type signals struct {
	sealed *pair.Sealed

	mu     sync.Mutex
	broken error // guarded by mu
}

var errGaveUp = errors.New("the other side has given up")

// farewellTime bounds the telling that this side has given up.
const farewellTime = 2 * time.Second

// Send implements tcppunch.Signaler.
func (s *signals) Send(ctx context.Context, msg []byte) error {
	err := s.sealed.Send(ctx, msg)
	s.note(ctx, err)
	return err
}

// Recv implements tcppunch.Signaler.
func (s *signals) Recv(ctx context.Context) ([]byte, error) {
	msg, err := s.sealed.Recv(ctx)
	s.note(ctx, err)
	if err == nil && len(msg) == 0 {
		return nil, errGaveUp
	}
	return msg, err
}

func (s *signals) note(ctx context.Context, err error) {
	if err == nil || ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		s.broken = err
	}
}

// farewell says what the error of a Dial means: another meeting may do better if
// the room broke, else there is no path, and the other side is told.
func (s *signals) farewell(ctx context.Context, err error) error {
	s.mu.Lock()
	broken := s.broken
	s.mu.Unlock()
	if ctx.Err() != nil {
		return err
	}
	if broken != nil && !errors.Is(err, tcppunch.ErrImpossible) { // else the other side has seen that, too, and left
		return &meetingError{broken}
	}
	limited, cancel := context.WithTimeout(ctx, farewellTime)
	defer cancel()
	s.sealed.Send(limited, nil) //nolint:errcheck // it helps only the other side
	var dial *tcppunch.DialError
	if errors.As(err, &dial) {
		return noPath(dial)
	}
	return err
}
