package kcpconn

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

func TestSecrets(t *testing.T) {
	client := newSecrets(&Config{ID: 7, Key: []byte("k"), Client: true})
	server := newSecrets(&Config{ID: 7, Key: []byte("k")})
	if client.conv != server.conv || byte(client.conv)>>6 != 2 || byte(client.tag)>>6 != 3 {
		t.Errorf("conv %x and %x, tag %x", client.conv, server.conv, client.tag)
	}
	d := client.seal(nil, pong, []byte("12345678"))
	k, body, newest, ok := server.open(d)
	if k != pong || string(body) != "12345678" || !newest || !ok {
		t.Errorf("opened %d %q %v %v", k, body, newest, ok)
	}
	tests := []struct {
		name string
		d    []byte
		to   *secrets
	}{
		{"again", d, server},
		{"to its sender", client.seal(nil, ping, nil), client},
		{"of another stream", client.seal(nil, ping, nil), newSecrets(&Config{ID: 8, Key: []byte("k")})},
		{"of another key", client.seal(nil, ping, nil), newSecrets(&Config{ID: 7, Key: []byte("l")})},
		{"of an unknown kind", client.seal(nil, kinds, nil), server},
		{"short", client.seal(nil, ping, nil)[:controlSize-1], server},
	}
	for _, tt := range tests {
		if _, _, _, ok := tt.to.open(tt.d); ok {
			t.Errorf("a datagram %s was accepted", tt.name)
		}
	}
	for i := range len(d) {
		c := client.seal(nil, pong, []byte("12345678"))
		c[i] ^= 4
		if _, _, _, ok := server.open(c); ok {
			t.Errorf("accepted with byte %d changed", i)
		}
	}
}

func TestReplay(t *testing.T) {
	var r replay
	for _, tt := range []struct {
		n          uint64
		newest, ok bool
	}{
		{0, false, false}, {1, true, true}, {1, false, false}, {3, true, true}, {2, false, true}, {2, false, false},
		{100, true, true}, {36, false, false}, {37, false, true}, {3, false, false}, {99, false, true}, {1 << 60, true, true}, {100, false, false},
	} {
		if newest, ok := r.take(tt.n); newest != tt.newest || ok != tt.ok {
			t.Errorf("%d: got %v %v, want %v %v", tt.n, newest, ok, tt.newest, tt.ok)
		}
	}
}

func segment(conv uint32, h header, data []byte) []byte {
	b := make([]byte, headerSize, headerSize+len(data))
	h.data = len(data)
	h.put(b, conv)
	return append(b, data...)
}

func FuzzSegment(f *testing.F) {
	f.Add(segment(0x80, header{cmd: cmdPush, sn: 1}, []byte("hello\x10")))
	f.Add(segment(0x80, header{cmd: cmdAck, sn: 1, una: 2, ts: 3, wnd: 4}, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, ok := parseSegment(b, 0x80)
		if !ok {
			return
		}
		if again := segment(0x80, h, b[headerSize:n]); !bytes.Equal(again, b[:n]) {
			t.Errorf("%x became %x", b[:n], again)
		}
	})
}

func FuzzControl(f *testing.F) {
	cfg := &Config{ID: 7, Key: []byte("k"), Client: true}
	f.Add(newSecrets(cfg).seal(nil, probe, make([]byte, 1000)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, body, _, ok := newSecrets(&Config{ID: 7, Key: []byte("k")}).open(b); ok && (k >= kinds || len(body) != len(b)-controlSize) {
			t.Errorf("kind %d, body %d of %d", k, len(body), len(b))
		}
	})
}

// Whatever arrives, a stream neither breaks, nor takes much memory, nor does it
// say much. The first byte of each piece says how to make a datagram of it: as
// it is, as a segment with our tag, or as a control datagram that is authentic.
func FuzzInput(f *testing.F) {
	f.Add([]byte("\x00hello"), true)
	f.Add(append([]byte{1, 0, 0, 0, 0}, segment(0, header{cmd: cmdPush, sn: 1}, []byte("hello\x10"))...), true)
	f.Add(append([]byte{1, 0, 0, 0, 0}, segment(0, header{cmd: cmdPush, sn: 0}, []byte("\x11"))...), false)
	f.Add(append([]byte{1, 0, 0, 0, 0}, segment(0, header{cmd: cmdAck, sn: 0, una: 3, ts: 1 << 31}, nil)...), true)
	f.Add(append([]byte{1, 0, 0, 0, 0}, segment(0, header{cmd: cmdAsk, una: 1 << 31}, nil)...), true)
	for k := range kinds {
		f.Add([]byte{2, byte(k), 1, 2, 3, 4, 5, 6, 7, 8}, true)
	}
	f.Fuzz(func(t *testing.T, script []byte, busy bool) {
		synctest.Test(t, func(t *testing.T) {
			p := newPath(t, link{delay: time.Millisecond})
			c := newConn(p.ends[0], p.ends[1].addr, &Config{ID: 7, Key: []byte("k"), Client: true})
			defer c.Discard()
			if busy {
				c.Write(make([]byte, 5000)) //nolint:errcheck // a test
				time.Sleep(time.Millisecond)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			other := newSecrets(&Config{ID: 7, Key: []byte("k")})
			pieces := bytes.Split(script, []byte("\xff\xfe"))
			for i, piece := range pieces {
				if len(piece) < 2 {
					continue
				}
				d := bytes.Clone(piece[1:])
				switch piece[0] % 3 {
				case 1:
					if len(d) < 4 {
						continue
					}
					d = d[4:]
					for rest := d; len(rest) >= headerSize; {
						binary.LittleEndian.PutUint32(rest, c.secrets.conv)
						_, n, ok := parseSegment(rest, c.secrets.conv)
						if !ok {
							break
						}
						rest = rest[n:]
					}
				case 2:
					d = other.seal(nil, kind(d[0]&15), d[1:])
				}
				from := p.ends[1].addr
				if i%5 == 4 {
					from = p.ends[0].addr
				}
				c.Input(d, from)
				if i%3 == 2 {
					c.Flush()
				}
			}
			c.Flush()
			time.Sleep(10 * time.Millisecond)
			c.mu.Lock()
			_, _ = c.take(make([]byte, 100))
			c.mu.Unlock()
			runtime.ReadMemStats(&after)
			if grown := int64(after.TotalAlloc - before.TotalAlloc); grown > 4<<20+int64(len(script))*20000 {
				t.Errorf("%d bytes of input took %d", len(script), grown)
			}
		})
	})
}
