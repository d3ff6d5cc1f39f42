package receiver

import (
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/wire"
)

// checkLoop answers which blocks are there.
func (r *receiver) checkLoop() {
	for {
		select {
		case c := <-r.checks:
			if err := r.check(&c); err != nil {
				r.sess.Stop(err)
				return
			}
		case <-r.sess.Ctx.Done():
			return
		}
	}
}

// check answers one check. It is answered even if the file was given up: the sender
// counts on that.
func (r *receiver) check(c *wire.CheckBody) error {
	v := wire.Verdict{Index: c.Index, First: c.First, Count: len(c.Hashes), Bits: make([]byte, (len(c.Hashes)+7)/8)}
	r.mu.Lock()
	f := r.files[c.Index]
	r.mu.Unlock()
	var after func()
	if f != nil {
		there, partial, err := r.look(f, c, &v)
		if err != nil {
			r.fail(c.Index, err)
			clear(v.Bits)
		} else {
			r.mu.Lock()
			after, err = r.found(f, c, &v, partial)
			r.mu.Unlock()
			if err != nil {
				return err
			}
			r.meter.There(there)
		}
	}
	r.sess.Main.Send(wire.VerdictKind, v.Append)
	if after != nil {
		after()
	}
	return nil
}

// look fills in a verdict, and reports whether what is there is in the partial file.
func (r *receiver) look(f *inFile, c *wire.CheckBody, v *wire.Verdict) (bytes int64, partial bool, err error) {
	sf, err := r.dst.Sink.File(int(f.index))
	if err != nil {
		return 0, false, err
	}
	for i, h := range c.Hashes {
		if err := r.sess.Cause(); err != nil {
			return bytes, false, err
		}
		n := c.First + int64(i)
		trusted := sf.Trusted() // without the lock, as it may have to wait for the disk
		r.mu.Lock()
		there := trusted && f.kept.has(n, h)
		r.mu.Unlock()
		if !there {
			if there, err = sf.Has(r.sess.Ctx, n, h); err != nil {
				return bytes, false, err
			}
			sf.Pace(r.sess.Ctx)
			end := f.e.Size
			if end < 0 {
				end = f.have * tree.BlockSize
			}
			r.meter.Checking(min((n+1)*tree.BlockSize, end), min(f.have*tree.BlockSize, end))
		}
		if f.e.Type == manifest.Stream && !there {
			f.gap = true
		}
		if there && !f.gap {
			v.Bits[i/8] |= 1 << (i % 8)
			bytes += wire.SizeOf(&f.e, n)
		}
	}
	return bytes, sf.Partial(), nil
}

// found notes the blocks that are there. The lock is held.
func (r *receiver) found(f *inFile, c *wire.CheckBody, v *wire.Verdict, partial bool) (after func(), err error) {
	f.answered = c.First + int64(v.Count)
	if f.over {
		clear(v.Bits)
		return nil, nil
	}
	for i, h := range c.Hashes {
		if !v.Has(i) {
			continue
		}
		n := c.First + int64(i)
		if err := f.know(n, h); err != nil {
			return nil, err
		}
		r.inPlace(f, n, h, partial)
	}
	return r.complete(f)
}
