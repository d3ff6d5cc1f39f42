package transfer

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
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

func TestRefused(t *testing.T) {
	overAll(t, func(t *testing.T, a, b net.Conn) {
		dir := t.TempDir()
		var got Offer
		refuse := func(_ context.Context, o Offer) error {
			got = o
			return errors.New("too large for me")
		}
		src := source(t, map[string][]byte{"a": content(10), "b": content(20)})
		sent, received := both(t.Context(), a, b, src, dir, nil, &ReceiveOptions{Accept: refuse})
		wantFailure(t, received.err, sent.err, ErrRefused, "refused")
		if !errors.Is(sent.err, ErrRefused) || !strings.Contains(sent.err.Error(), "too large for me") {
			t.Errorf("Send: %v", sent.err)
		}
		if got.Files != 2 || got.Bytes != 30 {
			t.Errorf("offer = %+v", got)
		}
		if sent.sum != (Summary{}) {
			t.Errorf("Summary = %+v", sent.sum)
		}
		wantTree(t, dir, nil)
	})
}

func TestExists(t *testing.T) {
	overAll(t, func(t *testing.T, a, b net.Conn) {
		dir := t.TempDir()
		old := map[string][]byte{"b": []byte("precious")}
		write(t, dir, old)
		src := source(t, map[string][]byte{"a": content(10), "b": content(20)})
		never := func(context.Context, Offer) error { t.Error("Accept called"); return nil }
		sent, received := both(t.Context(), a, b, src, dir, nil, &ReceiveOptions{Accept: never})
		wantFailure(t, received.err, sent.err, ErrExists, "exists")
		if !strings.Contains(sent.err.Error(), "b: exists already") {
			t.Errorf("Send: %v", sent.err)
		}
		wantTree(t, dir, old)
	})
}

func TestOverwrite(t *testing.T) {
	outside := t.TempDir()
	write(t, outside, map[string][]byte{"target": []byte("untouched")})
	tests := []struct {
		name  string
		there func(t *testing.T, path string)
		want  error
	}{
		{"nothing", func(*testing.T, string) {}, nil},
		{"file", func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, nil},
		{"link to elsewhere", func(t *testing.T, path string) {
			if err := os.Symlink(filepath.Join(outside, "target"), path); err != nil {
				t.Skip(err)
			}
		}, nil},
		{"directory", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o755); err != nil {
				t.Fatal(err)
			}
		}, ErrExists},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			tt.there(t, filepath.Join(dir, "f"))
			a, b := tcpPair(t)
			files := map[string][]byte{"f": content(1000)}
			sent, received := both(t.Context(), a, b, source(t, files), dir, nil, &ReceiveOptions{Overwrite: true})
			if !errors.Is(received.err, tt.want) || !errors.Is(sent.err, tt.want) {
				t.Fatalf("Send: %v; Receive: %v; want %v", sent.err, received.err, tt.want)
			}
			if tt.want == nil {
				wantTree(t, dir, files)
				if info, err := os.Lstat(filepath.Join(dir, "f")); err != nil || !info.Mode().IsRegular() {
					t.Errorf("not a regular file: %v, %v", info, err)
				}
			}
			wantTree(t, outside, map[string][]byte{"target": []byte("untouched")})
		})
	}
}

// What comes into the way after the offer was accepted is not replaced either,
// with Overwrite or without.
func TestExistsMeanwhile(t *testing.T) {
	for _, overwrite := range []bool{false, true} {
		dir := t.TempDir()
		var first sync.Once
		plant := &Trace{File: func(f File) {
			first.Do(func() { write(t, dir, map[string][]byte{"b": []byte("planted")}) })
		}}
		a, b := tcpPair(t)
		src := source(t, map[string][]byte{"a": content(10), "b": content(20)})
		sent, received := both(t.Context(), a, b, src, dir, nil, &ReceiveOptions{Trace: plant, Overwrite: overwrite})
		wantFailure(t, received.err, sent.err, ErrExists, "exists")
		if received.sum.Files != 1 {
			t.Errorf("Summary = %+v", received.sum)
		}
		wantTree(t, dir, map[string][]byte{"a": content(10), "b": []byte("planted")})
	}
}

