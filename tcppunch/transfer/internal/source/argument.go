package source

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/name"
)

// argument is a path that was asked for.
type argument struct {
	name   string // that it is listed under
	prefix string // the folder that it is in, with a separator at its end
}

// arguments vets all paths and puts them in the order of the list.
func arguments(paths []string, exclude []pattern) ([]argument, error) {
	if len(paths) == 0 {
		return nil, &fault.Failure{Text: "no files to send"}
	}
	var args []argument
	prefix := ""
	for _, path := range paths {
		a, folder, err := vet(path)
		if err != nil {
			return nil, err
		}
		if excluded(exclude, a.name, folder) {
			continue
		}
		if err := name.Check(a.name); err != nil {
			return nil, err
		}
		// Thousands of files of one folder keep one copy of its path.
		if a.prefix == prefix {
			a.prefix = prefix
		}
		a.name, prefix = strings.Clone(a.name), a.prefix
		args = append(args, a)
	}
	if len(args) == 0 {
		return nil, &fault.Failure{Text: "everything is excluded, no files to send"}
	}
	slices.SortFunc(args, func(a, b argument) int { return manifest.Compare(a.name, b.name) })
	for i := range args[1:] {
		if args[i].name == args[i+1].name {
			return nil, &fault.Failure{Kind: fault.ErrName, Text: fmt.Sprintf("%q is there twice, and would be one file", args[i].name)}
		}
	}
	return args, nil
}

// vet looks whether path can be sent. Opening it shows that it can be read.
func vet(path string) (a argument, folder bool, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return a, false, &fault.Failure{Cause: err}
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return a, false, &fault.Failure{Kind: fault.ErrUnsupported, Name: path, Text: unsupported}
	}
	f, err := openFile(path, true)
	if err != nil {
		return a, false, &fault.Failure{Cause: err}
	}
	f.Close()
	full, err := absolute(path)
	if err != nil {
		return a, false, &fault.Failure{Cause: err}
	}
	a.prefix, a.name = filepath.Split(full)
	if a.name == "" {
		return a, false, &fault.Failure{Kind: fault.ErrName, Text: fmt.Sprintf("%s has no name that it could be sent under", fault.Clean(path))}
	}
	return a, info.IsDir(), nil
}

// absolute finds what the operating system finds for a path with ".." in it: the folder
// that holds a folder, not what is written before it, which may be a link to elsewhere.
func absolute(path string) (string, error) {
	elems := strings.Split(filepath.ToSlash(path), "/")
	if !slices.Contains(elems, "..") {
		return filepath.Abs(path)
	}
	if !filepath.IsAbs(path) {
		wd, err := os.Getwd()
		if err != nil {
			return "", err
		}
		path = wd + string(filepath.Separator) + path
	}
	elems = slices.DeleteFunc(strings.Split(filepath.ToSlash(path), "/"), func(s string) bool { return s == "." })
	for len(elems) > 1 && elems[len(elems)-1] == "" {
		elems = elems[:len(elems)-1]
	}
	last := elems[len(elems)-1]
	if last == ".." {
		return filepath.EvalSymlinks(path)
	}
	// The last element may be a link itself, and keeps its name.
	folder, err := filepath.EvalSymlinks(filepath.FromSlash(strings.Join(elems[:len(elems)-1], "/") + "/"))
	if err != nil {
		return "", err
	}
	return filepath.Join(folder, last), nil
}
