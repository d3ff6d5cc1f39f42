package store

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
)

// MaxOpen is how many files may be open at a time, those not counted that Commit was
// called for.
const MaxOpen = 64

// An Action is what is to happen with an entry.
type Action uint8

// The values of Action.
const (
	Done  Action = iota // it is there; nothing to send
	Send                // nothing of it is there
	Check               // some of it may be there: ask for the hashes of the first Plan.Have blocks
)

// A Plan is the answer of Place.
type Plan struct {
	Action Action
	Have   int64 // blocks that may be there, with Check; never more than the file has
}

// A Policy says what happens with a file whose name is taken by another one.
type Policy uint8

// The values of Policy.
const (
	Keep      Policy = iota // what is there stays, and the new one fails with ErrExists
	Overwrite               // the new one takes its place, but never that of a folder or a device
	Rename                  // the new one becomes "name (2).ext", or the next number that is free
)

// A Conflict is what Options.Ask has to decide.
type Conflict struct {
	Entry   manifest.Entry // what is offered
	Type    fs.FileMode    // the type bits of what is there; 0 is a file
	Size    int64          // of the file that is there, in bytes
	ModTime time.Time      // of what is there
}

// Options are the choices of a run. The zero value and nil both work: nothing that
// exists is replaced.
type Options struct {
	// Exists is what happens with names that are taken, if Ask is nil.
	Exists Policy

	// Ask decides on one name that is taken. It is called by Place, or by Has where
	// only the content tells that there is a conflict, in their caller's goroutine
	// and with their ctx, once for each conflict, and may take its time. An error
	// fails the entry.
	Ask func(ctx context.Context, c Conflict) (Policy, error)

	// Finished tells of each file that Commit was called for, when it is in place and
	// durable but for its name, or has failed; then its partial file is kept. It
	// comes from one goroutine at a time, never from within Commit, but Commit may
	// wait for it: no lock that it takes may be held over Commit.
	Finished func(i int, e manifest.Entry, err error)
}

// value are the options that opt stands for, nil or not.
func (opt *Options) value() Options {
	if opt == nil {
		return Options{}
	}
	return *opt
}

// Store is the folder that files are received in.
type Store struct {
	folders folders
	blocks  sync.Pool // of *[tree.BlockSize]byte
	commits committer
	left    left

	walk  []*folder     // to the folder that the last entry was in; for Place only
	grain time.Duration // of the disk's clock; 0: not known yet

	mu      sync.Mutex
	opt     Options
	placed  map[int]*item
	open    int // of placed
	decided map[string]Policy
	closed  bool
}

// Open opens the existing folder dir. A nil opt means the defaults.
func Open(dir string, opt *Options) (*Store, error) {
	const text = "the folder for received files cannot be opened"
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, &fault.Failure{Text: text, Cause: err}
	}
	h, _, err := newHandle(root)
	if err != nil {
		return nil, &fault.Failure{Text: text, Cause: err}
	}
	s := &Store{placed: make(map[int]*item), decided: make(map[string]Policy)}
	s.folders.top.here, s.folders.top.device = h, h.device
	s.blocks.New = func() any { return new([tree.BlockSize]byte) }
	s.walk = []*folder{&s.folders.top}
	s.commits.start()
	s.opt = opt.value()
	return s, nil
}

// Reset begins another run over a manifest, of the same or another transfer: after it
// has waited for the commits under way, files still open are dropped, and what was
// placed is forgotten. What Ask has decided is remembered. Not to be called together
// with Place.
func (s *Store) Reset(ctx context.Context, opt *Options) error {
	if err := s.commits.wait(ctx); err != nil {
		return err
	}
	s.dropAll()
	s.walkTo("")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opt = opt.value()
	return s.closedErr()
}

// Flush waits until every file that Commit was called for is finished, and makes
// their names durable. Times of folders are set as far as the folders are complete.
// Not to be called together with Place.
func (s *Store) Flush(ctx context.Context) error {
	if err := s.commits.wait(ctx); err != nil {
		return err
	}
	s.folders.refresh(s.walk)
	top, err := s.folders.enter(&s.folders.top)
	if err != nil {
		return s.closedErr()
	}
	defer s.folders.exit(&s.folders.top)
	if err := syncAll(top); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return s.failed(manifest.Entry{}, "the disk cannot be written", err)
	}
	return nil
}

// Close finishes what Commit was called for, drops the other files, which keeps their
// partial files, and closes the folder. After Close errors match net.ErrClosed. Not to
// be called together with Place.
func (s *Store) Close() error {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	s.mu.Unlock()
	if again {
		return nil
	}
	err := s.Flush(context.Background())
	s.dropAll()
	_ = s.commits.wait(context.Background()) // of a Commit that was called together with Close
	s.walkTo("")
	s.folders.close()
	return err
}

// closedErr is for after Close. s.mu is held, or nothing else goes on.
func (s *Store) closedErr() error {
	if s.closed {
		return &fault.Failure{Text: "the folder for received files", Cause: net.ErrClosed}
	}
	return nil
}

// dropAll forgets all that was placed.
func (s *Store) dropAll() {
	s.mu.Lock()
	all := slices.Collect(maps.Keys(s.placed))
	s.mu.Unlock()
	for _, i := range all {
		_ = s.Drop(i)
	}
}

// Free is how many bytes may still be written to the folder, if the system tells.
func (s *Store) Free() (uint64, bool) {
	top, err := s.folders.enter(&s.folders.top)
	if err != nil {
		return 0, false
	}
	defer s.folders.exit(&s.folders.top)
	return freeSpace(top)
}

// failed makes the error for an entry, of a kind that tells what it concerns.
func (s *Store) failed(e manifest.Entry, text string, err error) error {
	if f, ok := err.(*fault.Failure); ok {
		if f.Name == "" {
			f.Name = e.Path
		}
		return f
	}
	f := &fault.Failure{Name: e.Path, Text: text, Cause: err}
	var path *fs.PathError
	var link *os.LinkError
	switch { // the names in these are the hidden ones, or say the same again
	case errors.As(err, &path):
		f.Cause = path.Err
	case errors.As(err, &link):
		f.Cause = link.Err
	}
	switch {
	case isNoSpace(err):
		f.Kind = fault.ErrNoSpace
	case errors.Is(err, errNotFolder):
		f.Kind = fault.ErrExists
	case errors.Is(err, fs.ErrClosed):
		f.Cause = net.ErrClosed
	}
	return f
}