func TestOutDirMissing(t *testing.T) {
	overAll(t, func(t *testing.T, a, b net.Conn) {
		dir := filepath.Join(t.TempDir(), "missing")
		sent, received := both(t.Context(), a, b, source(t, map[string][]byte{"a": nil}), dir, nil, nil)
		wantFailure(t, received.err, sent.err, fs.ErrNotExist, "failed")
		if strings.Contains(sent.err.Error(), dir) {
			t.Errorf("Send learns a path of the other side: %v", sent.err)
		}
	})
}

// interruptAt cancels as soon as the file starts.
func interruptAt(name string, cancel func()) *Trace {
	return &Trace{File: func(f File) {
		if f.Name == name {
			cancel()
		}
	}}
}

func TestInterrupted(t *testing.T) {
	files := map[string][]byte{"a": content(1000), "b": content(64 << 20)}
	for _, who := range []string{"sender", "receiver"} {
		t.Run(who, func(t *testing.T) {
			overAll(t, func(t *testing.T, a, b net.Conn) {
				src, dir := source(t, files), t.TempDir()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var sent, received result
				var wg sync.WaitGroup
				sctx, rctx, so, ro := ctx, t.Context(), &SendOptions{Trace: interruptAt("b", cancel)}, &ReceiveOptions{}
				if who == "receiver" {
					sctx, rctx, so, ro = t.Context(), ctx, &SendOptions{}, &ReceiveOptions{Trace: interruptAt("b", cancel)}
				}
				wg.Go(func() { sent.sum, sent.err = Send(sctx, a, src, so); a.Close() })
				wg.Go(func() { received.sum, received.err = Receive(rctx, b, dir, ro); b.Close() })
				wg.Wait()
				local, remote := sent.err, received.err
				if who == "receiver" {
					local, remote = remote, local
				}
				wantFailure(t, local, remote, context.Canceled, "interrupted")
				if !errors.Is(remote, ErrInterrupted) || errors.Is(local, ErrInterrupted) {
					t.Errorf("local: %v; remote: %v", local, remote)
				}
				wantTree(t, dir, map[string][]byte{"a": files["a"]})
			})
		})
	}
}

// A person who is still being asked learns that the sender has left.
func TestInterruptedWhileAsking(t *testing.T) {
	overAll(t, func(t *testing.T, a, b net.Conn) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var sent, received result
		var wg sync.WaitGroup
		wg.Go(func() { sent.sum, sent.err = Send(ctx, a, source(t, map[string][]byte{"a": nil}), nil); a.Close() })
		ask := func(ctx context.Context, _ Offer) error { cancel(); <-ctx.Done(); return ctx.Err() }
		received.sum, received.err = Receive(t.Context(), b, t.TempDir(), &ReceiveOptions{Accept: ask})
		b.Close()
		wg.Wait()
		wantFailure(t, sent.err, received.err, context.Canceled, "interrupted")
	})
}

func TestInterruptedBoth(t *testing.T) {
	overAll(t, func(t *testing.T, a, b net.Conn) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		dir := t.TempDir()
		sent, received := both(ctx, a, b, source(t, map[string][]byte{"b": content(8 << 20)}), dir,
			&SendOptions{Trace: interruptAt("b", cancel)}, nil)
		for _, err := range []error{sent.err, received.err} {
			if Code(err) != "interrupted" {
				t.Errorf("error = %v", err)
			}
		}
		wantTree(t, dir, nil)
	})
}

func TestInterruptedBefore(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("why")
	cancel(why)
	a, b := tcpPair(t)
	b.Close()
	if _, err := Send(ctx, a, source(t, map[string][]byte{"a": nil}), nil); !errors.Is(err, context.Canceled) || !errors.Is(err, why) {
		t.Errorf("Send: %v", err)
	}
}

