package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/tcppunch/tcppunch/cmd/tcppunch/internal/plot"
	"github.com/tcppunch/tcppunch/tcppunch/bench"
)

// A picture is the file of --plot. It is made before anything is measured, so that a
// folder that is not there is noticed in time, and has its name only when it is whole.
type picture struct {
	name string
	file *os.File
}

// newPicture returns nil when no name was given.
func newPicture(name string) (*picture, error) {
	if name == "" {
		return nil, nil
	}
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return nil, usage(fmt.Errorf("--plot: %s is a folder: give a file", name))
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".tcppunch-*.svg")
	if err != nil {
		return nil, fmt.Errorf("--plot: %w", err)
	}
	return &picture{name: name, file: f}, nil
}

func (p *picture) discard() {
	if p != nil {
		p.file.Close()
		os.Remove(p.file.Name())
	}
}

// draw writes the picture and gives it its name.
func (p *picture) draw(r *bench.Report, out *output) error {
	if p == nil {
		return nil
	}
	err := plot.Report(p.file, r)
	if err == nil {
		err = p.file.Chmod(0o644) // as of any other file that a person makes
	}
	if cerr := p.file.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(p.file.Name(), p.name)
	}
	if err != nil {
		return fmt.Errorf("--plot: %w", err)
	}
	out.say("Picture: %s", p.name)
	return nil
}
