package store

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxFolders is how many folders stay open, those not counted that are in use.
const maxFolders = 32

// A folder of the tree that is received. It is opened when it is needed, element by
// element and never through a link, and closed when others are needed more.
type folder struct {
	parent  *folder   // nil: it is the one given to Open
	path    string    // from there, with slashes
	fresh   bool      // made by this run, so that nothing of others is in it
	err     error     // why nothing can be placed in it
	modTime time.Time // to be set; zero: not
	folds   *bool     // whether it ignores case, once somebody looked

	// guarded by folders.mu
	here    *handle // nil: closed
	device  uint64  // of here, the last time
	users   int     // of here
	used    uint64  // when, by folders.clock
	pending int     // entries placed in it and not finished
	left    bool    // nothing more will be placed in it
	stale   bool    // its time is to be set
	renamed bool    // names in it are perhaps not durable
}

func (f *folder) name() string { return f.path[strings.LastIndexByte(f.path, '/')+1:] }

// handle is an open folder. All that is done in it takes one path element.
type handle struct {
	root   *os.Root
	dir    *os.File // the same, for system calls; nil on Windows
	fd     int      // of dir
	device uint64
	owner  uint32
}

func newHandle(root *os.Root) (*handle, fs.FileInfo, error) {
	h := &handle{root: root}
	info, err := root.Stat(".")
	if err != nil {
		root.Close()
		return nil, nil, err
	}
	h.device, h.owner = identify(info)
	if runtime.GOOS == "windows" {
		return h, info, nil
	}
	if h.dir, err = root.Open("."); err != nil {
		root.Close()
		return nil, nil, err
	}
	h.fd = int(h.dir.Fd())
	return h, info, nil
}

func (h *handle) close() {
	if h.dir != nil {
		h.dir.Close()
	}
	h.root.Close()
}

// sync makes the names in the folder durable, where the system knows such a thing.
func (h *handle) sync() {
	if h.dir != nil {
		_ = syncLight(h.dir)
	}
}

var (
	errNotFolder = errors.New("a link or a file is in the way of its folder")
	errSwapped   = errors.New("its folder was swapped for another one")
)

// openFolder opens a folder in a folder, and nothing else.
func openFolder(up *handle, name string) (*handle, error) {
	before, err := up.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !before.IsDir() {
		return nil, errNotFolder
	}
	// Root would follow a link, and wait for a pipe, that came meanwhile: the slash
	// demands a folder, and it must be the one that was seen.
	root, err := up.root.OpenRoot(name + "/.")
	if err != nil {
		return nil, err
	}
	h, after, err := newHandle(root)
	if err != nil {
		return nil, err
	}
	if !os.SameFile(before, after) {
		h.close()
		return nil, errSwapped
	}
	return h, nil
}

// folders are those of one Store.
type folders struct {
	top folder

	mu     sync.Mutex
	clock  uint64
	opened []*folder // without top
}

// enter opens f, or uses it along with others, until exit.
func (d *folders) enter(f *folder) (*handle, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.enterLocked(f)
}

func (d *folders) enterLocked(f *folder) (*handle, error) {
	if f.here == nil {
		if f.parent == nil {
			return nil, fs.ErrClosed
		}
		up, err := d.enterLocked(f.parent)
		if err != nil {
			return nil, err
		}
		defer d.exitLocked(f.parent)
		h, err := openFolder(up, f.name())
		if err != nil {
			return nil, err
		}
		f.here, f.device = h, h.device
		d.makeRoom()
		d.opened = append(d.opened, f)
	}
	d.clock++
	f.used = d.clock
	f.users++
	return f.here, nil
}

func (d *folders) exit(f *folder) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.exitLocked(f)
}

func (d *folders) exitLocked(f *folder) { f.users-- }

// makeRoom closes the folder that was not used for longest.
func (d *folders) makeRoom() {
	if len(d.opened) < maxFolders {
		return
	}
	var oldest *folder
	for _, f := range d.opened {
		if f.users == 0 && (oldest == nil || f.used < oldest.used) {
			oldest = f
		}
	}
	if oldest != nil {
		d.shut(oldest)
	}
}

func (d *folders) shut(f *folder) {
	if i := slices.Index(d.opened, f); i >= 0 && f.users == 0 {
		f.here.close()
		f.here = nil
		d.opened = slices.Delete(d.opened, i, i+1)
	}
}

// forget closes a folder that is no part of the walk, and those that it is in.
func (d *folders) forget(f *folder) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for ; f.parent != nil; f = f.parent {
		d.shut(f)
	}
}

func (d *folders) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range append(d.opened, &d.top) {
		if f.here != nil {
			f.here.close()
			f.here = nil
		}
	}
	d.opened = nil
}

// placed counts an entry that is to come into f.
func (d *folders) placed(f *folder) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f.pending++
}

// changed notes that f has a new name in it.
func (d *folders) changed(f *folder) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f.stale, f.renamed = true, true
}

// finished takes back placed.
func (d *folders) finished(f *folder) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f.pending--
	if f.left && f.pending == 0 {
		d.settle(f)
		d.shut(f)
	}
}

// leave says that nothing more will be placed in f.
func (d *folders) leave(f *folder) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f.left = true
	if f.pending == 0 {
		d.settle(f)
		d.shut(f)
	}
}

// refresh is leave for the folders of a walk that is not at its end.
func (d *folders) refresh(walk []*folder) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range walk {
		if f.pending == 0 {
			d.settle(f)
		}
	}
}

// settle sets the time of f, now that nothing changes in it, and makes its names
// durable if Flush will not. All of that is done as well as it goes: what is in the
// folder is complete without it.
func (d *folders) settle(f *folder) {
	if f.renamed && (!syncsAll || f.device != d.top.device) {
		if h, err := d.enterLocked(f); err == nil {
			h.sync()
			d.exitLocked(f)
		}
	}
	f.renamed = false
	if !f.stale || f.err != nil || !saneTime(f.modTime) || f.parent == nil {
		return
	}
	f.stale = false
	if f.here != nil {
		_ = setTime(f.here, ".", nil, f.modTime)
	} else if up, err := d.enterLocked(f.parent); err == nil {
		_ = setTime(up, f.name(), nil, f.modTime)
		d.exitLocked(f.parent)
	}
}

// saneTime keeps out times that confuse other programs: before 1970, or in a
// future that clocks gone wrong do not explain.
func saneTime(t time.Time) bool {
	return t.Unix() > 0 && t.Before(time.Now().Add(24*time.Hour))
}
