package transfer

import (
	"context"
	"io"
	"slices"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/sender"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/source"
)

// SourceOptions are the choices of Files. The zero value and nil both work.
type SourceOptions struct {
	// Exclude has patterns of what is not sent: as in path.Match, against the last
	// element of a path, or against the whole path from the argument on if there is a
	// slash in the pattern. A slash at the end means folders only. What is in an
	// excluded folder is excluded.
	Exclude []string
	// Follow sends what symbolic links point to. Default: links within the folder that
	// is sent stay links, others are left out and reported.
	Follow bool
}

// Source is what a sender offers. It may be sent again, over another connection, to go
// on after a break: it keeps what has been hashed of the files under way. It must not be
// sent twice at the same time.
type Source struct{ s *sender.Source }

// Files looks at all of the paths, files and folders and what is in them, so that a
// mistake shows before anybody waits for the other side. A path that is missing, cannot
// be read, or has a name that CheckName refuses is an error. What cannot be sent below a
// folder is left out, and listed by Refused.
//
// Nothing is kept open. Files that change after this are reported as ErrSourceChanged,
// one by one, when it is their turn; but Send looks at everything again if nothing was
// offered yet and Files is more than 10 seconds ago.
func Files(ctx context.Context, paths []string, opt *SourceOptions) (*Source, error) {
	if opt == nil {
		opt = new(SourceOptions)
	}
	s, err := sender.Files(ctx, paths, source.Options{Exclude: slices.Clone(opt.Exclude), Follow: opt.Follow})
	if err != nil {
		return nil, err
	}
	return &Source{s}, nil
}

// Stream offers what r yields until io.EOF, of unknown length, under a name, which
// CheckName must let pass: else Send fails. The last 16 MiB that were not acknowledged
// are kept, so that a transfer can go on after a break.
//
// Data leaves in blocks of 1 MiB: what r yields slowly arrives late. r is read by a
// goroutine that starts with the first Send and goes on between one Send and the next,
// until io.EOF, an error, or Close.
func Stream(r io.Reader, name string) *Source { return &Source{sender.Reader(r, name)} }

// Close ends the use of a Stream, and closes its reader if that is an io.Closer. Files
// have nothing to close.
func (s *Source) Close() error {
	if s.s.Stream != nil {
		return s.s.Stream.Close()
	}
	return nil
}

// Offer is what Send would offer now: nothing, if it would fail.
func (s *Source) Offer() Offer { return newOffer(s.s.Offer(), 0) }

// Refused lists what was left out, with the reasons, the first 1000. Send counts all of
// them among the failures.
func (s *Source) Refused() []FileError {
	refused, _ := s.s.Refused()
	var list []FileError
	for _, f := range refused {
		list = append(list, FileError{Name: f.Name, Err: f})
	}
	return list
}