func TestSourceChanged(t *testing.T) {
	const size = 16 << 20
	tests := []struct {
		name   string
		change func(path string) error
	}{
		{"shrinks", func(path string) error { return os.Truncate(path, size/2) }},
		{"grows", func(path string) error { return os.Truncate(path, size+1) }},
		{"touched", func(path string) error { return os.Chtimes(path, time.Now(), time.Now().Add(time.Hour)) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			overAll(t, func(t *testing.T, a, b net.Conn) {
				paths := write(t, t.TempDir(), map[string][]byte{"a": []byte("done"), "f": content(size)})
				src, err := Files(paths)
				if err != nil {
					t.Fatal(err)
				}
				dir := t.TempDir()
				change := &Trace{File: func(f File) {
					if f.Name == "f" { // of which a few blocks have been read ahead
						if err := tt.change(paths[1]); err != nil {
							t.Error(err)
						}
					}
				}}
				sent, received := both(t.Context(), a, b, src, dir, &SendOptions{Trace: change}, nil)
				wantFailure(t, sent.err, received.err, ErrSourceChanged, "source-changed")
				if strings.Contains(received.err.Error(), filepath.Dir(paths[1])) {
					t.Errorf("Receive learns a path of the other side: %v", received.err)
				}
				wantTree(t, dir, map[string][]byte{"a": []byte("done")})
			})
		})
	}
	t.Run("vanishes", func(t *testing.T) {
		a, b := tcpPair(t)
		paths := write(t, t.TempDir(), map[string][]byte{"f": content(10)})
		src, err := Files(paths)
		if err != nil {
			t.Fatal(err)
		}
		remove := func(context.Context, Offer) error { return os.Remove(paths[0]) }
		sent, received := both(t.Context(), a, b, src, t.TempDir(), nil, &ReceiveOptions{Accept: remove})
		wantFailure(t, sent.err, received.err, ErrSourceChanged, "source-changed")
	})
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	paths := write(t, dir, map[string][]byte{"a": nil, "b": content(5), "bad\x1bname": nil})
	for _, sub := range []string{"one", "two"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	same := append(write(t, filepath.Join(dir, "one"), map[string][]byte{"x": nil}),
		write(t, filepath.Join(dir, "two"), map[string][]byte{"X": nil})...)
	tests := []struct {
		name  string
		paths []string
		want  error
		text  string
	}{
		{"none", nil, nil, "no files"},
		{"missing", []string{filepath.Join(dir, "missing")}, fs.ErrNotExist, "missing"},
		{"directory", []string{dir}, errors.ErrUnsupported, "directories are not supported yet"},
		{"device", []string{os.DevNull}, errors.ErrUnsupported, "not a regular file"},
		{"bad name", paths[2:], ErrName, "invisible character"},
		{"same name", same, ErrName, "two files"},
		{"same file", []string{paths[0], paths[0]}, ErrName, "two files"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src, err := Files(tt.paths)
			if src != nil || err == nil || (tt.want != nil && !errors.Is(err, tt.want)) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("Files = %v, %v; want %v, %q", src, err, tt.want, tt.text)
			}
		})
	}
	src, err := Files(paths[:2])
	if err != nil {
		t.Fatal(err)
	}
	if o := src.Offer(); o.Files != 2 || o.Bytes != 5 {
		t.Errorf("Offer = %+v", o)
	}
}

func TestSameRole(t *testing.T) {
	overAll(t, func(t *testing.T, a, b net.Conn) {
		var errs [2]error
		var wg sync.WaitGroup
		for i, c := range []net.Conn{a, b} {
			wg.Go(func() { _, errs[i] = Receive(t.Context(), c, t.TempDir(), nil); c.Close() })
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
		dir := t.TempDir()
		cut := &Trace{Progress: func(int64, int64) { a.Close(); b.Close() }}
		sent, received := both(t.Context(), a, b, source(t, map[string][]byte{"f": content(8 << 20)}), dir, &SendOptions{Trace: cut}, nil)
		for _, err := range []error{sent.err, received.err} {
			if !errors.Is(err, ErrPeerGone) || Code(err) != "peer-gone" {
				t.Errorf("error = %v", err)
			}
		}
		wantTree(t, dir, nil)
	})
}

// A peer that says nothing at all, not even that it lives.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		start := time.Now()
		_, err := Receive(t.Context(), b, t.TempDir(), nil)
		if took := time.Since(start); !errors.Is(err, ErrPeerGone) || took < defaultIdle || took > defaultIdle+5*time.Second {
			t.Errorf("Receive: %v after %v", err, took)
		}
	})
}

// A person may think for an hour, and the heartbeats keep both sides up.
func TestSlowPerson(t *testing.T) {
	files := map[string][]byte{"f": content(100)}
	src := source(t, files)
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		think := func(context.Context, Offer) error { time.Sleep(time.Hour); return nil }
		sent, received := both(t.Context(), a, b, src, dir, nil, &ReceiveOptions{Accept: think})
		if sent.err != nil || received.err != nil {
			t.Errorf("Send: %v; Receive: %v", sent.err, received.err)
		}
		if sent.sum.Elapsed > time.Minute {
			t.Errorf("the person's time counts: %+v", sent.sum)
		}
	})
	wantTree(t, dir, files)
}
