package transfer

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/manifest"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/wire"
)

// A sender that breaks off before it knows that all is in place comes again, and is told.
func TestUnheard(t *testing.T) {
	data := []byte("hello")
	tests := []struct {
		name   string
		entry  manifest.Entry
		then   []byte
		exists Policy
		before map[string][]byte
		after  map[string][]byte
	}{
		{"file", fileEntry("f", 5), nil, Keep, nil, map[string][]byte{"f": data}},
		{"renamed", fileEntry("f", 5), nil, Rename, map[string][]byte{"f": []byte("other")}, map[string][]byte{"f": []byte("other"), "f (2)": data}},
		{"stream", streamEntry, frFile(0, data), Keep, nil, map[string][]byte{"s": data}},
		{"empty", fileEntry("e", 0), nil, Keep, nil, map[string][]byte{"e": {}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out := t.TempDir()
			write(t, out, tt.before)
			dst, err := Into(out)
			if err != nil {
				t.Fatal(err)
			}
			defer dst.Close()
			accepted := 0
			receive := func(conn net.Conn) (sum Summary) {
				sum, err = Receive(t.Context(), conn, dst, &ReceiveOptions{Exists: tt.exists, Accept: func(context.Context, Offer) error { accepted++; return nil }})
				conn.Close()
				if err != nil {
					t.Error(err)
				}
				return sum
			}
			var sum Summary
			hello := turn{0, slices.Concat(frHello(wire.RoleSend), frOffer(t, tt.entry))}
			pages := turn{wire.AcceptKind, frPages(t, tt.entry)}
			all := slices.Concat(frBlock(0, 0, data), tt.then, frEnd(0))
			if tt.entry.Size == 0 {
				all = frEnd(0)
			}
			a, b := tcpPair(t)
			var wg sync.WaitGroup
			wg.Go(func() { sum = receive(b) })
			leave(a, wire.ResultKind, hello, pages, turn{wire.PlanKind, all})
			wg.Wait()
			if sum.Heard || sum.Files != 1 {
				t.Errorf("the first time: %+v", sum)
			}
			a, b = tcpPair(t)
			wg.Go(func() { sum = receive(b) })
			if told := play(a, hello, pages, turn{wire.PlanKind, frEnd(0)}, turn{wire.ResultKind, fr(wire.ByeKind)}); told != nil {
				t.Errorf("the second time: %v", told)
			}
			wg.Wait()
			if !sum.Heard || sum.Received != 0 {
				t.Errorf("the second time: %+v", sum)
			}
			if accepted != 1 {
				t.Errorf("accepted %d times", accepted)
			}
			wantTree(t, out, tt.after)
		})
	}
}

// leave is play of one who leaves when it hears a frame of a kind.
func leave(conn net.Conn, hears wire.Kind, turns ...turn) {
	play(&leaver{conn}, append(turns, turn{hears, []byte("leave")})...)
}

// leaver closes instead of its last words.
type leaver struct{ net.Conn }

func (l *leaver) Write(b []byte) (int, error) {
	if string(b) == "leave" {
		return 0, l.Conn.Close()
	}
	return l.Conn.Write(b)
}

// Silence ends a session at once: nobody is there to be told, and what comes after all
// would only be dropped, and sent again.
func TestSilenceEnds(t *testing.T) {
	dst, err := Into(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	a, b := tcpPair(t)
	defer a.Close()
	defer b.Close()
	if _, err := a.Write(frHello(wire.RoleSend)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, err = Receive(t.Context(), b, dst, &ReceiveOptions{IdleTimeout: 300 * time.Millisecond})
	if took := time.Since(began); !errors.Is(err, ErrPeerGone) || took > 1500*time.Millisecond {
		t.Errorf("Receive: %v, after %v", err, took)
	}
}
