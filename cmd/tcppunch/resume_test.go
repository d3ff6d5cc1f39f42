package main

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/pair"
	"github.com/tcppunch/tcppunch/tcppunch/transfer"
)

func TestKeyExchange(t *testing.T) {
	key := pair.Key{1, 2, 3}
	for _, c := range []struct {
		name string
		had  pair.Key
		want keyFlags
	}{
		{"new", pair.Key{}, 0},
		{"the same", key, flagSameKey},
		{"another", pair.Key{7}, flagOtherKey},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := net.Pipe()
			type answer struct {
				flags keyFlags
				err   error
			}
			got := make(chan answer)
			go func() {
				flags, err := giveKey(t.Context(), a, key, flagOnce)
				got <- answer{flags, err}
			}()
			var kept pair.Key
			flags, err := takeKey(t.Context(), b, c.had, 0, func(k pair.Key) { kept = k })
			if err != nil || flags != flagOnce || kept != key {
				t.Errorf("receiver: %v, flags %b, key right: %v", err, flags, kept == key)
			}
			if r := <-got; r.err != nil || r.flags != c.want {
				t.Errorf("sender: %v, flags %b, want %b", r.err, r.flags, c.want)
			}
			// Not a byte more was read.
			go a.Write([]byte("x"))
			if n, err := b.Read(make([]byte, 2)); n != 1 || err != nil {
				t.Errorf("read %d bytes, %v", n, err)
			}
		})
	}
}

// TestKeyExchangeHostile: whatever comes instead ends in an error of the right kind.
func TestKeyExchangeHostile(t *testing.T) {
	zeros := make([]byte, 64)
	good := append(keyMessage('S', 0), make([]byte, 32)...)
	good[keyHead] = 1
	cases := []struct {
		name  string
		sends bool // the one who is tested
		says  []byte
		want  error
	}{
		{"nothing", false, nil, transfer.ErrPeerGone},
		{"half", false, good[:20], transfer.ErrPeerGone},
		{"garbage", false, zeros, transfer.ErrVersion},
		{"a transfer", false, append([]byte{1, 0, 0, 9}, zeros...), transfer.ErrVersion},
		{"two receivers", false, keyMessage('R', 0), transfer.ErrProtocol},
		{"newer", false, append([]byte("tpkS\x02\x00"), zeros...), transfer.ErrVersion},
		{"zeros for a key", false, append(keyMessage('S', 0), zeros[:32]...), transfer.ErrProtocol},
		{"no answer", true, nil, transfer.ErrPeerGone},
		{"half an answer", true, keyMessage('R', 0)[:4], transfer.ErrPeerGone},
		{"two senders", true, good, transfer.ErrProtocol},
		{"unknown flags", true, keyMessage('R', 0xF0), nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a, b := net.Pipe()
			go func() {
				if c.sends {
					io.ReadFull(b, make([]byte, keyHead+32))
				}
				b.Write(c.says)
				b.Close()
			}()
			var err error
			if c.sends {
				_, err = giveKey(t.Context(), a, pair.Key{1}, 0)
			} else {
				_, err = takeKey(t.Context(), a, pair.Key{}, 0, func(pair.Key) { t.Error("a key was kept") })
			}
			if !errors.Is(err, c.want) || broken(err) != (c.want == transfer.ErrPeerGone) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	t.Run("Ctrl-C", func(t *testing.T) {
		a, _ := net.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Millisecond, cancel)
		if _, err := takeKey(ctx, a, pair.Key{}, 0, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

func FuzzKeyMessage(f *testing.F) {
	f.Add(append(keyMessage('S', 0), make([]byte, 32)...))
	f.Add(keyMessage('R', 3))
	f.Fuzz(func(t *testing.T, in []byte) {
		var key pair.Key
		for _, rest := range [][]byte{nil, key[:]} {
			for _, role := range []byte{'S', 'R'} {
				r := &limited{b: in}
				if _, err := readKeyMessage(r, role, rest); err == nil && string(in[:len(keyMagic)]) != keyMagic {
					t.Errorf("%q passes", in)
				}
				if r.read > keyHead+len(key) {
					t.Errorf("%d bytes were read", r.read)
				}
			}
		}
	})
}

// limited counts what is read.
type limited struct {
	b    []byte
	read int
}

func (l *limited) Read(b []byte) (int, error) {
	if l.read == len(l.b) {
		return 0, io.EOF
	}
	n := copy(b, l.b[l.read:])
	l.read += n
	return n, nil
}
