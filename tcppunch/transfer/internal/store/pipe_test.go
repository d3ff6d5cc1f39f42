package store

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
)

func TestPipe(t *testing.T) {
	b := content(2*blk+7, 1)
	clear(b[:blk])
	for _, o := range []offered{stream("f", b), file("f", b)} {
		var out bytes.Buffer
		r := new(results)
		p := NewPipe(&out, &Options{Finished: r.finished})
		for n := range int64(2) { // cut off, and on again
			plan, err := p.Place(t.Context(), 3, o.Entry)
			if err != nil || plan.Have != n || (plan.Action == Check) != (n > 0) {
				t.Fatalf("%+v %v", plan, err)
			}
			f, err := p.File(3)
			must(t, err)
			for k := range n {
				if there, err := f.Has(t.Context(), k, tree.Block(block(b, k))); !there || err != nil {
					t.Errorf("block %d: %v %v", k, there, err)
				}
			}
			must(t, f.WriteBlock(n, block(b, n)))
			must(t, f.Drop())
			must(t, p.Reset(t.Context(), &Options{Finished: r.finished}))
		}
		if got := p.Resumable(o.Entry); got != 2*blk {
			t.Errorf("resumable: %d", got)
		}
		sent, errs := sendAll(t, p, r, o)
		wantNone(t, errs)
		if _, ok := r.get(0); sent != 1 || !ok || !bytes.Equal(out.Bytes(), b) {
			t.Errorf("sent %d, finished %v, %d bytes", sent, ok, out.Len())
		}
		must(t, p.Reset(t.Context(), nil))
		if plan, err := p.Place(t.Context(), 3, o.Entry); plan.Action != Done || err != nil {
			t.Errorf("again: %+v %v", plan, err)
		}
		must(t, p.Close())
		if _, err := p.Place(t.Context(), 3, o.Entry); !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
	}
}

func TestPipeRefuses(t *testing.T) {
	b := content(blk+7, 1)
	var out bytes.Buffer
	r := new(results)
	p := NewPipe(&out, &Options{Finished: r.finished})
	for _, o := range []offered{dir("d"), link("l", "f")} {
		_, err := p.Place(t.Context(), 0, o.Entry)
		wantKind(t, err, fault.ErrUnsupported, "standard output takes one file")
	}
	_, err := p.File(0)
	wantKind(t, err, fault.ErrProtocol, "")
	_, err = p.Place(t.Context(), 1, file("f", b).Entry)
	must(t, err)
	_, err = p.Place(t.Context(), 2, file("g", b).Entry)
	wantKind(t, err, fault.ErrUnsupported, "g")
	f, err := p.File(1)
	must(t, err)
	for _, err := range []error{f.WriteBlock(1, b[blk:]), f.WriteBlock(0, b[:5]), f.WriteBlock(-1, b[:blk]), f.WriteZeros(0, -1), f.WriteZeros(0, blk+1)} {
		wantKind(t, err, fault.ErrProtocol, "")
	}
	must(t, f.WriteBlock(0, b[:blk]))
	wantKind(t, f.WriteBlock(0, b[:blk]), fault.ErrProtocol, "out of order")
	_, err = f.Has(t.Context(), 0, tree.Hash{1})
	wantKind(t, err, fault.ErrSourceChanged, "standard output")
	if there, err := f.Has(t.Context(), 1, tree.Block(b[blk:])); there || err != nil {
		t.Errorf("block 1: %v %v", there, err)
	}
	f.Commit(int64(len(b)))
	must(t, p.Flush(t.Context()))
	err, _ = r.get(1)
	wantKind(t, err, fault.ErrProtocol, "another size")
	wantKind(t, f.WriteBlock(1, b[blk:]), fault.ErrProtocol, "complete")
	if out.Len() != blk {
		t.Errorf("%d bytes were written", out.Len())
	}
}

type shortWriter struct{}

func (shortWriter) Write(b []byte) (int, error) { return len(b) - 1, nil }

func TestPipeBreaks(t *testing.T) {
	r, w, err := os.Pipe()
	must(t, err)
	must(t, r.Close())
	defer w.Close()
	for _, c := range []struct {
		w    io.Writer
		kind error
	}{{w, errPipe}, {shortWriter{}, io.ErrShortWrite}} {
		p := NewPipe(c.w, nil)
		_, err := p.Place(t.Context(), 0, stream("f", nil).Entry)
		must(t, err)
		f, err := p.File(0)
		must(t, err)
		for range 2 { // it stays broken
			wantKind(t, f.WriteBlock(0, []byte("x")), c.kind, "standard output: cannot be written")
		}
		must(t, p.Close())
	}
}

// A write that waits for the reader keeps nobody from closing.
func TestPipeStuck(t *testing.T) {
	r, w := io.Pipe()
	p := NewPipe(w, nil)
	o := stream("f", nil)
	_, err := p.Place(t.Context(), 0, o.Entry)
	must(t, err)
	f, err := p.File(0)
	must(t, err)
	done := make(chan error)
	go func() { done <- f.WriteBlock(0, []byte("x")) }()
	_, _ = r.Read(nil) // it has begun
	if got := p.Resumable(o.Entry); got != 0 {
		t.Errorf("resumable: %d", got)
	}
	must(t, p.Close())
	must(t, r.Close())
	wantKind(t, <-done, io.ErrClosedPipe, "standard output")
}
