package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/pair"
)

// A knownPeer is somebody who was met: the key decides, and the name is what this user's
// screens call whoever has it.
type knownPeer struct {
	name        string
	key         pair.PublicKey
	first, last time.Time // seen
}

// knownPeers are all of them, with names and keys that come up once.
type knownPeers []knownPeer

// A standing is what is known of a peer that goes by a name and has a key.
type standing int

const (
	standsUnknown standing = iota // neither the name nor the key
	standsKnown                   // the key, whatever the name is
	standsChanged                 // the name, but it is another key's
)

// verdict tells what is known of who has a key and goes by a name, and the peer that this
// is about. The key must be proven, and the name need not: whoever is known stays so under
// any name, and is called what it was called before.
func (k knownPeers) verdict(name string, key pair.PublicKey) (standing, knownPeer) {
	if p, ok := k.byKey(key); ok {
		return standsKnown, p
	}
	if p, ok := k.byName(pinnable(name)); ok {
		return standsChanged, p
	}
	return standsUnknown, knownPeer{}
}

// pinnable is what of a name is remembered, as what stands behind an @ when a person types it
// is the beginning of a key, and a # begins a comment where names are kept. It may be empty.
func pinnable(name string) string {
	name, _, _ = strings.Cut(pair.CleanName(name), "@")
	return strings.TrimSpace(strings.TrimLeft(name, "# "))
}

func (k knownPeers) byKey(key pair.PublicKey) (knownPeer, bool) {
	i := slices.IndexFunc(k, func(p knownPeer) bool { return p.key == key })
	if i < 0 {
		return knownPeer{}, false
	}
	return k[i], true
}

// byName takes capitals for small letters, as people do.
func (k knownPeers) byName(name string) (knownPeer, bool) {
	i := slices.IndexFunc(k, func(p knownPeer) bool { return strings.EqualFold(p.name, name) })
	if i < 0 {
		return knownPeer{}, false
	}
	return k[i], true
}

// maxKnown is how many peers are remembered. A newcomer never drives one out, or anybody
// could make this side forget.
const maxKnown = 4000

var errKnownFull = fmt.Errorf("%d peers are remembered already", maxKnown)

// meet notes that a key was met, and returns what it is called: what it was called before,
// or else what is pinnable of the name, or that with a number if it is another key's.
func (k *knownPeers) meet(name string, key pair.PublicKey, now time.Time) (string, error) {
	now = now.UTC().Truncate(time.Second)
	for i := range *k {
		if p := &(*k)[i]; p.key == key {
			p.last = now
			return p.name, nil
		}
	}
	if len(*k) >= maxKnown {
		return name, errKnownFull
	}
	if name = pinnable(name); name == "" {
		name = shortKey(key)
	}
	free := name
	for n := 2; ; n++ {
		if _, taken := k.byName(free); !taken {
			break
		}
		number := fmt.Sprintf("-%d", n)
		free = strings.ToValidUTF8(name[:min(len(name), pair.MaxName-len(number))], "") + number
	}
	*k = append(*k, knownPeer{free, key, now, now})
	return free, nil
}

// forget removes the peer of a name, and tells whether there was one.
func (k *knownPeers) forget(name string) bool {
	p, ok := k.byName(name)
	if ok {
		*k = slices.DeleteFunc(*k, func(q knownPeer) bool { return q.key == p.key })
	}
	return ok
}

// shortKey is as much of a key as people compare at a glance. It is good for telling peers
// apart that are there, and never for trusting one.
func shortKey(key pair.PublicKey) string { return key.String()[:9] }

const knownHead = "# The peers that tcppunch has met, a line each: name, key, first seen, last seen, with tabs between.\n" +
	"# To forget one: tcppunch peers --forget NAME\n"

// parseKnown reads what text wrote. It takes nothing that it does not understand: a peer
// that is lost would be one whose key may change unnoticed.
func parseKnown(b []byte) (knownPeers, error) {
	var all knownPeers
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		line = strings.TrimRight(line, "\r\n")
		if strings.TrimSpace(line) == "" || line[0] == '#' {
			continue
		}
		p, err := parseKnownPeer(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if _, double := all.byName(p.name); double {
			return nil, fmt.Errorf("line %d: there are two peers of that name", n)
		}
		if _, double := all.byKey(p.key); double {
			return nil, fmt.Errorf("line %d: there are two peers with that key", n)
		}
		if len(all) == maxKnown {
			return nil, fmt.Errorf("line %d: there are more than %d peers", n, maxKnown)
		}
		all = append(all, p)
	}
	return all, nil
}

func parseKnownPeer(line string) (p knownPeer, err error) {
	f := strings.Split(line, "\t")
	if len(f) != 4 {
		return p, errors.New("it has not four parts with tabs between")
	}
	if p.name = f[0]; p.name == "" || pinnable(p.name) != p.name {
		return p, errors.New("no such name can be")
	}
	if p.key, err = pair.ParsePublicKey(f[1]); err != nil {
		return p, err
	}
	if p.first, err = time.Parse(time.RFC3339, f[2]); err != nil {
		return p, errors.New("first seen at no such time")
	}
	if p.last, err = time.Parse(time.RFC3339, f[3]); err != nil {
		return p, errors.New("last seen at no such time")
	}
	return p, nil
}

// text is what parseKnown reads.
func (k knownPeers) text() []byte {
	b := bytes.NewBufferString(knownHead)
	for _, p := range k {
		fmt.Fprintf(b, "%s\t%v\t%s\t%s\n", p.name, p.key, p.first.UTC().Format(time.RFC3339), p.last.UTC().Format(time.RFC3339))
	}
	return b.Bytes()
}

// readKnown returns the peers that this user has met.
func readKnown() (knownPeers, error) {
	dir, err := configDir()
	if err != nil {
		return nil, err
	}
	return readKnownFile(filepath.Join(dir, "known_peers"))
}

func readKnownFile(path string) (knownPeers, error) {
	b, err := readOwn(path, 0o022)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all, err := parseKnown(b)
	if err != nil {
		return nil, &failure{statusFailed, "identity", fmt.Errorf("%s, %w", path, err), "mend that line, or remove it if you know whom it was for"}
	}
	return all, nil
}

// updateKnown changes what this user knows of peers. Programs that run at the same time
// wait for each other.
func updateKnown(change func(*knownPeers) error) error {
	dir, err := configDir()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	path := filepath.Join(dir, "known_peers")
	lock, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close() // which unlocks it
	if err := lockFile(lock); err != nil {
		return fmt.Errorf("waiting for %s: %w", lock.Name(), err)
	}
	all, err := readKnownFile(path)
	if err != nil {
		return err
	}
	if err := change(&all); err != nil {
		return err
	}
	return writeAtomically(path, all.text())
}

// meetPeer remembers a peer whose key is proven, and returns what it is called from now on.
func meetPeer(name string, key pair.PublicKey) (called string, err error) {
	err = updateKnown(func(all *knownPeers) (err error) {
		called, err = all.meet(name, key, time.Now())
		return err
	})
	return called, err
}

// forgetPeer forgets the peer of a name: the next time, it is a stranger.
func forgetPeer(name string) error {
	return updateKnown(func(all *knownPeers) error {
		if !all.forget(name) {
			return &failure{statusFailed, "not-found", fmt.Errorf("no peer called %s was met", pair.CleanName(name)), ""}
		}
		return nil
	})
}
