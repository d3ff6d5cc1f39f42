package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/tree"
)

// wantFailure checks what both sides return when the receiver is the one that
// fails, or the sender: that one has the error, the other one is told.
func wantFailure(t *testing.T, local, remote error, want error, code string) {
	t.Helper()
	if !errors.Is(local, want) || Code(local) != code {
		t.Errorf("this side: %v (%s), want %v (%s)", local, Code(local), want, code)
	}
	if theirs := (*RemoteError)(nil); errors.As(local, &theirs) {
		t.Errorf("this side blames the other: %v", local)
	}
	var theirs *RemoteError
	if !errors.As(remote, &theirs) || theirs.Code != code || Code(remote) != code {
		t.Errorf("the other side: %v, want a RemoteError with the code %s", remote, code)
	}
}

// wantIncomplete checks that both sides name the same failures of single files, and whose
// they are.
func wantIncomplete(t *testing.T, local, remote error, want error, of int, names ...string) {
	t.Helper()
	for i, err := range []error{local, remote} {
		var inc *Incomplete
		if !errors.As(err, &inc) || inc.Count != len(names) || inc.Of != of || want != nil && !errors.Is(err, want) || Code(err) != "incomplete" {
			t.Errorf("side %d: %v, want %d of %d, %v", i, err, len(names), of, want)
			continue
		}
		for j, f := range inc.Failed {
			var theirs *RemoteError
			if f.Name != names[j] || errors.As(f.Err, &theirs) != (i == 1) || want == nil && !strings.Contains(f.Err.Error(), "cannot be") {
				t.Errorf("side %d: %q: %v, want %q", i, f.Name, f.Err, names[j])
			}
		}
	}
}

func TestRefused(t *testing.T) {
	overAll(t, func(t *testing.T, a, b net.Conn) {
		dir := t.TempDir()
		var got Offer
		refuse := func(_ context.Context, o Offer) error {
			got = o
			return errors.New("too large for me")
		}
		src := offering(t, map[string][]byte{"a": content(10), "b": content(20)})
		sent, received := both(t.Context(), a, b, src, dir, nil, &ReceiveOptions{Accept: refuse})
		wantFailure(t, received.err, sent.err, ErrRefused, "refused")
		if !strings.Contains(sent.err.Error(), "too large for me") {
			t.Errorf("Send: %v", sent.err)
		}
		if first := got.First(); got.Files != 2 || got.Entries != 2 || got.Bytes != 30 || len(first) != 2 || first[1] != (File{Name: "b", Size: 20}) {
			t.Errorf("offer = %+v", got)
		}
		if sent.sum != (Summary{}) {
			t.Errorf("Summary = %+v", sent.sum)
		}
		wantTree(t, dir, nil)
	})
}

// What is in the way concerns one file, and the others come.
func TestExists(t *testing.T) {
	overAll(t, func(t *testing.T, a, b net.Conn) {
		dir := t.TempDir()
		write(t, dir, map[string][]byte{"b": []byte("precious"), "c": content(30)})
		then := time.Unix(1e9, 0)
		src := offering(t, map[string][]byte{"a": content(10), "b": content(20), "c": content(30)})
		if err := os.Chtimes(filepath.Join(dir, "c"), then, then); err != nil { // the same but for the time
			t.Fatal(err)
		}
		sent, received := both(t.Context(), a, b, src, dir, nil, nil)
		wantIncomplete(t, received.err, sent.err, ErrExists, 3, "b")
		for _, sum := range []Summary{sent.sum, received.sum} {
			if sum.Files != 2 || sum.Bytes != 40 {
				t.Errorf("Summary = %+v", sum)
			}
		}
		wantTree(t, dir, map[string][]byte{"a": content(10), "b": []byte("precious"), "c": content(30)})
	})
}

