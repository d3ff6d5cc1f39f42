package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// record is what natlab exec has to know of a running lab. It lies in a file of the user's runtime folder.
type record struct {
	PID   int               `json:"pid"`
	Hosts map[string]string `json:"hosts"` // name to the path of the namespace
}

func newRecord(lab *natlab.Lab) *record {
	r := &record{PID: os.Getpid(), Hosts: make(map[string]string)}
	for _, m := range lab.Hosts() {
		r.Hosts[m.Name()] = m.Namespace()
	}
	return r
}

// recordPath is where the record of the named lab is.
func recordPath(name string) string {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		dir = filepath.Join(os.TempDir(), fmt.Sprintf("natlab-%d", os.Getuid()))
	}
	return filepath.Join(dir, "natlab-"+strings.ReplaceAll(name, string(filepath.Separator), "_")+".json")
}

func readRecord(name string) (*record, error) {
	data, err := os.ReadFile(recordPath(name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("no lab named %q is running: start one with natlab up", name)
	}
	if err != nil {
		return nil, err
	}
	r := new(record)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("%s: %w", recordPath(name), err)
	}
	return r, nil
}

// alive reports whether the lab's namespaces are there still.
func (r *record) alive() bool {
	for _, path := range r.Hosts {
		if target, err := os.Readlink(path); err != nil || !strings.HasPrefix(target, "net:") {
			return false
		}
	}
	return true
}

func (r *record) write(name string) error {
	path := recordPath(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}
