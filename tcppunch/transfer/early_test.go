package transfer

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/wire"
)

// spy tells when a frame of a kind is written.
type spy struct {
	net.Conn
	kind wire.Kind
	once sync.Once
	seen chan struct{}
}

func (s *spy) Write(p []byte) (int, error) {
	for b := p; len(b) >= wire.HeaderSize; {
		if wire.Kind(b[0]) == s.kind {
			s.once.Do(func() { close(s.seen) })
		}
		b = b[min(len(b), wire.HeaderSize+int(b[1])<<16+int(b[2])<<8+int(b[3])):]
	}
	return s.Conn.Write(p)
}

// The list does not wait for the person.
func TestEarlyPage(t *testing.T) {
	overAll(t, func(t *testing.T, a, b net.Conn) {
		files := map[string][]byte{"one": content(3 * mib), "two": content(5)}
		s := &spy{Conn: a, kind: wire.PageKind, seen: make(chan struct{})}
		ro := &ReceiveOptions{Accept: func(context.Context, Offer) error {
			select {
			case <-s.seen:
				return nil
			case <-time.After(10 * time.Second):
				return errors.New("no page came before the answer")
			}
		}}
		dir := t.TempDir()
		sent, received := both(t.Context(), s, b, offering(t, files), dir, nil, ro)
		if sent.err != nil || received.err != nil {
			t.Fatalf("Send: %v; Receive: %v", sent.err, received.err)
		}
		wantTree(t, dir, files)
	})
}

// A receiver that does not know of it gets none.
func TestNoEarlyPage(t *testing.T) {
	a, b := tcpPair(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := Send(t.Context(), a, offering(t, map[string][]byte{"f": content(5)}), nil)
		if !errors.As(err, new(*RemoteError)) {
			t.Errorf("Send: %v", err)
		}
		a.Close()
	})
	s := &spy{Conn: nowhere{}, kind: wire.PageKind, seen: make(chan struct{})}
	_, _ = b.Write(frHello(wire.RoleReceive))
	for last := wire.Kind(0); last != wire.ByeKind; {
		k, n, err := wire.ReadHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		body, err := wire.ReadBody(b, n)
		if err != nil {
			t.Fatal(err)
		}
		if last = k; k == wire.OfferKind {
			_, _ = b.Write(of(wire.FailKind, (&wire.Failure{Code: "refused"}).Append))
		}
		_, _ = s.Write(fr(k, body))
	}
	wg.Wait()
	select {
	case <-s.seen:
		t.Error("a page came before the answer")
	default:
	}
}

type nowhere struct{ net.Conn }

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }

// Nothing but one page may come before the answer.
func TestTooEarly(t *testing.T) {
	f := fileEntry("f", 1)
	for _, tt := range []struct {
		name string
		say  []byte
		text string
	}{
		{"two pages", slices.Concat(frPages(t, f), frPages(t, f)), "unexpected page"},
		{"block", slices.Concat(frPages(t, f), frBlock(0, 0, []byte{1})), "unexpected block"},
		{"end", slices.Concat(frPages(t, f), frEnd(0)), "unexpected end"},
		{"loss", slices.Concat(frPages(t, f), frLoss(wire.LostKind, 0)), "unexpected lost"},
		{"stream", slices.Concat(frPages(t, f), frStream(1)), "unexpected stream"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dst, err := Into(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer dst.Close()
			a, b := tcpPair(t)
			var wg sync.WaitGroup
			wg.Go(func() {
				_, err = Receive(t.Context(), b, dst, &ReceiveOptions{Accept: func(ctx context.Context, _ Offer) error {
					<-ctx.Done()
					return ctx.Err()
				}})
				b.Close()
			})
			told := play(a, say(frHello(wire.RoleSend), frOffer(t, f), tt.say)...)
			wg.Wait()
			if !errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("Receive: %v, want %q", err, tt.text)
			}
			if told == nil || told.Code != "protocol" {
				t.Errorf("the sender was told %v", told)
			}
		})
	}
}