func TestPolicies(t *testing.T) {
	old, data := []byte("old"), content(1000)
	ask := func(p Policy, err error) func(context.Context, Conflict) (Policy, error) {
		return func(_ context.Context, c Conflict) (Policy, error) {
			if c.Name != "f" || c.Size != 1000 || c.Here != 3 {
				return Keep, fmt.Errorf("asked about %+v", c)
			}
			return p, err
		}
	}
	tests := []struct {
		name string
		opt  ReceiveOptions
		want map[string][]byte
		err  error
	}{
		{"overwrite", ReceiveOptions{Exists: Overwrite}, map[string][]byte{"f": data}, nil},
		{"rename", ReceiveOptions{Exists: Rename}, map[string][]byte{"f": old, "f (2)": data}, nil},
		{"asked to keep", ReceiveOptions{Exists: Overwrite, Ask: ask(Keep, nil)}, map[string][]byte{"f": old}, ErrExists},
		{"asked to overwrite", ReceiveOptions{Ask: ask(Overwrite, nil)}, map[string][]byte{"f": data}, nil},
		{"asked in vain", ReceiveOptions{Ask: ask(Keep, errors.New("go away"))}, map[string][]byte{"f": old}, ErrRefused},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, map[string][]byte{"f": old})
			a, b := tcpPair(t)
			sent, received := both(t.Context(), a, b, offering(t, map[string][]byte{"f": data}), dir, nil, &tt.opt)
			if !errors.Is(sent.err, tt.err) || !errors.Is(received.err, tt.err) {
				t.Errorf("Send: %v; Receive: %v; want %v", sent.err, received.err, tt.err)
			}
			wantTree(t, dir, tt.want)
		})
	}
}

// A source that is not what it was is left out by name.
func TestSourceChanges(t *testing.T) {
	large := content(3 * tree.BlockSize)
	tests := []struct {
		name   string
		change func(path string) error
	}{
		{"vanishes", os.Remove},
		{"grows", func(path string) error {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteString("more")
			return err
		}},
		{"shrinks", func(path string) error { return os.Truncate(path, 3) }},
		{"is touched", func(path string) error { return os.Chtimes(path, time.Time{}, time.Unix(1e9, 0)) }},
	}
	for _, tt := range tests {
		for _, when := range []string{"before", "while"} {
			t.Run(tt.name+" "+when, func(t *testing.T) {
				files := map[string][]byte{"a": content(10), "b": large, "c": content(20)}
				paths := write(t, t.TempDir(), files)
				src, err := Files(t.Context(), paths, nil)
				if err != nil {
					t.Fatal(err)
				}
				var once sync.Once
				change := func() {
					if err := tt.change(paths[1]); err != nil {
						t.Error(err)
					}
				}
				ro, so := &ReceiveOptions{}, &SendOptions{Trace: &Trace{}}
				if when == "before" {
					ro.Accept = func(context.Context, Offer) error { change(); return nil }
				} else {
					so.Trace.File = func(f File) {
						if f.Name == "b" {
							once.Do(change)
						}
					}
				}
				a, b := tcpPair(t)
				dir := t.TempDir()
				sent, received := both(t.Context(), a, b, src, dir, so, ro)
				wantIncomplete(t, sent.err, received.err, ErrSourceChanged, 3, "b")
				for name, data := range listing(t, dir) {
					if strings.HasSuffix(name, ".tcppunch-part") {
						continue
					}
					if want, ok := files[name]; !ok || name == "b" || !bytes.Equal(data, want) {
						t.Errorf("%q should not be there", name)
					}
				}
				if sent.sum.Files != 2 || received.sum.Files != 2 {
					t.Errorf("%+v; %+v", sent.sum, received.sum)
				}
			})
		}
	}
}

