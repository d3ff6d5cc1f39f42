package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/pair"
)

const (
	journalVersion = 1
	journalLife    = 30 * 24 * time.Hour
	maxJournal     = 4096 // bytes of the file
	journalSuffix  = ".journal"
)

// A journal is what a side keeps of a transfer, so that the same command goes on
// with it after the program or the machine was gone: the key by which the other side
// is found and known, and at the receiver which offer was accepted.
//
// Who receives keeps it in the folder it receives into, where others, and not least
// the sender of the files, may put files too. So it counts only with a seal that
// needs a secret of this user, and only for the code or the addresses that it was
// made for: nobody can plant a key, or somebody's yes.
type journal struct {
	path   string
	about  string // what it is for; under the seal, and not in the file
	secret []byte

	key      pair.Key
	accepted [32]byte // the digest of the offer, or zeros
}

// journalFile is the file, in JSON.
type journalFile struct {
	Version  int       `json:"version"`
	Created  time.Time `json:"created"`
	ID       string    `json:"id"`
	Key      string    `json:"key"`
	Accepted string    `json:"accepted,omitempty"`
	Seal     string    `json:"seal,omitempty"`
}

// openJournal makes a journal of a file that may exist. What is in it counts if this
// user has written it for the same purpose, not long ago. What is too old is removed.
func openJournal(path, about string, now time.Time) (*journal, error) {
	secret, err := journalSecret()
	if err != nil {
		return nil, err
	}
	j := &journal{path: path, about: about, secret: secret}
	f, err := j.read()
	if err != nil {
		return j, nil // as if there were none
	}
	if now.Sub(f.Created) > journalLife {
		j.remove()
		return j, nil
	}
	key, keyErr := hex.DecodeString(f.Key)
	accepted, err := hex.DecodeString(f.Accepted)
	if keyErr != nil || err != nil || len(key) != len(j.key) || len(accepted) > len(j.accepted) {
		return j, nil
	}
	copy(j.key[:], key)
	copy(j.accepted[:], accepted)
	return j, nil
}

var errJournal = errors.New("not a journal of this transfer")

// read returns what the file says, if it is genuine.
func (j *journal) read() (*journalFile, error) {
	info, err := os.Lstat(j.path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxJournal {
		return nil, errJournal
	}
	file, err := os.Open(j.path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, maxJournal+1))
	if err != nil {
		return nil, err
	}
	var f journalFile
	if len(b) > maxJournal || json.Unmarshal(b, &f) != nil || f.Version != journalVersion {
		return nil, errJournal
	}
	seal, err := hex.DecodeString(f.Seal)
	if err != nil || !hmac.Equal(seal, j.seal(f)) {
		return nil, errJournal
	}
	return &f, nil
}

// seal proves that this user wrote f for this purpose.
func (j *journal) seal(f journalFile) []byte {
	f.Seal = ""
	b, err := json.Marshal(f)
	if err != nil {
		panic(err) // strings and a time
	}
	m := hmac.New(sha256.New, j.secret)
	fmt.Fprintf(m, "tcppunch journal\n%d\n%s\n", len(j.about), j.about)
	m.Write(b)
	return m.Sum(nil)
}

// save writes the file anew, and makes it last.
func (j *journal) save(now time.Time) error {
	id, _, _ := strings.Cut(filepath.Base(j.path), journalSuffix)
	f := journalFile{Version: journalVersion, Created: now.UTC().Truncate(time.Second), ID: id, Key: hex.EncodeToString(j.key[:])}
	if j.accepted != [32]byte{} {
		f.Accepted = hex.EncodeToString(j.accepted[:])
	}
	f.Seal = hex.EncodeToString(j.seal(f))
	b, err := json.MarshalIndent(f, "", "\t")
	if err != nil {
		return err
	}
	if err := writeAtomically(j.path, append(b, '\n')); err != nil {
		return fmt.Errorf("keeping what a later run would need to go on: %w", err)
	}
	return nil
}

// remove removes the file, if it is this journal.
func (j *journal) remove() {
	if _, err := j.read(); err == nil {
		os.Remove(j.path)
	}
	os.Remove(j.path + "-new")
}

// journalSecret is what seals this user's journals. It is made when it is missing.
func journalSecret() ([]byte, error) {
	dir, err := stateDir()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "journal-secret")
	if b, err := readSecret(path); err == nil {
		return b, nil
	}
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	if err := writeOnce(path, fmt.Appendf(nil, "%x\n", b)); err != nil {
		return nil, err
	}
	return readSecret(path) // somebody else may have been first
}

func readSecret(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 128))
	if err != nil {
		return nil, err
	}
	b, err = hex.DecodeString(string(bytes.TrimSpace(b)))
	if err != nil || len(b) != 32 {
		return nil, fmt.Errorf("%s does not hold a secret: remove it", path)
	}
	return b, nil
}

// stateDir is where this user's programs keep what they need from one run to the next.
func stateDir() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "tcppunch"), nil
	}
	switch runtime.GOOS {
	case "windows":
		dir, err := os.UserCacheDir() // the local one, which is not copied to other machines
		return filepath.Join(dir, "tcppunch", "state"), err
	case "darwin":
		dir, err := os.UserConfigDir()
		return filepath.Join(dir, "tcppunch"), err
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".local", "state", "tcppunch"), err
}

// removeStale removes the journals of senders that nobody has gone on with.
func removeStale(dir string, now time.Time) {
	old, err := filepath.Glob(filepath.Join(dir, "send-*"+journalSuffix+"*"))
	if err != nil {
		return
	}
	for _, path := range old {
		if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && now.Sub(info.ModTime()) > journalLife {
			os.Remove(path)
		}
	}
}

// senderFolder is where a sender keeps its journals, or "" if it cannot. Those that are too
// old are removed from it.
func senderFolder() string {
	dir, err := stateDir()
	if err != nil {
		return ""
	}
	removeStale(dir, time.Now())
	return dir
}
