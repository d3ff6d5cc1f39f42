package transfer

import (
	"bytes"
	"flag"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "record the golden stream anew: only for a new protocol version")

// goldenFiles are what testdata/v2-send.bin carries, each with the time then.
func goldenFiles() map[string][]byte {
	return map[string][]byte{
		"empty":         nil,
		"hello.txt":     []byte("Hello from 2026.\n"),
		"Résumé 日本.bin": content(1000),
		"holes":         append(make([]byte, 2*mib), "end"...),
	}
}

var goldenTime = time.Date(2026, 11, 23, 1, 2, 3, 456789000, time.UTC)

// tee keeps what is written to a connection.
type tee struct {
	net.Conn
	out bytes.Buffer
}

func (t *tee) Write(p []byte) (int, error) {
	t.out.Write(p)
	return t.Conn.Write(p)
}

// The bytes that a sender of version 2 sends must be understood for ever.
func TestGoldenStream(t *testing.T) {
	const path = "testdata/v2-send.bin"
	if *update {
		if err := os.WriteFile(path, record(t), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stream, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	dst, err := Into(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	a, b := tcpPair(t)
	var wg sync.WaitGroup
	wg.Go(func() { drive(a.(*net.TCPConn), stream, time.Minute) })
	sum, err := Receive(t.Context(), b, dst, nil)
	b.Close()
	wg.Wait()
	files := goldenFiles()
	if err != nil || sum.Files != len(files) {
		t.Fatalf("Receive = %+v, %v", sum, err)
	}
	wantTree(t, dir, files)
	for name := range files {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || !info.ModTime().Equal(goldenTime) {
			t.Errorf("%s: %v, %v", name, info.ModTime(), err)
		}
	}
}

// record returns what today's sender sends for the golden files.
func record(t *testing.T) []byte {
	t.Helper()
	paths := write(t, t.TempDir(), goldenFiles())
	for _, path := range paths {
		if err := os.Chtimes(path, goldenTime, goldenTime); err != nil {
			t.Fatal(err)
		}
	}
	src, err := Files(t.Context(), paths, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, b := pipePair(t)
	tap := &tee{Conn: a}
	sent, received := both(t.Context(), tap, b, src, t.TempDir(), nil, nil)
	if sent.err != nil || received.err != nil {
		t.Fatalf("Send: %v; Receive: %v", sent.err, received.err)
	}
	return tap.out.Bytes()
}
