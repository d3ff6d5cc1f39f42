// Command tlscopy sends bytes from one process to another by crypto/tls: what a transfer is
// compared with.
//
//	tlscopy listen ADDR BYTES [FILE]
//	tlscopy dial ADDR BYTES [FILE]
//
// Without files the bytes are the same block again and again, and nothing is done with
// them. With a file on both sides it does what no transfer can do without, and no more:
// dial reads the file and hashes it, listen hashes what comes and writes it, block by
// block, side by side with encrypting and decrypting; nobody looks at the hashes, and
// nothing is made durable.
//
// dial prints how many seconds passed from the handshake until the other side had all.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"strconv"
	"time"

	"github.com/zeebo/blake3"
	"golang.org/x/sync/errgroup"
)

const (
	block   = 1 << 20
	buffers = 6 // that go round where there are files
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 && len(args) != 4 {
		return errors.New("usage: tlscopy listen|dial ADDR BYTES [FILE]")
	}
	bytes, err := strconv.ParseInt(args[2], 10, 64)
	if err != nil || bytes%block != 0 {
		return fmt.Errorf("%q is not so many whole blocks of %d bytes", args[2], block)
	}
	file := ""
	if len(args) == 4 {
		file = args[3]
	}
	if args[0] == "listen" {
		return receive(args[1], bytes/block, file)
	}
	return send(args[1], bytes/block, file)
}

func receive(addr string, blocks int64, file string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return err
	}
	ln, err := tls.Listen("tcp", addr, &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	})
	if err != nil {
		return err
	}
	conn, err := ln.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	take := func(b []byte, _ int64) error {
		_, err := io.ReadFull(conn, b)
		return err
	}
	if file == "" {
		err = alone(blocks, take)
	} else {
		err = into(file, blocks, take)
	}
	if err != nil {
		return err
	}
	_, err = conn.Write([]byte{1})
	return err
}

// into hashes and writes what take takes, in two goroutines.
func into(file string, blocks int64, take step) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return sideBySide(blocks, take, 2, func(b []byte, n int64) error {
		blake3.Sum256(b)
		_, err := f.WriteAt(b, n*block)
		return err
	})
}

func send(addr string, blocks int64, file string) error {
	var conn *tls.Conn
	var err error
	for range 100 { // the other side may not be there yet
		conn, err = tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}) //nolint:gosec // it is only about speed
		if err == nil {
			break
		}
		<-time.After(20 * time.Millisecond)
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	began := time.Now()
	put := func(b []byte, _ int64) error {
		_, err := conn.Write(b)
		return err
	}
	if file == "" {
		err = alone(blocks, put)
	} else {
		err = from(file, blocks, put)
	}
	if err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		return err
	}
	fmt.Println(time.Since(began).Seconds())
	return nil
}

// from reads and hashes what put puts.
func from(file string, blocks int64, put step) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return sideBySide(blocks, func(b []byte, n int64) error {
		_, err := f.ReadAt(b, n*block)
		blake3.Sum256(b)
		return err
	}, 1, put)
}

// A step does something with a block, which has a number.
type step func(b []byte, n int64) error

func alone(blocks int64, do step) error {
	b := make([]byte, block)
	for n := range blocks {
		if err := do(b, n); err != nil {
			return err
		}
	}
	return nil
}

// sideBySide fills one block after the other, and has others use them meanwhile.
func sideBySide(blocks int64, fill step, users int, use step) error {
	type item struct {
		b []byte
		n int64
	}
	free, full := make(chan []byte, buffers), make(chan item, buffers)
	for range buffers {
		free <- make([]byte, block)
	}
	var g errgroup.Group
	for range users {
		g.Go(func() error {
			var err error
			for i := range full {
				if err == nil {
					err = use(i.b, i.n)
				}
				free <- i.b
			}
			return err
		})
	}
	g.Go(func() error {
		defer close(full)
		for n := range blocks {
			b := <-free
			if err := fill(b, n); err != nil {
				return err
			}
			full <- item{b, n}
		}
		return nil
	})
	return g.Wait()
}
