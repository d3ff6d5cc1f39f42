package transfer_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/tcppunch/tcppunch/tcppunch/transfer"
)

// Two programs, here two goroutines with a pipe between them.
func Example() {
	ctx := context.Background()
	here, _ := os.MkdirTemp("", "here")
	there, _ := os.MkdirTemp("", "there")
	defer os.RemoveAll(here)
	defer os.RemoveAll(there)
	path := filepath.Join(here, "notes.txt")
	_ = os.WriteFile(path, []byte("Do not forget the milk.\n"), 0o600)

	a, b := net.Pipe() // a *tls.Conn in real life
	defer a.Close()
	defer b.Close()

	var wg sync.WaitGroup
	wg.Go(func() {
		src, err := transfer.Files(ctx, []string{path}, nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		if _, err := transfer.Send(ctx, a, src, nil); err != nil {
			fmt.Println(err)
		}
	})

	dst, err := transfer.Into(there)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer dst.Close()
	sum, err := transfer.Receive(ctx, b, dst, &transfer.ReceiveOptions{
		Accept: func(_ context.Context, o transfer.Offer) error {
			for _, f := range o.First() {
				fmt.Println("offered:", transfer.Clean(f.Name), f.Size, "bytes")
			}
			return nil // or transfer.ErrRefused
		},
	})
	wg.Wait()
	fmt.Println("received:", sum.Files, "file,", sum.Bytes, "bytes,", err)
	data, _ := os.ReadFile(filepath.Join(there, "notes.txt"))
	fmt.Print(string(data))

	// Output:
	// offered: notes.txt 24 bytes
	// received: 1 file, 24 bytes, <nil>
	// Do not forget the milk.
}
