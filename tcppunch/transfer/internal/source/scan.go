package source

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/name"
)

const (
	unsupported = "not a file, a folder or a link"
	orFollow    = "; --follow sends what it points to"
	perRead     = 1024 // names that are read from a folder at once
)

// Scan lists the paths and all that is in them. See the package comment for what is an
// error and what is refused. It looks at each file and opens only folders, so that it is
// as fast as the disk; it ends soon after ctx does, unless the disk does not answer.
func Scan(ctx context.Context, paths []string, opt *Options) (*Tree, error) {
	return scan(ctx, paths, opt, nil)
}

// scan calls entering, if not nil, before it lists a folder: tests change something then.
func scan(ctx context.Context, paths []string, opt *Options, entering func(path string)) (*Tree, error) {
	if opt == nil {
		opt = &Options{}
	}
	exclude, err := compile(opt.Exclude)
	if err != nil {
		return nil, err
	}
	args, err := arguments(paths, exclude)
	if err != nil {
		return nil, err
	}
	s := scanner{ctx: ctx, exclude: exclude, entering: entering, tree: &Tree{follow: opt.Follow, roots: make(map[string]string, len(args))}}
	for _, a := range args {
		s.tree.roots[a.name] = a.prefix
		info, err := os.Stat(a.prefix + a.name)
		if err != nil {
			return nil, &fault.Failure{Cause: err}
		}
		if err := s.add(a.prefix+a.name, len(a.prefix), info, nil); err != nil {
			return nil, err
		}
	}
	if s.list.Totals().Entries == 0 {
		if s.tree.count > 0 {
			return nil, s.tree.refused[0]
		}
		return nil, &fault.Failure{Text: "no files to send"}
	}
	s.tree.list = newList(&s.list, s.first)
	return s.tree, nil
}

// scanner is one walk. Paths are passed as the whole of one and how much of it stands before
// what is listed, so that both are one string.
type scanner struct {
	ctx      context.Context
	exclude  []pattern
	entering func(path string)
	tree     *Tree
	list     manifest.Builder
	first    []manifest.Entry
	devices  devices
}

// visit looks at something in a folder. above are the folders that it is in.
func (s *scanner) visit(full string, skip int, above []fs.FileInfo) error {
	path := full[skip:]
	if err := context.Cause(s.ctx); err != nil {
		return err
	}
	if excluded(s.exclude, path, false) {
		return nil
	}
	info, err := os.Lstat(full)
	if err != nil {
		s.refuseErr(path, err)
		return nil
	}
	if info.Mode()&fs.ModeSymlink != 0 && s.tree.follow {
		if info, err = os.Stat(full); err != nil {
			s.refuse(fault.ErrLink, path, "it points to nothing that could be sent", err)
			return nil
		}
	}
	return s.add(full, skip, info, above)
}

// add lists what info describes, and what is in it.
func (s *scanner) add(full string, skip int, info fs.FileInfo, above []fs.FileInfo) error {
	path := full[skip:]
	if info.IsDir() && excluded(s.exclude, path, true) {
		return nil
	}
	if why := pathProblem(path, len(above)); why != "" {
		s.refuse(fault.ErrName, path, why, nil)
		return nil
	}
	e := manifest.Entry{Path: path, Mode: info.Mode().Perm(), ModTime: modTime(info)}
	switch mode := info.Mode(); {
	case mode.IsDir():
		e.Type = manifest.Dir
		return s.folder(full, skip, e, append(above, info))
	case mode.IsRegular():
		e.Size = info.Size()
		if e.Size > manifest.MaxBytes {
			s.refuse(fault.ErrUnsupported, path, "too large", nil)
			return nil
		}
		if s.devices.generated(full, info) {
			s.refuse(fault.ErrUnsupported, path, "its length is not known before it is read", nil)
			return nil
		}
	case mode&fs.ModeSymlink != 0:
		e.Type = manifest.Symlink
		target, err := os.Readlink(filepath.FromSlash(full))
		if err != nil {
			s.refuseErr(path, err)
			return nil
		}
		e.Target = cleanTarget(filepath.ToSlash(target))
		if err := manifest.CheckTarget(path, e.Target); err != nil {
			s.refuse(fault.ErrLink, path, failureText(err)+orFollow, nil)
			return nil
		}
	default:
		s.refuse(fault.ErrUnsupported, path, unsupported, nil)
		return nil
	}
	return s.put(e)
}