// What was left out when the files were listed fails both sides.
func TestLeftOut(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "d", "link")); err != nil {
		t.Skip(err)
	}
	write(t, filepath.Join(dir, "d"), map[string][]byte{"f": content(5)})
	src, err := Files(t.Context(), []string{filepath.Join(dir, "d")}, nil)
	if err != nil || len(src.Refused()) != 1 {
		t.Fatal(err, src.Refused())
	}
	a, b := tcpPair(t)
	out := t.TempDir()
	sent, received := both(t.Context(), a, b, src, out, nil, nil)
	for _, err := range []error{sent.err, received.err} {
		var inc *Incomplete
		if !errors.As(err, &inc) || inc.Count != 1 || inc.Of != 3 || !errors.Is(err, ErrLink) || !strings.Contains(err.Error(), "link") {
			t.Errorf("%v", err)
		}
	}
	wantTree(t, out, map[string][]byte{"d/f": content(5)})
}

// failingReader fails after some data.
type failingReader struct{ data io.Reader }

func (f *failingReader) Read(p []byte) (int, error) {
	n, err := f.data.Read(p)
	if err == io.EOF {
		err = errors.New("the pipe has burst")
	}
	return n, err
}

type failingWriter struct{ left int }

func (f *failingWriter) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errors.New("nobody reads")
	}
	return len(p), nil
}

func TestPipeFails(t *testing.T) {
	data := content(5*tree.BlockSize + 1)
	t.Run("reading", func(t *testing.T) {
		a, b := tcpPair(t)
		src := Stream(&failingReader{bytes.NewReader(data)}, "s")
		defer src.Close()
		sent, received := pair(t.Context(), a, b, src, IntoWriter(io.Discard), nil, nil)
		wantIncomplete(t, sent.err, received.err, nil, 1, "s")
	})
	t.Run("writing", func(t *testing.T) {
		a, b := tcpPair(t)
		src := Stream(bytes.NewReader(data), "s")
		defer src.Close()
		sent, received := pair(t.Context(), a, b, src, IntoWriter(&failingWriter{3 << 20}), nil, nil)
		wantIncomplete(t, received.err, sent.err, nil, 1, "s")
	})
	t.Run("a folder", func(t *testing.T) {
		a, b := tcpPair(t)
		src := offering(t, map[string][]byte{"a": nil, "b": nil})
		sent, received := pair(t.Context(), a, b, src, IntoWriter(io.Discard), nil, nil)
		wantFailure(t, received.err, sent.err, ErrRefused, "refused")
	})
	t.Run("bad name", func(t *testing.T) {
		a, b := tcpPair(t)
		src := Stream(bytes.NewReader(data), "../s")
		sent, received := pair(t.Context(), a, b, src, IntoWriter(io.Discard), nil, nil)
		wantFailure(t, sent.err, received.err, ErrName, "bad-name")
	})
}

func TestInterrupt(t *testing.T) {
	cause := errors.New("the person has pressed a key")
	for _, who := range []string{"sender", "receiver"} {
		t.Run(who, func(t *testing.T) {
			overAll(t, func(t *testing.T, a, b net.Conn) {
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				sctx, rctx := ctx, t.Context()
				if who == "receiver" {
					sctx, rctx = rctx, sctx
				}
				dst, err := Into(t.TempDir())
				if err != nil {
					t.Fatal(err)
				}
				defer dst.Close()
				trace := &Trace{Progress: func(int64, int64) { cancel(cause) }}
				src := offering(t, map[string][]byte{"f": content(40 << 20)})
				var sent, received error
				var wg sync.WaitGroup
				wg.Go(func() { _, sent = Send(sctx, a, src, &SendOptions{Trace: trace}); a.Close() })
				wg.Go(func() { _, received = Receive(rctx, b, dst, nil); b.Close() })
				wg.Wait()
				local, remote := sent, received
				if who == "receiver" {
					local, remote = remote, local
				}
				wantFailure(t, local, remote, context.Canceled, "interrupted")
				if !errors.Is(local, cause) || !errors.Is(remote, ErrInterrupted) {
					t.Errorf("%v; %v", local, remote)
				}
			})
		})
	}
}

