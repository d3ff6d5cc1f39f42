package bench_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/bench"
)

// Two programs that have a connection, here two goroutines. They measure another one
// that they make for it: one listens, tells the other where, and the other dials.
func Example() {
	ctx := context.Background()
	dial := func(ctx context.Context, s *bench.Signals) (net.Conn, error) {
		if s.First() {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return nil, err
			}
			defer ln.Close()
			if err := s.Send(ctx, []byte(ln.Addr().String())); err != nil {
				return nil, err
			}
			return ln.Accept() // a real program also asks who it is, and minds ctx
		}
		addr, err := s.Recv(ctx)
		if err != nil {
			return nil, err
		}
		var d net.Dialer
		return d.DialContext(ctx, "tcp", string(addr))
	}
	opt := &bench.Options{
		Time:       200 * time.Millisecond,
		Transports: []bench.Transport{{Name: "tcp", Dial: dial}},
	}

	a, b := net.Pipe() // in real life a connection that the two trust
	defer a.Close()
	defer b.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := bench.Run(ctx, b, opt); err != nil {
			fmt.Println(err)
		}
	})
	report, err := bench.Run(ctx, a, opt)
	wg.Wait()
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range report.Results {
		fmt.Println(r.Transport, "sent more than 10 Mbit/s:", r.Sent.Rate() > 10e6)
		fmt.Println(r.Transport, "received more than 10 Mbit/s:", r.Received.Rate() > 10e6)
		fmt.Println("round trips under load:", r.Sent.Loaded.Count > 0)
	}
	// Output:
	// tcp sent more than 10 Mbit/s: true
	// tcp received more than 10 Mbit/s: true
	// round trips under load: true
}
