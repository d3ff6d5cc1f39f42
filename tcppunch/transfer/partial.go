package transfer

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/zeebo/blake3"
)

// partial is a file that is being received, under a hidden name.
type partial struct {
	root  *os.Root
	entry entry
	name  string
	file  *os.File
	hash  *blake3.Hasher
	done  bool // it has its final name, or is gone
}

// createPartial opens a new file and never one that exists, nor through a link.
// Its permissions are those of the source, less what the umask takes away, and
// less set-user-ID and the like and writing for others; its owner may always read
// and write. The kernel applies the umask, so nobody needs to ask for it.
func createPartial(root *os.Root, e entry) (*partial, error) {
	p := &partial{root: root, entry: e, hash: blake3.New()}
	p.name = partialName(e.Name, rand.Text()[:10])
	mode := fs.FileMode(e.mode)&0o755 | 0o600
	var err error
	if p.file, err = root.OpenFile(p.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode); err != nil {
		return nil, p.failed("cannot be created", err)
	}
	return p, nil
}

func (p *partial) failed(text string, err error) error {
	f := &failure{name: p.entry.Name, text: text, cause: err}
	if isNoSpace(err) {
		f.kind = ErrNoSpace
	}
	return f
}

// write appends a block and hashes it meanwhile.
func (p *partial) write(b []byte) error {
	var hashed sync.WaitGroup
	if len(b) < blockSize/4 {
		_, _ = p.hash.Write(b) // never fails
	} else {
		hashed.Go(func() { _, _ = p.hash.Write(b) })
	}
	_, err := p.file.Write(b)
	hashed.Wait()
	if err != nil {
		return p.failed("cannot be written", err)
	}
	return nil
}

func (p *partial) sum() (sum [32]byte) {
	p.hash.Sum(sum[:0])
	return sum
}

// commit makes the file durable and gives it its name.
func (p *partial) commit(replace bool) error {
	err := p.file.Sync()
	if err2 := p.file.Close(); err == nil {
		err = err2
	}
	p.file = nil
	if err != nil {
		return p.failed("cannot be written", err)
	}
	if t := p.entry.modTime; saneTime(t) {
		_ = p.root.Chtimes(p.name, time.Now(), t) // some file systems cannot: no reason to fail
	}
	if replace {
		err = p.root.Rename(p.name, p.entry.Name)
	} else {
		err = renameNew(p.root, p.name, p.entry.Name)
	}
	if errors.Is(err, fs.ErrExist) {
		return &failure{kind: ErrExists, name: p.entry.Name, text: "it appeared meanwhile"}
	} else if err != nil {
		return p.failed("cannot be named", err)
	}
	p.done = true
	return nil
}

// discard removes what is left of a file that did not arrive.
func (p *partial) discard() {
	if p.file != nil {
		p.file.Close()
		p.file = nil
	}
	if !p.done {
		_ = p.root.Remove(p.name)
		p.done = true
	}
}

// saneTime keeps out times that confuse other programs: before 1970, or in a
// future that clocks gone wrong do not explain.
func saneTime(t time.Time) bool {
	return t.Unix() > 0 && t.Before(time.Now().Add(24*time.Hour))
}

// linkNew gives the file its new name, and fails if something has that name: a hard
// link never replaces. Where there are no hard links (FAT, some network drives) it
// looks first; between the look and the rename another program could slip in.
func linkNew(root *os.Root, from, to string) error {
	err := root.Link(from, to)
	if err == nil {
		return root.Remove(from)
	}
	if errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, err := root.Lstat(to); err == nil {
		return fs.ErrExist
	}
	return root.Rename(from, to)
}

// syncDir makes new names durable, where the system knows such a thing.
func syncDir(root *os.Root) {
	if d, err := root.Open("."); err == nil {
		_ = d.Sync()
		d.Close()
	}
}
