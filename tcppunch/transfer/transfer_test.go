package transfer

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"io/fs"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, // but for those of package kcp, which some tests connect to the command with
		goleak.IgnoreAnyFunction("github.com/xtaci/kcp-go/v5.(*TimedSched).sched"),
		goleak.IgnoreAnyFunction("github.com/xtaci/kcp-go/v5.(*TimedSched).prepend"))
}

// connKinds are the connections that everything has to work over.
var connKinds = []struct {
	name string
	make func(testing.TB) (sender, receiver net.Conn)
}{
	{"pipe", pipePair},
	{"tcp", tcpPair},
	{"tls", tlsPair},
}

func pipePair(t testing.TB) (net.Conn, net.Conn) {
	a, b := net.Pipe()
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func tcpPair(t testing.TB) (net.Conn, net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	a, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func tlsPair(t testing.TB) (net.Conn, net.Conn) {
	t.Helper()
	a, b := tcpPair(t)
	client := tls.Client(a, &tls.Config{InsecureSkipVerify: true})
	server := tls.Server(b, &tls.Config{Certificates: []tls.Certificate{testCert(t)}})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := server.Handshake(); err != nil {
			t.Error(err)
		}
	})
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	return client, server
}

func testCert(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// overAll runs a test over every kind of connection.
func overAll(t *testing.T, f func(t *testing.T, a, b net.Conn)) {
	for _, k := range connKinds {
		t.Run(k.name, func(t *testing.T) {
			a, b := k.make(t)
			f(t, a, b)
		})
	}
}

type result struct {
	sum Summary
	err error
}

// both runs a sender and a receiver into a folder. As a command would, each closes its
// end as soon as it is through, so that last words that are lost show.
func both(ctx context.Context, a, b net.Conn, src *Source, dir string, so *SendOptions, ro *ReceiveOptions) (sent, received result) {
	dst, err := Into(dir)
	if err != nil {
		a.Close()
		b.Close()
		return result{err: err}, result{err: err}
	}
	defer dst.Close()
	return pair(ctx, a, b, src, dst, so, ro)
}

func pair(ctx context.Context, a, b net.Conn, src *Source, dst *Dest, so *SendOptions, ro *ReceiveOptions) (sent, received result) {
	var wg sync.WaitGroup
	wg.Go(func() {
		sent.sum, sent.err = Send(ctx, a, src, so)
		a.Close()
	})
	wg.Go(func() {
		received.sum, received.err = Receive(ctx, b, dst, ro)
		b.Close()
	})
	wg.Wait()
	return sent, received
}

func content(n int) []byte {
	b := make([]byte, n)
	r := mathrand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)})
	_, _ = r.Read(b)
	return b
}

// write makes files and returns their paths, sorted by name.
func write(t testing.TB, dir string, files map[string][]byte) []string {
	t.Helper()
	var paths []string
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	slices.Sort(paths)
	return paths
}

func offering(t testing.TB, files map[string][]byte) *Source {
	t.Helper()
	src, err := Files(t.Context(), write(t, t.TempDir(), files), nil)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// listing returns all that lies in dir.
func listing(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	got := make(map[string][]byte)
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		got[path], err = os.ReadFile(filepath.Join(dir, path))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func wantTree(t testing.TB, dir string, want map[string][]byte) {
	t.Helper()
	got := listing(t, dir)
	for name, data := range want {
		if g, ok := got[name]; !ok || !bytes.Equal(g, data) {
			t.Errorf("%s: there %v, %d bytes, want %d", name, ok, len(g), len(data))
		}
		delete(got, name)
	}
	for name := range got {
		t.Errorf("%q should not be there", name)
	}
}

func TestRoundTrip(t *testing.T) {
	many := make(map[string][]byte)
	for i := range 600 {
		many["file-"+hex.EncodeToString([]byte{byte(i >> 8), byte(i)})] = content(i % 700)
	}
	tests := []struct {
		name  string
		files map[string][]byte
	}{
		{"empty", map[string][]byte{"a": nil}},
		{"one byte", map[string][]byte{"a": {7}}},
		{"block less one", map[string][]byte{"a": content(tree.BlockSize - 1)}},
		{"block", map[string][]byte{"a": content(tree.BlockSize)}},
		{"block and one", map[string][]byte{"a": content(tree.BlockSize + 1)}},
		{"buffer", map[string][]byte{"a": content(64 << 10)}},
		{"many blocks", map[string][]byte{"a": content(9*tree.BlockSize + 12345)}},
		{"several", map[string][]byte{"a": nil, "b": content(70000), "c": nil, "d": content(2 * tree.BlockSize), "é ü 日本.txt": content(5)}},
		{"long name", map[string][]byte{strings.Repeat("ä", 255/2) + "x": content(3)}},
		{"hundreds", many},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			overAll(t, func(t *testing.T, a, b net.Conn) {
				dir := t.TempDir()
				src := offering(t, tt.files)
				sent, received := both(t.Context(), a, b, src, dir, nil, nil)
				if sent.err != nil || received.err != nil {
					t.Fatalf("Send: %v; Receive: %v", sent.err, received.err)
				}
				wantTree(t, dir, tt.files)
				for _, sum := range []Summary{sent.sum, received.sum} {
					if sum.Files != len(tt.files) || sum.Bytes != src.Offer().Bytes || sum.Elapsed <= 0 {
						t.Errorf("Summary = %+v", sum)
					}
				}
			})
		})
	}
}

