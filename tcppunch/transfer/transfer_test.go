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

	"github.com/google/go-cmp/cmp"
	"github.com/zeebo/blake3"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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

// both runs a sender and a receiver. As a command would, each closes its end as
// soon as it is through, so that last words that are lost show.
func both(ctx context.Context, a, b net.Conn, src *Source, dir string, so *SendOptions, ro *ReceiveOptions) (sent, received result) {
	var wg sync.WaitGroup
	wg.Go(func() {
		sent.sum, sent.err = Send(ctx, a, src, so)
		a.Close()
	})
	wg.Go(func() {
		received.sum, received.err = Receive(ctx, b, dir, ro)
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

func source(t testing.TB, files map[string][]byte) *Source {
	t.Helper()
	src, err := Files(write(t, t.TempDir(), files))
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// tree returns all that lies in dir.
func tree(t testing.TB, dir string) map[string][]byte {
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
	got := tree(t, dir)
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
		{"block less one", map[string][]byte{"a": content(blockSize - 1)}},
		{"block", map[string][]byte{"a": content(blockSize)}},
		{"block and one", map[string][]byte{"a": content(blockSize + 1)}},
		{"buffer", map[string][]byte{"a": content(buffered)}},
		{"many blocks", map[string][]byte{"a": content(9*blockSize + 12345)}},
		{"several", map[string][]byte{"a": nil, "b": content(70000), "c": nil, "d": content(2 * blockSize), "é ü 日本.txt": content(5)}},
		{"long name", map[string][]byte{strings.Repeat("ä", maxName/2) + "x": content(3)}},
		{"hundreds", many},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			overAll(t, func(t *testing.T, a, b net.Conn) {
				dir := t.TempDir()
				src := source(t, tt.files)
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
	src, err := Files([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	a, b := tlsPair(t)
	dir := t.TempDir()
	sent, received := both(t.Context(), a, b, src, dir, nil, nil)
	if sent.err != nil || received.err != nil {
		t.Fatalf("Send: %v; Receive: %v", sent.err, received.err)
	}
	if hashFile(t, path) != hashFile(t, filepath.Join(dir, "sparse")) {
		t.Error("the file has changed on the way")
	}
}

func hashFile(t testing.TB, path string) (sum [32]byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return blake3.Sum256(data)
}

func TestTrace(t *testing.T) {
	files := map[string][]byte{"a": content(300000), "b": nil}
	type event struct {
		What  string
		File  File
		Hash  [32]byte
		Bytes int64
	}
	record := func(events *[]event) *Trace {
		add := func(e event) { *events = append(*events, e) }
		var last int64
		return &Trace{
			Offer:    func(o Offer) { add(event{What: "offer", Bytes: o.Bytes, File: slices.Collect(o.All())[0]}) },
			Accepted: func() { add(event{What: "accepted"}) },
			File:     func(f File) { add(event{What: "file", File: f}) },
			FileDone: func(f File, h [32]byte) { add(event{What: "done", File: f, Hash: h}) },
			Progress: func(done, total int64) {
				if done < last || done > total || total != 300000 {
					t.Errorf("Progress(%d, %d) after %d", done, total, last)
				}
				last = done
			},
		}
	}
	fileA, fileB := File{"a", 300000}, File{"b", 0}
	want := []event{
		{What: "offer", Bytes: 300000, File: fileA},
		{What: "accepted"},
		{What: "file", File: fileA}, {What: "done", File: fileA, Hash: blake3.Sum256(files["a"])},
		{What: "file", File: fileB}, {What: "done", File: fileB, Hash: blake3.Sum256(nil)},
	}
	overAll(t, func(t *testing.T, a, b net.Conn) {
		var sends, receives []event
		sent, received := both(t.Context(), a, b, source(t, files), t.TempDir(),
			&SendOptions{Trace: record(&sends)}, &ReceiveOptions{Trace: record(&receives)})
		if sent.err != nil || received.err != nil {
			t.Fatalf("Send: %v; Receive: %v", sent.err, received.err)
		}
		if diff := cmp.Diff(want, sends); diff != "" {
			t.Errorf("sender (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(want, receives); diff != "" {
			t.Errorf("receiver (-want +got):\n%s", diff)
		}
	})
}

func TestModeAndTime(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no permission bits on Windows")
	}
	then := time.Date(2009, 3, 14, 15, 9, 26, 535e6, time.UTC)
	tests := []struct {
		name     string
		mode     fs.FileMode
		modTime  time.Time
		want     fs.FileMode // or less, for group and others: the umask counts
		wantTime bool
	}{
		{"plain", 0o644, then, 0o644, true},
		{"program", 0o755, then, 0o755, true},
		{"private", 0o600, then, 0o600, true},
		{"read-only", 0o444, then, 0o644, true},
		{"open to all", 0o777, then, 0o755, true},
		{"setuid", 0o755 | fs.ModeSetuid | fs.ModeSetgid, then, 0o755, true},
		{"before Unix", 0o644, time.Unix(-5e9, 0), 0o644, false},
		{"far future", 0o644, time.Now().AddDate(80, 0, 0), 0o644, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, t.TempDir(), map[string][]byte{"f": content(10)})[0]
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(path, tt.modTime, tt.modTime); err != nil {
				t.Fatal(err)
			}
			src, err := Files([]string{path})
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
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Mode(); got&^tt.want != 0 || got&0o700 != tt.want&0o700 {
				t.Errorf("mode = %v, want %v", got, tt.want)
			}
			if got := info.ModTime().Equal(tt.modTime); got != tt.wantTime {
				t.Errorf("time = %v", info.ModTime())
			}
		})
	}
}

// A source may be sent twice, and what counts is what a file holds then.
func TestSourceTwice(t *testing.T) {
	dir := t.TempDir()
	path := write(t, dir, map[string][]byte{"f": []byte("old")})[0]
	src, err := Files([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"newer", "newest of all"} {
		write(t, dir, map[string][]byte{"f": []byte(text)})
		out := t.TempDir()
		a, b := pipePair(t)
		sent, received := both(t.Context(), a, b, src, out, nil, nil)
		if sent.err != nil || received.err != nil {
			t.Fatalf("Send: %v; Receive: %v", sent.err, received.err)
		}
		wantTree(t, out, map[string][]byte{"f": []byte(text)})
	}
}
