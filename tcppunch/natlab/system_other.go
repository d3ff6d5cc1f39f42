//go:build !linux

package natlab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
)

// errSystem is the reason on every system but Linux.
var errSystem = errors.New("network namespaces are a thing of Linux, and this is " + runtime.GOOS)

// Support reports why labs cannot run here, as an error that wraps ErrUnsupported, or nil.
func Support() error { return fmt.Errorf("%w: %w", ErrUnsupported, errSystem) }

type system struct{}

func (s *system) start(context.Context, *Lab, []*box, Device) error { return Support() }

func (s *system) killAll() {}

func (s *system) stop(*Lab) error { return nil }

type namespace struct{}

func (ns *namespace) call(func() error) error { return Support() }

func (ns *namespace) do(func() error) error { return Support() }

func (ns *namespace) path() string { return "" }

func (b *box) stats(*Lab) Stats { return Stats{} }

func (b *box) forget() error { return Support() }

func prepare(*exec.Cmd) {}

func signalGroup(*os.Process, os.Signal) error { return Support() }
