package natlab

import (
	"context"
	"errors"
	"os"
)

// TB is the part of testing.TB that a lab needs.
type TB interface {
	Helper()
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// New brings a topology up for a test and takes it down when the test ends. Where labs cannot run the test is skipped,
// with the reason; when the environment has CI=true it fails instead, so that nothing is skipped unseen.
func New(t TB, top Topology) *Lab {
	t.Helper()
	return NewWith(t, top, nil)
}

// NewWith is New with options.
func NewWith(t TB, top Topology, o *Options) *Lab {
	t.Helper()
	l, err := Start(context.Background(), top, o)
	switch {
	case err == nil:
	case errors.Is(err, ErrUnsupported) && os.Getenv("CI") != "true":
		t.Skipf("natlab: %v", err)
	default:
		t.Fatalf("natlab: %v", err)
	}
	if err != nil {
		return nil
	}
	l.tb = t
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("natlab: closing the lab: %v", err)
		}
	})
	return l
}
