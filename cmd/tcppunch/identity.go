package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tcppunch/tcppunch/tcppunch/pair"
)

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
