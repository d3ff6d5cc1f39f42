package pair

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestGuesses(t *testing.T) {
	wrong := fmt.Errorf("pairing in the room: %w", ErrWrongWords)
	silent := fmt.Errorf("pairing in the room: %w: %w", ErrUnproven, context.DeadlineExceeded)
	steps := []struct {
		err    error
		pause  time.Duration
		ended  bool
		failed int
	}{
		{nil, 0, false, 0},
		{wrong, 1 * time.Second, false, 1},
		{ErrProtocol, 0, false, 1},
		{context.DeadlineExceeded, 0, false, 1},
		{silent, 2 * time.Second, false, 2},
		{wrong, 4 * time.Second, false, 3},
		{ErrVersion, 0, false, 3},
		{wrong, 8 * time.Second, false, 4},
		{ErrTampered, 0, false, 4},
		{silent, 0, true, 5},
		{wrong, 0, true, 6},
	}
	var g Guesses
	for i, s := range steps {
		pause, ended := g.Count(s.err)
		if pause != s.pause || errors.Is(ended, ErrGuessed) != s.ended || g.Failed() != s.failed {
			t.Errorf("step %d, %v: pause %v, %v, %d failed; want %v, %v, %d", i, s.err, pause, ended, g.Failed(), s.pause, s.ended, s.failed)
		}
	}
}
