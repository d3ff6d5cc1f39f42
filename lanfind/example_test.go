package lanfind_test

import (
	"context"
	"fmt"
	"time"

	"github.com/tcppunch/tcppunch/lanfind"
)

// Who waits in room 4821?
func ExampleBrowse() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for event, err := range lanfind.Browse(ctx, &lanfind.Options{Room: "4821"}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(event.Kind, event.Peer.Name, event.Peer.Addrs) // found anna [10.0.1.1:7070 [fe80::1%eth0]:7070]
	}
}

// Announce until the program is interrupted.
func ExampleAnnounce() {
	ctx := context.Background()
	err := lanfind.Announce(ctx, &lanfind.Service{Name: "anna", Port: 7070}, nil)
	fmt.Println(err)
}
