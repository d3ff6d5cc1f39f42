package transfer

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Source is the files that a sender offers. It holds no open files, does not
// change, and may be sent more than once.
type Source struct {
	paths []string
	files []entry
	bytes int64
}

// Files looks at all of the paths, so that a mistake shows before anybody waits for
// the other side: each must be a regular file that can be read (symbolic links are
// followed), and have a name that CheckName lets pass and no other file shares.
// Directories are not supported yet; the error wraps errors.ErrUnsupported.
// What a file holds counts when it is sent, not now.
func Files(paths []string) (*Source, error) {
	if len(paths) == 0 {
		return nil, &failure{text: "no files to send"}
	}
	if len(paths) > maxFiles {
		return nil, &failure{text: "too many files at once"}
	}
	s := &Source{paths: append([]string(nil), paths...)}
	names := make(nameSet)
	for _, path := range s.paths {
		f, e, err := openSource(path)
		if err != nil {
			return nil, err
		}
		f.Close()
		if err := CheckName(e.Name); err != nil {
			return nil, err
		}
		if err := names.add(e.Name); err != nil {
			return nil, err
		}
		s.files = append(s.files, e)
		s.bytes += e.Size
	}
	return s, nil
}

// Offer is what Send would offer now. Sizes are those that Files saw.
func (s *Source) Offer() Offer {
	return Offer{Files: len(s.files), Bytes: s.bytes, entries: s.files}
}

// refresh looks at the files again: days may have passed since Files did.
func (s *Source) refresh() ([]entry, int64, error) {
	var total int64
	files := make([]entry, 0, len(s.paths))
	for _, path := range s.paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, 0, &failure{kind: ErrSourceChanged, name: filepath.Base(path), cause: err}
		}
		e, err := sourceEntry(path, info)
		if err != nil {
			return nil, 0, err
		}
		files = append(files, e)
		total += e.Size
	}
	if total < 0 || total > maxBytes {
		return nil, 0, &failure{text: "too many bytes at once"}
	}
	return files, total, nil
}

// openSource opens one file. It looks first, because opening a named pipe blocks.
func openSource(path string) (*os.File, entry, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, entry{}, &failure{cause: err}
	}
	if _, err := sourceEntry(path, info); err != nil {
		return nil, entry{}, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, entry{}, &failure{name: filepath.Base(path), cause: err}
	}
	info, err = f.Stat()
	if err != nil {
		f.Close()
		return nil, entry{}, &failure{name: filepath.Base(path), cause: err}
	}
	e, err := sourceEntry(path, info)
	if err != nil {
		f.Close()
	}
	return f, e, err
}

func sourceEntry(path string, info fs.FileInfo) (entry, error) {
	e := entry{
		File:    File{Name: filepath.Base(path), Size: info.Size()},
		mode:    uint16(info.Mode().Perm()),
		modTime: info.ModTime(),
	}
	switch mode := info.Mode(); {
	case mode.IsRegular() && e.Size >= 0:
		return e, nil
	case mode.IsDir():
		return e, unsupported(e.Name, "directories are not supported yet, only files")
	default:
		return e, unsupported(e.Name, "not a regular file; pipes, devices and sockets are not supported")
	}
}

func unsupported(name, text string) error {
	return &failure{kind: errors.ErrUnsupported, name: name, text: text}
}
