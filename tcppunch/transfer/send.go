package transfer

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"github.com/zeebo/blake3"
)

// blockSize is how much of a file is read, hashed and sent at a time.
const blockSize = 256 << 10

// SendOptions are the choices of a sender. The zero value and nil both work.
type SendOptions struct {
	// Trace reports progress.
	Trace *Trace

	// IdleTimeout is how long the other side may be silent before it counts as
	// gone. Zero means 30 seconds. It sends heartbeats every 5, so less than 10
	// gives up too early.
	IdleTimeout time.Duration
}

// Send offers the files of src to the peer that runs Receive on the other end of conn,
// waits until it accepts, streams the files, and returns when the peer has said
// that all of them are verified and in place.
//
// The connection must already be authenticated and encrypted. Send neither closes
// it nor leaves a goroutine behind. After an error the connection is of no more
// use. When ctx ends, Send tells the peer, which takes two seconds at most, and
// returns an error that wraps ctx.Err().
func Send(ctx context.Context, conn net.Conn, src *Source, opt *SendOptions) (Summary, error) {
	if opt == nil {
		opt = new(SendOptions)
	}
	s := &sender{
		link:  newLink(ctx, conn, opt.IdleTimeout, true),
		src:   src,
		meter: newMeter(opt.Trace),
	}
	err := s.link.finish(s.run())
	return s.meter.summary(), err
}

type sender struct {
	link  *link
	src   *Source
	files []entry
	meter meter
}

func (s *sender) run() error {
	var total int64
	var err error
	if s.files, total, err = s.src.refresh(); err != nil {
		return err
	}
	theirs, err := s.link.greet(roleSend, nil)
	if err != nil {
		return err
	}
	if slices.Contains(theirs.features, featureWindowsNames) {
		for _, e := range s.files {
			if err := checkNameWindows(e.Name); err != nil {
				return err
			}
		}
	}
	if err := s.offer(total); err != nil {
		return err
	}
	if _, err := s.link.readKind(kindAccept); err != nil {
		return err
	}
	s.meter.accepted()
	if err := s.stream(); err != nil {
		return err
	}
	return s.settle(total)
}

func (s *sender) offer(total int64) error {
	o := offer{files: uint32(len(s.files)), bytes: uint64(total)}
	if err := s.link.write(kindOffer, o.append(nil)); err != nil {
		return err
	}
	s.link.expect(kindAccept)
	if err := pages(s.files, func(page []byte) error { return s.link.write(kindPage, page) }); err != nil {
		return err
	}
	if err := s.link.flush(); err != nil {
		return err
	}
	s.meter.offer(s.files, total)
	return nil
}

// settle waits for the receiver's last word and acknowledges it.
func (s *sender) settle(total int64) error {
	s.link.expect(kindResult)
	if err := s.link.write(kindEnd, nil); err != nil {
		return err
	}
	if err := s.link.flush(); err != nil {
		return err
	}
	body, err := s.link.readKind(kindResult)
	if err != nil {
		return err
	}
	got, err := parseOffer(kindResult, body)
	if err != nil {
		return err
	}
	if int(got.files) != len(s.files) || got.bytes != uint64(total) {
		return protocolError("the other side counts other files than were sent")
	}
	s.meter.finish()
	_ = s.link.writeLast(kindBye, nil) // all is in place, whether it hears this or not
	return nil
}

// block is one step of the stream: a file may begin, data may follow, it may end.
type block struct {
	index int
	first bool
	data  []byte
	hash  *[32]byte // after the last data of a file
}

// stream sends the files. One goroutine reads and hashes ahead, this one sends.
func (s *sender) stream() error {
	out := make(chan block, blocks)
	s.link.wg.Go(func() {
		defer close(out)
		for i := range s.files {
			if err := s.readFile(i, out); err != nil {
				s.link.stop(err)
				return
			}
		}
	})
	for b := range out {
		if err := s.sendBlock(b); err != nil {
			return err
		}
		s.link.recycle(b.data)
		if len(out) == 0 {
			if err := s.link.flush(); err != nil {
				return err
			}
		}
	}
	if s.link.ctx.Err() != nil {
		return context.Cause(s.link.ctx)
	}
	return nil
}

func (s *sender) sendBlock(b block) error {
	f := s.files[b.index].File
	if b.first {
		s.meter.file(f)
		if err := s.link.write(kindFile, binary.BigEndian.AppendUint32(nil, uint32(b.index))); err != nil {
			return err
		}
	}
	if len(b.data) > 0 {
		if err := s.link.write(kindData, b.data); err != nil {
			return err
		}
		s.meter.add(len(b.data))
	}
	if b.hash != nil {
		if err := s.link.write(kindFileEnd, b.hash[:]); err != nil {
			return err
		}
		s.meter.fileDone(f, *b.hash)
	}
	return nil
}

// readFile reads one file into blocks. It sends exactly the size that was offered,
// and fails if the file has another one by now, or has been written to.
func (s *sender) readFile(i int, out chan<- block) error {
	want := s.files[i]
	changed := func(text string, err error) error {
		return &failure{kind: ErrSourceChanged, name: want.Name, text: text, cause: err}
	}
	f, e, err := openSource(s.src.paths[i])
	if errors.Is(err, os.ErrNotExist) {
		return changed("it has vanished", err)
	} else if err != nil {
		return err
	}
	defer f.Close()
	if e.Size != want.Size || !e.modTime.Equal(want.modTime) {
		return changed("it was written to", nil)
	}
	h := blake3.New()
	for left, first := want.Size, true; left > 0 || first; first = false {
		buf, ok := s.link.buffer(kindData, int(min(left, blockSize)))
		if !ok {
			return context.Cause(s.link.ctx)
		}
		n, err := io.ReadFull(f, buf)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return changed("it has become shorter", nil)
		} else if err != nil {
			return &failure{name: want.Name, text: "cannot be read", cause: err}
		}
		_, _ = h.Write(buf) // never fails
		left -= int64(n)
		b := block{index: i, first: first, data: buf}
		if left == 0 {
			if info, err := f.Stat(); err != nil || info.Size() != want.Size || !info.ModTime().Equal(want.modTime) {
				return changed("it was written to", err)
			}
			b.hash = new([32]byte)
			h.Sum(b.hash[:0])
		}
		select {
		case out <- b:
		case <-s.link.ctx.Done():
			return context.Cause(s.link.ctx)
		}
	}
	return nil
}