// TestInterruptSlow: the word that ends a transfer is waited for though it stands behind
// seconds of data.
func TestInterruptSlow(t *testing.T) {
	t.Parallel()
	a, b := tcpPair(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	dst, err := Into(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	src := offering(t, map[string][]byte{"f": content(4 << 20)})
	var sent, received error
	var wg sync.WaitGroup
	wg.Go(func() {
		trace := &Trace{Progress: func(int64, int64) { cancel() }}
		_, sent = Send(ctx, slowConn{a, 200 << 10}, src, &SendOptions{Trace: trace, Compress: CompressOff})
		a.Close()
	})
	wg.Go(func() { _, received = Receive(t.Context(), b, dst, nil); b.Close() })
	wg.Wait()
	wantFailure(t, sent, received, context.Canceled, "interrupted")
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	paths := write(t, dir, map[string][]byte{"a": nil, "b": content(5)})
	tests := []struct {
		name  string
		paths []string
		want  error
		text  string
	}{
		{"none", nil, nil, ""},
		{"missing", []string{filepath.Join(dir, "missing")}, fs.ErrNotExist, "missing"},
		{"device", []string{os.DevNull}, ErrUnsupported, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src, err := Files(t.Context(), tt.paths, nil)
			if src != nil || err == nil || (tt.want != nil && !errors.Is(err, tt.want)) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("Files = %v, %v; want %v, %q", src, err, tt.want, tt.text)
			}
		})
	}
	src, err := Files(t.Context(), paths, nil)
	if err != nil {
		t.Fatal(err)
	}
	if o := src.Offer(); o.Files != 2 || o.Bytes != 5 || o.ID == ([16]byte{}) {
		t.Errorf("Offer = %+v", o)
	}
}

func TestSameRole(t *testing.T) {
	overAll(t, func(t *testing.T, a, b net.Conn) {
		var errs [2]error
		var wg sync.WaitGroup
		for i, c := range []net.Conn{a, b} {
			wg.Go(func() { _, errs[i] = Receive(t.Context(), c, IntoWriter(io.Discard), nil); c.Close() })
		}
		wg.Wait()
		for _, err := range errs {
			if !errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), "both sides want to receive") {
				t.Errorf("Receive: %v", err)
			}
		}
	})
}

func TestPeerGone(t *testing.T) {
	overAll(t, func(t *testing.T, a, b net.Conn) {
		cut := &Trace{Progress: func(int64, int64) { a.Close(); b.Close() }}
		sent, received := both(t.Context(), a, b, offering(t, map[string][]byte{"f": content(20 << 20)}), t.TempDir(), &SendOptions{Trace: cut}, nil)
		for _, err := range []error{sent.err, received.err} {
			if !errors.Is(err, ErrPeerGone) || Code(err) != "peer-gone" {
				t.Errorf("error = %v", err)
			}
		}
	})
}

// A peer that says nothing at all, not even that it lives.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		start := time.Now()
		_, err := Receive(t.Context(), b, IntoWriter(io.Discard), nil)
		if took := time.Since(start); !errors.Is(err, ErrPeerGone) || took < 10*time.Second || took > 15*time.Second {
			t.Errorf("Receive: %v after %v", err, took)
		}
	})
}

// A person may think for an hour, and the heartbeats keep both sides up.
func TestSlowPerson(t *testing.T) {
	data := content(100)
	var out bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		think := func(context.Context, Offer) error { time.Sleep(time.Hour); return nil }
		src := Stream(bytes.NewReader(data), "s")
		sent, received := pair(t.Context(), a, b, src, IntoWriter(&out), nil, &ReceiveOptions{Accept: think})
		if sent.err != nil || received.err != nil {
			t.Errorf("Send: %v; Receive: %v", sent.err, received.err)
		}
		if sent.sum.Elapsed > time.Minute {
			t.Errorf("the person's time counts: %+v", sent.sum)
		}
	})
	if !bytes.Equal(out.Bytes(), data) {
		t.Errorf("%d bytes came out", out.Len())
	}
}
