package tcppunch_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch"
	"github.com/tcppunch/tcppunch/tcppunch/pair"
)

// authenticate lets nobody in who does not know the words, nor try without end.
func authenticate(side tcppunch.Side, words string) func(context.Context, net.Conn, []byte) error {
	var unproven atomic.Int32
	return func(ctx context.Context, conn net.Conn, exporter []byte) error {
		secret, err := pair.NewSecret("", words)
		if err != nil {
			return err
		}
		err = pair.Auth{Secret: secret}.Run(ctx, conn, side == tcppunch.SideA, exporter)
		if errors.Is(err, pair.ErrWrongWords) || pair.Guess(err) && unproven.Add(1) > 16 {
			return fmt.Errorf("%w: %w", tcppunch.ErrRejected, err)
		}
		return err
	}
}

// Two programs that know each other's address and three words. Here both run in
// one process; between two homes only the addresses differ.
func ExampleDial() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	go func() { // the other program
		conn, err := tcppunch.Dial(ctx, &tcppunch.Config{
			Side: tcppunch.SideB,
			Port: 27080,
			Peer: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:27070")},
			Auth: authenticate(tcppunch.SideB, "otter-lamp-sofa"),
		})
		if err != nil {
			fmt.Println(err)
			return
		}
		defer conn.Close()
		fmt.Fprintln(conn, "Hello from the other side.")
	}()

	conn, err := tcppunch.Dial(ctx, &tcppunch.Config{
		Side: tcppunch.SideA,
		Port: 27070,
		Peer: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:27080")},
		Auth: authenticate(tcppunch.SideA, "otter-lamp-sofa"),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	fmt.Println("connected by", conn.Path().Network)
	io.Copy(os.Stdout, conn) //nolint:errcheck // an example
	// Output:
	// connected by tcp
	// Hello from the other side.
}

// A room is a Signaler made of two channels. A real one is a chat, a WebSocket, or
// whatever carries a few short messages and is known to come from the peer.
type room struct {
	out chan<- []byte
	in  <-chan []byte
}

func (r room) Send(ctx context.Context, msg []byte) error {
	select {
	case r.out <- msg:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r room) Recv(ctx context.Context) ([]byte, error) {
	select {
	case msg := <-r.in:
		return msg, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// With a room neither program knows an address: they exchange what STUN servers
// tell them, and the room vouches for the peer.
func ExampleSignaler() {
	ab, ba := make(chan []byte), make(chan []byte)
	dial := func(side tcppunch.Side, r room) (*tcppunch.Conn, error) {
		return tcppunch.Dial(context.Background(), &tcppunch.Config{
			Side: side, Signaler: r, STUN: []string{"stun.example.org:3478"},
		})
	}
	go dial(tcppunch.SideB, room{ba, ab}) //nolint:errcheck // an example
	conn, err := dial(tcppunch.SideA, room{ab, ba})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(conn.Path())
}
