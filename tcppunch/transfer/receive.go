package transfer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"runtime"
	"time"
)

// byeWait is how long a receiver that has everything waits for the sender's last
// word. It only needs to outlast a round trip; nothing depends on the word itself.
const byeWait = 5 * time.Second

// ReceiveOptions are the choices of a receiver. The zero value and nil both work:
// everything is accepted, and nothing that exists is replaced.
type ReceiveOptions struct {
	// Overwrite lets files of the same name be replaced, those that stood there
	// when the offer came. Directories and devices are never replaced.
	Overwrite bool

	// Accept decides on the offer, before any file is sent; nil accepts. An error
	// refuses: Receive returns it, wrapped together with ErrRefused, and the sender
	// is told its text. It may take its time, the connection is kept up meanwhile.
	// ctx ends when the sender goes away, and Receive waits for Accept to return.
	Accept func(ctx context.Context, o Offer) error

	// Trace reports progress.
	Trace *Trace

	// IdleTimeout is how long the other side may be silent before it counts as
	// gone. Zero means 30 seconds. It sends heartbeats every 5, so less than 10
	// gives up too early.
	IdleTimeout time.Duration
}

// Receive takes the files that the peer offers with Send on the other end of conn,
// into the existing directory dir. It returns when all are verified and in place.
//
// A file shows under its name only when it is complete, verified and on the disk;
// until then it has a hidden name ending in ".tcppunch-part", which is removed if
// the transfer fails. Files that were complete by then stay.
//
// The connection must already be authenticated and encrypted. Receive neither
// closes it nor leaves a goroutine behind. After an error the connection is of no
// more use. When ctx ends, Receive tells the peer, which takes two seconds at
// most, and returns an error that wraps ctx.Err().
func Receive(ctx context.Context, conn net.Conn, dir string, opt *ReceiveOptions) (Summary, error) {
	if opt == nil {
		opt = new(ReceiveOptions)
	}
	r := &receiver{
		link:  newLink(ctx, conn, opt.IdleTimeout, false),
		opt:   opt,
		meter: newMeter(opt.Trace),
	}
	err := r.link.finish(r.run(dir))
	return r.meter.summary(), err
}

type receiver struct {
	link     *link
	opt      *ReceiveOptions
	root     *os.Root
	manifest *manifest
	replace  map[int]bool // files that stood there when the offer came
	meter    meter
}

func (r *receiver) run(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return &failure{text: "the folder for received files cannot be opened", cause: err}
	}
	defer root.Close()
	r.root = root
	var features []string
	if runtime.GOOS == "windows" {
		features = append(features, featureWindowsNames)
	}
	if _, err := r.link.greet(roleReceive, features); err != nil {
		return err
	}
	if err := r.readManifest(); err != nil {
		return err
	}
	if err := r.accept(); err != nil {
		return err
	}
	for i := range r.manifest.files {
		if err := r.receiveFile(i); err != nil {
			return err
		}
	}
	return r.settle()
}

func (r *receiver) readManifest() error {
	body, err := r.link.readKind(kindOffer)
	if err != nil {
		return err
	}
	announced, err := parseOffer(kindOffer, body)
	if err != nil {
		return err
	}
	r.manifest = newManifest(announced)
	for !r.manifest.complete() {
		page, err := r.link.readKind(kindPage)
		if err != nil {
			return err
		}
		if err := r.manifest.add(page); err != nil {
			return err
		}
	}
	return nil
}

// accept looks at what is in the way, asks, and answers the sender.
func (r *receiver) accept() error {
	r.replace = make(map[int]bool)
	for i, e := range r.manifest.files {
		if err := r.vet(i, e.Name); err != nil {
			return err
		}
	}
	if free, ok := freeSpace(r.root); ok && uint64(r.manifest.bytes) > free {
		return &failure{kind: ErrNoSpace, text: fmt.Sprintf("%d bytes offered, %d free", r.manifest.bytes, free)}
	}
	o := r.meter.offer(r.manifest.files, r.manifest.bytes)
	if r.opt.Accept != nil {
		err := r.opt.Accept(r.link.ctx, o)
		if r.link.ctx.Err() != nil {
			return context.Cause(r.link.ctx)
		}
		if err != nil {
			return &refusal{err}
		}
	}
	if err := r.link.write(kindAccept, nil); err != nil {
		return err
	}
	if err := r.link.flush(); err != nil {
		return err
	}
	r.meter.accepted()
	return nil
}

// vet refuses an offered file that is already there.
func (r *receiver) vet(i int, name string) error {
	if runtime.GOOS == "windows" {
		if err := checkNameWindows(name); err != nil {
			return err
		}
	}
	info, err := r.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return &failure{name: name, text: "cannot be looked up", cause: err}
	case !r.opt.Overwrite:
		return &failure{kind: ErrExists, name: name}
	case !info.Mode().IsRegular() && info.Mode().Type() != fs.ModeSymlink:
		return &failure{kind: ErrExists, name: name, text: "and it is not a file"}
	}
	r.replace[i] = true
	return nil
}

func (r *receiver) receiveFile(i int) error {
	e := r.manifest.files[i]
	body, err := r.link.readKind(kindFile)
	if err != nil {
		return err
	}
	d := decoder{b: body}
	if index := d.u32(); d.bad || int(index) != i {
		return protocolError("files out of order")
	}
	r.meter.file(e.File)
	p, err := createPartial(r.root, e)
	if err != nil {
		return err
	}
	defer p.discard()
	if err := r.receiveData(p); err != nil {
		return err
	}
	hash, err := r.link.readKind(kindFileEnd)
	if err != nil {
		return err
	}
	if len(hash) < len(p.sum()) {
		return protocolError("file-end is cut short")
	}
	if got := p.sum(); [32]byte(hash[:32]) != got {
		return &failure{kind: ErrHash, name: e.Name}
	}
	if err := p.commit(r.replace[i]); err != nil {
		return err
	}
	r.meter.fileDone(e.File, p.sum())
	return nil
}

// receiveData takes as many bytes as the manifest says that the file has.
func (r *receiver) receiveData(p *partial) error {
	for left := p.entry.Size; left > 0; {
		data, err := r.link.readKind(kindData)
		if err != nil {
			return err
		}
		if len(data) == 0 || int64(len(data)) > left {
			return protocolError("data does not fit the size of the file")
		}
		if err := p.write(data); err != nil {
			return err
		}
		left -= int64(len(data))
		r.meter.add(len(data))
		r.link.recycle(data)
	}
	return nil
}

// settle sends the last word. From here on the transfer has succeeded: all files
// are in place, even if the sender should never hear of it.
func (r *receiver) settle() error {
	if _, err := r.link.readKind(kindEnd); err != nil {
		return err
	}
	syncDir(r.root)
	r.meter.finish()
	result := offer{files: uint32(len(r.manifest.files)), bytes: uint64(r.manifest.bytes)}
	if r.link.writeLast(kindResult, result.append(nil)) != nil {
		return nil
	}
	late := time.AfterFunc(byeWait, func() { r.link.stop(errDone) })
	defer late.Stop()
	_, _ = r.link.read()
	return nil
}
