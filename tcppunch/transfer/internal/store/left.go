package store

import (
	"io/fs"
	"os"
	"sync"
)

// maxLeft bounds how many partial files are remembered: those of some runs.
const maxLeft = 4 * MaxOpen

// left is how partial files were when they were let go. Between a break and the next
// connection hours may pass, in which another program can write to them.
type left struct {
	mu    sync.Mutex
	files map[string]fs.FileInfo // by path
}

func (l *left) note(path string, f *os.File) {
	info, err := f.Stat()
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.files == nil {
		l.files = make(map[string]fs.FileInfo)
	}
	for other := range l.files {
		if len(l.files) < maxLeft {
			break
		}
		delete(l.files, other) // only its blocks will have to be looked at again
	}
	l.files[path] = info
}

// same forgets a path and reports whether f is as it was then.
func (l *left) same(path string, f *os.File) bool {
	l.mu.Lock()
	was := l.files[path]
	delete(l.files, path)
	l.mu.Unlock()
	if was == nil || f == nil {
		return false
	}
	now, err := f.Stat()
	return err == nil && os.SameFile(was, now) && was.Size() == now.Size() && was.ModTime().Equal(now.ModTime())
}
