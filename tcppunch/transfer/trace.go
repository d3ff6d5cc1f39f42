package transfer

import (
	"slices"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/progress"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/wire"
)

// File is one file of an offer, or a folder or link.
type File struct {
	Name string // slash-separated path whose elements passed CheckName; Clean it for a terminal
	Size int64  // bytes; -1 if nobody knows: what comes from a pipe; 0 for a folder or link
	Dir  bool   // a folder
}

// Offer is what a sender wants to send.
type Offer struct {
	ID        [16]byte // random, made once by the Source: the same offer again has the same
	Digest    [32]byte // of the whole list of names, sizes and times
	Entries   int      // files, folders and links
	Files     int      // of these, the files
	Bytes     int64    // of all files together; -1 if nobody knows
	Resumable int64    // on the receiver: bytes that are here already, as far as the first names tell

	first []File
}

// First returns the first names at the top of the offer, at most 8.
func (o Offer) First() []File { return slices.Clone(o.first) }

// Summary is what has been done, also when an error is returned with it.
type Summary struct {
	Files    int           // complete: on the receiver verified and in place, on the sender handed over
	Bytes    int64         // in these files
	Sent     int64         // by Send: bytes of file data that went over the wire in this call
	Received int64         // by Receive: the same
	There    int64         // bytes of the offer that were at the receiver before this call
	Came     int64         // bytes of the offer that have come there in this call, whatever they took on the wire, as far as this side knows
	Heard    bool          // by Receive: the sender knows that all is in place; else another Receive tells it
	Elapsed  time.Duration // since the offer was accepted; zero if it was not
}

// Trace holds hooks that report progress. Each may be nil. They are called one at a
// time, though not always from the same goroutine, and hold the transfer up while they
// run. They are called again, from the start, when a transfer goes on after a break.
type Trace struct {
	// Offer is called once, before Accept on the receiver, and on the sender when
	// it starts to wait for the other side's answer.
	Offer func(Offer)

	// Accepted is called when the offer has been accepted and data starts to flow.
	Accepted func()

	// Resumed is called once, before the first data, if something is there already.
	Resumed func(bytes int64)

	// Checking is called while what is there already is read and compared, at most 20
	// times a second: the bytes of one file that have been, and that will be.
	Checking func(done, total int64)

	// File is called when a file starts.
	File func(File)

	// Progress is called at most 20 times a second, and once at the end, with the bytes
	// that are at the receiver by now, those that were there already among them, and
	// those of the whole offer, -1 if nobody knows.
	Progress func(done, total int64)

	// FileDone is called when a file is complete, with its hash: BLAKE3, the one that
	// b3sum prints, up to a size of 1 MiB, and the hash of the hashes of such blocks
	// above. On the receiver the file is verified and in place; on the sender only
	// Send's return says so. Files that need not be sent are not reported.
	FileDone func(f File, hash [32]byte)

	// Failed is called when a file, folder or link is given up.
	Failed func(FileError)

	// Streams is called when the number of connections has changed.
	Streams func(n int)
}

// hooks are those of a Trace, which may be nil, in the words of package progress.
func (t *Trace) hooks() (h progress.Hooks) {
	if t == nil {
		return h
	}
	h = progress.Hooks{Accepted: t.Accepted, Resumed: t.Resumed, Checking: t.Checking, Progress: t.Progress, Streams: t.Streams}
	if t.Offer != nil {
		h.Offer = func(o *wire.Offer, resumable int64) { t.Offer(newOffer(o, resumable)) }
	}
	if t.File != nil {
		h.File = func(f progress.File) { t.File(File(f)) }
	}
	if t.FileDone != nil {
		h.FileDone = func(f progress.File, hash [32]byte) { t.FileDone(File(f), hash) }
	}
	if t.Failed != nil {
		h.Failed = func(f progress.Failure) { t.Failed(FileError(f)) }
	}
	return h
}

func newOffer(o *wire.Offer, resumable int64) Offer {
	public := Offer{ID: o.ID, Digest: o.Digest, Entries: o.Totals.Entries, Files: o.Totals.Files, Bytes: o.Totals.Bytes, Resumable: resumable}
	for i := range o.First {
		public.first = append(public.first, File(progress.NewFile(&o.First[i])))
	}
	return public
}