func TestTree(t *testing.T) {
	dir := t.TempDir()
	top := filepath.Join(dir, "top")
	for _, d := range []string{"top", "top/empty", "top/a", "top/a/b"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	files := map[string][]byte{"top/a/b/c": content(5), "top/a/x": content(2 * tree.BlockSize), "top/z": nil}
	for name, data := range files {
		write(t, dir, map[string][]byte{name: data})
	}
	if err := os.Symlink("../z", filepath.Join(top, "a", "link")); err != nil {
		t.Skip(err)
	}
	src, err := Files(t.Context(), []string{top}, &SourceOptions{Exclude: []string{"*.o"}})
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	for range 2 { // the second time all is there
		a, b := tcpPair(t)
		sent, received := both(t.Context(), a, b, src, out, nil, nil)
		if sent.err != nil || received.err != nil {
			t.Fatalf("Send: %v; Receive: %v", sent.err, received.err)
		}
		for _, sum := range []Summary{sent.sum, received.sum} {
			if sum.Files != 3 || sum.Bytes != 2*tree.BlockSize+5 {
				t.Errorf("Summary = %+v", sum)
			}
		}
	}
	files["top/a/link"] = nil // what it points to
	wantTree(t, out, files)
	if target, err := os.Readlink(filepath.Join(out, "top/a/link")); target != "../z" {
		t.Errorf("link to %q, %v", target, err)
	}
	if info, err := os.Stat(filepath.Join(out, "top/empty")); err != nil || !info.IsDir() {
		t.Errorf("the empty folder: %v", err)
	}
}

// A large file with holes costs little on the way, and its holes stay.
func TestLargeSparse(t *testing.T) {
	if testing.Short() {
		t.Skip("256 MiB: not with -short")
	}
	path := filepath.Join(t.TempDir(), "sparse")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(256 << 20); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("in the middle"), 100<<20); err != nil {
		t.Fatal(err)
	}
	src, err := Files(t.Context(), []string{path}, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, b := tlsPair(t)
	dir := t.TempDir()
	sent, received := both(t.Context(), a, b, src, dir, nil, nil)
	if sent.err != nil || received.err != nil {
		t.Fatalf("Send: %v; Receive: %v", sent.err, received.err)
	}
	if sent.sum.Sent != tree.BlockSize {
		t.Errorf("%d bytes sent", sent.sum.Sent)
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	wantTree(t, dir, map[string][]byte{"sparse": want})
}

func TestTrace(t *testing.T) {
	files := map[string][]byte{"a": content(2*tree.BlockSize + 5), "b": nil, "c": content(7)}
	type event struct {
		What  string
		File  File
		Hash  tree.Hash
		Bytes int64
	}
	const total = 2*tree.BlockSize + 12
	record := func(events *[]event) *Trace {
		add := func(e event) { *events = append(*events, e) }
		var last int64
		return &Trace{
			Offer:    func(o Offer) { add(event{What: "offer", Bytes: o.Bytes, File: o.First()[0]}) },
			Accepted: func() { add(event{What: "accepted"}) },
			Resumed:  func(int64) { t.Error("resumed") },
			File:     func(f File) { add(event{What: "file", File: f}) },
			FileDone: func(f File, h [32]byte) { add(event{What: "done", File: f, Hash: h}) },
			Failed:   func(e FileError) { t.Error(e) },
			Progress: func(done, of int64) {
				if done < last || done > of || of != total {
					t.Errorf("Progress(%d, %d) after %d", done, of, last)
				}
				last = done
			},
		}
	}
	want := map[event]bool{{What: "offer", Bytes: total, File: File{Name: "a", Size: 2*tree.BlockSize + 5}}: true, {What: "accepted"}: true}
	for name, data := range files {
		f := File{Name: name, Size: int64(len(data))}
		want[event{What: "file", File: f}] = true
		want[event{What: "done", File: f, Hash: rootOf(data)}] = true
	}
	overAll(t, func(t *testing.T, a, b net.Conn) {
		var sends, receives []event
		sent, received := both(t.Context(), a, b, offering(t, files), t.TempDir(),
			&SendOptions{Trace: record(&sends)}, &ReceiveOptions{Trace: record(&receives)})
		if sent.err != nil || received.err != nil {
			t.Fatalf("Send: %v; Receive: %v", sent.err, received.err)
		}
		for who, events := range map[string][]event{"sender": sends, "receiver": receives} {
			started := make(map[File]bool)
			for i, e := range events {
				if !want[e] || (i < 2) != (e.What == "offer" || e.What == "accepted") || e.What == "done" && !started[e.File] {
					t.Errorf("%s: event %d is %+v", who, i, e)
				}
				started[e.File] = true
			}
			if len(events) != len(want) {
				t.Errorf("%s: %d events, want %d", who, len(events), len(want))
			}
		}
	})
}

func TestCompress(t *testing.T) {
	text := bytes.Repeat([]byte("all work and no play makes Jack a dull boy\n"), 100000)
	random := content(4 << 20)
	tests := []struct {
		name   string
		data   []byte
		choice Compress
		rate   int // bytes a second of the connection
		most   int64
		least  int64
	}{
		{"on", text, CompressOn, 0, 200_000, 1},
		{"on, in vain", random, CompressOn, 0, 4 << 20, 4 << 20},
		{"off", text, CompressOff, 0, int64(len(text)), int64(len(text))},
		{"off on a slow link", text, CompressOff, 20 << 20, int64(len(text)), int64(len(text))},
		{"automatic on a slow link", bytes.Repeat(text, 8), CompressAuto, 20 << 20, int64(len(text)) * 6, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := tcpPair(t)
			if tt.rate > 0 {
				a = slowConn{a, tt.rate}
			}
			files := map[string][]byte{"f": tt.data, "g": tt.data[:5000]}
			dir := t.TempDir()
			sent, received := both(t.Context(), a, b, offering(t, files), dir, &SendOptions{Compress: tt.choice}, nil)
			if sent.err != nil || received.err != nil {
				t.Fatalf("Send: %v; Receive: %v", sent.err, received.err)
			}
			wantTree(t, dir, files)
			if n := sent.sum.Sent; n > tt.most+5000 || n < tt.least || n != received.sum.Received {
				t.Errorf("%d bytes sent, %d received, want %d to %d", n, received.sum.Received, tt.least, tt.most)
			}
		})
	}
}

func TestModeAndTime(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no permission bits on Windows")
	}
	then := time.Date(2009, 3, 14, 15, 9, 26, 535e6, time.UTC)
	for _, mode := range []fs.FileMode{0o644, 0o755, 0o600} {
		path := write(t, t.TempDir(), map[string][]byte{"f": content(10)})[0]
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, then, then); err != nil {
			t.Fatal(err)
		}
		src, err := Files(t.Context(), []string{path}, nil)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		a, b := pipePair(t)
		sent, received := both(t.Context(), a, b, src, dir, nil, nil)
		if sent.err != nil || received.err != nil {
			t.Fatalf("Send: %v; Receive: %v", sent.err, received.err)
		}
		info, err := os.Stat(filepath.Join(dir, "f"))
		if err != nil || info.Mode()&0o700 != mode&0o700 || !info.ModTime().Equal(then) {
			t.Errorf("%v, %v", info, err)
		}
	}
}
