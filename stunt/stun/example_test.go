package stun_test

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/tcppunch/tcppunch/stunt/stun"
)

func ExampleQuery() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	served := make(chan error)
	go func() { served <- new(stun.Server).Serve(ctx, ln) }()

	conn, err := net.Dial("tcp", ln.Addr().String()) // from the port that is about to punch
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close() // not before the punch is over
	res, err := stun.Query(ctx, conn)
	fmt.Println(res.Mapped.String() == conn.LocalAddr().String(), err)
	cancel()
	fmt.Println(<-served)
	// Output:
	// true <nil>
	// <nil>
}
