package pair_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/pair"
)

// What both sides run on every connection they get. The one that sends is the initiator here.
func Example() {
	authenticate := func(ctx context.Context, conn *tls.Conn, sending bool, own, peers string) error {
		secret, err := pair.NewSecret(own, peers)
		if err != nil {
			return err
		}
		state := conn.ConnectionState()
		exporter, err := state.ExportKeyingMaterial("EXPERIMENTAL example", nil, 32)
		if err != nil {
			return err
		}
		if err := (pair.Auth{Secret: secret}).Run(ctx, conn, sending, exporter); err != nil {
			return err // count it as a guess if pair.Guess(err)
		}
		if !secret.Empty() {
			return nil
		}
		words, err := pair.CheckWords(ctx, conn, sending, exporter)
		if err != nil {
			return err
		}
		return pair.Confirm(ctx, conn, func(context.Context) (bool, error) {
			fmt.Println("Does the other screen show", words, "too?")
			return true, nil
		})
	}
	_ = authenticate
}

// Both sides have the same words, typed differently.
func ExampleAuth() {
	a, b := net.Pipe()
	exporter := make([]byte, 32) // of the TLS connection in real life
	done := make(chan error)
	go func() {
		secret, _ := pair.NewSecret("ABDO yogurt", "")
		done <- pair.Auth{Secret: secret}.Run(context.Background(), a, true, exporter)
	}()
	secret, _ := pair.NewSecret("", "abdomen-yogurt")
	fmt.Println(pair.Auth{Secret: secret}.Run(context.Background(), b, false, exporter), <-done)
	// Output: <nil> <nil>
}

// Each side learns the other's key, and looks whether it knows it.
func ExampleIdentity_Introduce() {
	a, b := net.Pipe()
	exporter := make([]byte, 32) // of the TLS connection in real life
	anna, ben := pair.NewIdentity(), pair.NewIdentity()
	known := map[pair.PublicKey]string{ben.Public(): "Ben"} // from an earlier meeting
	go anna.Introduce(context.Background(), a, true, exporter, "anna")
	key, name, err := ben.Introduce(context.Background(), b, false, exporter, "ben")
	fmt.Println(key == anna.Public(), name, err)
	fmt.Println(known[ben.Public()], known[key] == "")
	// Output:
	// true anna <nil>
	// Ben true
}

func ExampleParseLine() {
	line, err := pair.ParseLine(" 203.0.113.10, 192.168.1.5:7071 / abdo YOGURT ")
	fmt.Println(line, err)
	_, err = pair.ParseLine("example.org:7070")
	fmt.Println(err)
	// Output:
	// 203.0.113.10:7070,192.168.1.5:7071/abdomen-yogurt <nil>
	// "example.org:7070" looks like a host name: give the IP address instead (an address line looks like 203.0.113.10:7070,192.168.1.5:7070/abdomen-yogurt-otter)
}

func ExampleLine() {
	line := pair.Line{Addrs: []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:7070")}, Words: "abdomen-yogurt"}
	fmt.Println(line)
	// Output: [2001:db8::1]:7070/abdomen-yogurt
}

func ExampleParseCode() {
	code, err := pair.ParseCode(" 4821 ABDO yog ")
	fmt.Println(code, err)
	fmt.Println("for the server:", code.Room())
	_, err = pair.ParseCode("4821-abdomen")
	fmt.Println(err)
	// Output:
	// 4821-abdomen-yogurt <nil>
	// for the server: 4821
	// code that is too easy to guess: two words or more must follow its first part (a code looks like 4821-otter-lamp)
}

// What both sides do when they have met in a room. The one that sends is the initiator here, and keeps the room.
func ExampleSeal() {
	var guesses pair.Guesses
	meet := func(ctx context.Context, room pair.Channel, code pair.Code, sending bool) (*pair.Sealed, error) {
		limited, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		sealed, err := pair.Seal(limited, room, code, sending)
		if err == nil {
			return sealed, nil // the Signaler of tcppunch.Config
		}
		pause, ended := guesses.Count(err)
		if ended != nil {
			return nil, ended
		}
		select { // send that peer away and go on, but not at once
		case <-time.After(pause):
			return nil, err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	_ = meet
}