// put appends to the manifest. An error is one of its limits: all else was looked at.
func (s *scanner) put(e manifest.Entry) error {
	if err := s.list.Add(e); err != nil {
		return err
	}
	if len(s.first) < maxFirst && e.Depth() == 0 {
		s.first = append(s.first, e)
	}
	return nil
}

// folder lists a folder, which is the last of those above.
func (s *scanner) folder(full string, skip int, e manifest.Entry, above []fs.FileInfo) error {
	info := above[len(above)-1]
	if s.tree.follow && slices.ContainsFunc(above[:len(above)-1], func(i fs.FileInfo) bool { return os.SameFile(i, info) }) {
		s.refuse(fault.ErrLink, e.Path, "leads back to a folder that it is in", nil)
		return nil
	}
	if s.entering != nil {
		s.entering(e.Path)
	}
	names, err := s.read(full, s.tree.follow || len(above) == 1)
	if err := context.Cause(s.ctx); err != nil {
		return err
	}
	if err != nil {
		s.refuseErr(e.Path, err)
		return nil
	}
	if err := s.put(e); err != nil {
		return err
	}
	for i := range names.refs {
		if err := s.visit(full+"/"+names.at(i), skip, above); err != nil {
			return err
		}
	}
	return nil
}

// names are those in a folder, in one piece: a string each would be three times as large.
type names struct {
	text string
	refs []ref
}

type ref struct {
	start  uint32
	length uint16
}

func (n *names) at(i int) string { return n.text[n.refs[i].start:][:n.refs[i].length] }

// read returns what is in a folder, sorted.
func (s *scanner) read(full string, follow bool) (*names, error) {
	f, err := openFile(full, follow)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var text strings.Builder
	n := &names{}
	for s.ctx.Err() == nil {
		some, err := f.Readdirnames(perRead)
		for _, name := range some {
			if int64(text.Len()+len(name)) > math.MaxUint32 || len(name) > math.MaxUint16 {
				return nil, &fault.Failure{Text: "too many files in a folder"}
			}
			n.refs = append(n.refs, ref{uint32(text.Len()), uint16(len(name))})
			text.WriteString(name)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	n.text = text.String()
	slices.SortFunc(n.refs, func(a, b ref) int {
		return manifest.Compare(n.text[a.start:][:a.length], n.text[b.start:][:b.length])
	})
	return n, nil
}

func (s *scanner) refuse(kind error, path, text string, cause error) {
	s.tree.refuse(&fault.Failure{Kind: kind, Name: path, Text: text, Cause: cause})
}

// refuseErr is for what the operating system says. What is not there any more was there a
// moment ago.
func (s *scanner) refuseErr(path string, err error) {
	var kind error
	if gone(err) {
		kind = fault.ErrSourceChanged
	}
	s.refuse(kind, path, "", err)
}

// pathProblem is about something that is in so many folders.
func pathProblem(path string, depth int) string {
	err := name.Check(path[strings.LastIndexByte(path, '/')+1:])
	switch {
	case err != nil:
		return failureText(err)
	case depth >= manifest.MaxDepth:
		return "too many folders in each other"
	case len(path) > manifest.MaxPath:
		return "the path is too long"
	}
	return ""
}

// failureText is the words of a failure without its kind and name.
func failureText(err error) string {
	var f *fault.Failure
	if errors.As(err, &f) {
		return f.Text
	}
	return err.Error()
}

// cleanTarget takes out of a relative target what means nothing: "." and doubled slashes. A
// ".." behind a name stays, and is refused: that name may be a link.
func cleanTarget(target string) string {
	if target == "" || target[0] == '/' {
		return target
	}
	elems := slices.DeleteFunc(strings.Split(target, "/"), func(s string) bool { return s == "" || s == "." })
	if len(elems) == 0 {
		return "."
	}
	return strings.Join(elems, "/")
}

// modTime is as much of it as a manifest can hold.
func modTime(info fs.FileInfo) time.Time {
	t := info.ModTime()
	switch sec := t.Unix(); {
	case sec < manifest.MinTime:
		return time.Unix(manifest.MinTime, 0)
	case sec > manifest.MaxTime:
		return time.Unix(manifest.MaxTime, 0)
	}
	return t
}
