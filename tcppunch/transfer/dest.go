package transfer

import (
	"io"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/receiver"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/store"
)

// Policy says what becomes of a file for whose name there is another one already. One
// with the same content is never a conflict.
type Policy uint8

// The policies.
const (
	Keep      Policy = iota // the file is not received: ErrExists
	Overwrite               // it replaces the one that is there; folders are never replaced
	Rename                  // it is received under another name: "name (2).ext"
)

// store is the same choice in the words of the store.
func (p Policy) store() store.Policy {
	switch p {
	case Overwrite:
		return store.Overwrite
	case Rename:
		return store.Rename
	}
	return store.Keep
}

// Conflict is a file that is offered, and another one of that name that is here.
type Conflict struct {
	Name string    // Clean it for a terminal
	Size int64     // bytes, of what is offered
	Time time.Time // of what is offered
	Here int64     // bytes, of what is here
	Then time.Time // of what is here
}

func newConflict(c *store.Conflict) Conflict {
	return Conflict{Name: c.Entry.Path, Size: c.Entry.Size, Time: c.Entry.ModTime, Here: c.Size, Then: c.ModTime}
}

// Dest is where a receiver puts things. It may be used again, over another connection,
// to go on after a break: it keeps what has been verified of the files under way. Only
// one Receive at a time may use it.
type Dest struct{ d *receiver.Dest }

// Into receives into the folder dir, which must exist. Nothing outside of it is ever
// touched.
func Into(dir string) (*Dest, error) {
	s, err := store.Open(dir, nil)
	if err != nil {
		return nil, err
	}
	return &Dest{receiver.NewDest(s, false)}, nil
}

// IntoWriter writes the one file or stream of an offer to w, in order, and verifies each
// block before. An offer of anything else is refused. Receive does not return while a
// call of w.Write is under way.
func IntoWriter(w io.Writer) *Dest { return &Dest{receiver.NewDest(store.NewPipe(w, nil), true)} }

// Close ends the use of d. Partial files are kept.
func (d *Dest) Close() error { return d.d.Sink.Close() }
