package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/tcppunch/tcppunch/tcppunch/pair"
)

// maxOwnFile bounds the files of this user that are read as a whole.
const maxOwnFile = 1 << 20

// configDir is where this user keeps what the program has to be told.
func configDir() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("the folder of settings: %w", err)
	}
	return filepath.Join(dir, "tcppunch"), nil
}

// ownIdentity is the key by which others know this user again. It is made when it is
// missing, by one of several programs that start at once.
func ownIdentity() (pair.Identity, error) {
	dir, err := configDir()
	if err != nil {
		return pair.Identity{}, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return pair.Identity{}, err
	}
	path := filepath.Join(dir, "identity")
	id, err := readIdentity(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	if err := writeOnce(path, pair.NewIdentity().Text()); err != nil {
		return pair.Identity{}, fmt.Errorf("making a key for this user: %w", err)
	}
	return readIdentity(path) // somebody else may have been first
}

// readIdentity reads the file of an identity that is this user's alone.
func readIdentity(path string) (pair.Identity, error) {
	text, err := readOwn(path, 0o077)
	if err != nil {
		return pair.Identity{}, err
	}
	id, err := pair.ParseIdentity(text)
	if err != nil {
		return pair.Identity{}, &failure{statusFailed, "identity", fmt.Errorf("%s: %w", path, err),
			"put back the file as it was, or remove it: the next run makes a new key, and others have to get to know it"}
	}
	return id, nil
}

// readOwn reads a file on which others must not have the given permissions.
func readOwn(path string, others fs.FileMode) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, &failure{statusFailed, "identity", fmt.Errorf("%s is not a file", path), "move it away"}
	case runtime.GOOS != "windows" && info.Mode()&others != 0:
		return nil, &failure{statusFailed, "identity",
			fmt.Errorf("other users of this machine have access to %s (mode %#o)", path, info.Mode().Perm()),
			"if none of them has made use of it: chmod 600 " + shellWord(path) + "; else remove it"}
	}
	b, err := io.ReadAll(io.LimitReader(f, maxOwnFile+1))
	if err == nil && len(b) > maxOwnFile {
		err = fmt.Errorf("%s is too large", path)
	}
	return b, err
}
