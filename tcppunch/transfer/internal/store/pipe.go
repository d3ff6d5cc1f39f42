package store

import (
	"context"
	"io"
	"net"
	"sync"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
)

// Pipe takes one file or stream and writes it to a writer, with the methods of Store.
// Blocks must come strictly in order; anything else is a violation of the protocol. It
// answers Check, in a later run, for what it has written itself, and keeps 32 bytes for
// each block for it.
type Pipe struct {
	w      io.Writer
	public File

	writing sync.Mutex // over mu: a write waits for whoever reads, and nothing else may

	mu      sync.Mutex
	opt     Options
	i       int
	e       manifest.Entry
	state   pipeState
	path    string // of what was written, as it cannot be taken back
	written int64
	hashes  []tree.Hash
	err     error // what ended the writing for good
	closed  bool
	calls   sync.WaitGroup // of Finished
}

type pipeState uint8

const (
	pipeFree pipeState = iota
	pipePlaced
	pipeDone
)

// NewPipe makes a Pipe to w, usually standard output. A nil opt means the defaults.
func NewPipe(w io.Writer, opt *Options) *Pipe {
	p := &Pipe{w: w}
	p.public.to = (*piped)(p)
	p.opt = opt.value()
	return p
}

// Reset begins another run over the manifest.
func (p *Pipe) Reset(ctx context.Context, opt *Options) error {
	if err := p.Flush(ctx); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opt = opt.value()
	if p.state == pipePlaced {
		p.state = pipeFree
	}
	return p.closedErr()
}

// Flush waits until Finished was called if Commit was.
func (p *Pipe) Flush(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		p.calls.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close does not close the writer.
func (p *Pipe) Close() error {
	p.calls.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return nil
}

// closedErr is for after Close. mu is held.
func (p *Pipe) closedErr() error {
	if p.closed {
		return pipeFailed(nil, "", net.ErrClosed)
	}
	return nil
}

// Free is unknown.
func (p *Pipe) Free() (uint64, bool) { return 0, false }

// Resumable is what was written of the entry.
func (p *Pipe) Resumable(e manifest.Entry) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.Path != p.path {
		return 0
	}
	return p.written
}

// Place takes one File or Stream; all else fails with ErrUnsupported.
func (p *Pipe) Place(_ context.Context, i int, e manifest.Entry) (Plan, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.closedErr(); err != nil {
		return Plan{}, err
	}
	switch {
	case e.Type != manifest.File && e.Type != manifest.Stream, p.state == pipePlaced, p.path != "" && e.Path != p.path:
		return Plan{}, &fault.Failure{Kind: fault.ErrUnsupported, Name: e.Path, Text: "standard output takes one file"}
	case e.Type == manifest.File && p.written > e.Size:
		return Plan{}, pipeFailed(fault.ErrSourceChanged, "what was written already is no longer what is sent", nil)
	case p.state == pipeDone, e.Type == manifest.File && e.Size == 0:
		return Plan{}, nil
	}
	p.i, p.e, p.path, p.state = i, e, e.Path, pipePlaced
	if len(p.hashes) > 0 {
		return Plan{Action: Check, Have: int64(len(p.hashes))}, nil
	}
	return Plan{Action: Send}, nil
}

// File returns the one file.
func (p *Pipe) File(i int) (*File, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.closedErr(); err != nil {
		return nil, err
	}
	if p.state != pipePlaced || i != p.i {
		return nil, fault.Protocol("a file that was not asked for")
	}
	return &p.public, nil
}

// Drop forgets that i was placed. What was written stays written.
func (p *Pipe) Drop(i int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == pipePlaced && i == p.i {
		p.state = pipeFree
	}
	return nil
}

func pipeFailed(kind error, text string, cause error) error {
	if text != "" {
		text = ": " + text
	}
	return &fault.Failure{Kind: kind, Text: "standard output" + text, Cause: cause}
}

// piped is the one file of a Pipe.
type piped Pipe

// next checks that block n may come, of so many bytes. mu is held.
func (p *piped) next(n int64, size int) error {
	switch {
	case p.closed:
		return pipeFailed(nil, "", net.ErrClosed)
	case p.err != nil:
		return p.err
	case p.state != pipePlaced:
		return fault.Protocol("a block of a file that is complete")
	case n != int64(len(p.hashes)):
		return pipeFailed(fault.ErrProtocol, "blocks out of order", nil)
	case size <= 0 || size > tree.BlockSize || p.written%tree.BlockSize != 0,
		p.e.Type == manifest.File && (n >= tree.Blocks(p.e.Size) || int64(size) != tree.SizeOf(p.e.Size, n)):
		return pipeFailed(fault.ErrProtocol, "a block that does not fit the file", nil)
	}
	return nil
}

func (p *piped) has(_ context.Context, n int64, h tree.Hash) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n < 0 || n >= int64(len(p.hashes)) {
		return false, nil
	}
	if p.hashes[n] != h {
		return false, pipeFailed(fault.ErrSourceChanged, "what was written already is no longer what is sent", nil)
	}
	return true, nil
}

func (p *piped) write(n int64, data []byte) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	p.mu.Lock()
	err := p.next(n, len(data))
	p.mu.Unlock()
	if err != nil {
		return err
	}
	got, err := p.w.Write(data)
	if err == nil && got < len(data) {
		err = io.ErrShortWrite
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.err = pipeFailed(nil, "cannot be written", err)
		return p.err
	}
	p.written += int64(len(data))
	p.hashes = append(p.hashes, tree.Block(data))
	return nil
}

func (p *piped) zeros(n int64, size int) error {
	if size <= 0 || size > tree.BlockSize {
		size = 0 // which does not fit either
	}
	return p.write(n, make([]byte, size))
}

// commit calls Finished from a goroutine, as Store does.
func (p *piped) commit(size int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != pipePlaced {
		return
	}
	p.state = pipeDone
	err := p.err
	if err == nil && size != p.written {
		err = pipeFailed(fault.ErrProtocol, "the file has another size", nil)
	}
	if i, e, finished := p.i, p.e, p.opt.Finished; finished != nil {
		p.calls.Go(func() { finished(i, e, err) })
	}
}

func (p *piped) pace(context.Context) {} // who reads the pipe sees to that

func (p *piped) drop() error { return (*Pipe)(p).Drop(p.i) }
