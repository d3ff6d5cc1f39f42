// Command tlscopy sends bytes from one process to another by crypto/tls: what a transfer is
// compared with.
//
//	tlscopy listen|dial ADDR BYTES              the same block again and again, which nobody looks at
//	tlscopy listen|dial ADDR BYTES FILE         a file, by io.Copy, into another one
//	tlscopy listen|dial ADDR BYTES FILE hashed  what no transfer can do without, and no more
//
// The last one reads and hashes a file on the one side, and hashes and writes it on the
// other, block by block, side by side with encrypting and decrypting; nobody looks at the
// hashes. It takes blocks of 1 MiB, where io.Copy takes 32 KiB. Nothing is made durable.
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
	"net"
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
	if len(args) < 3 {
		return errors.New("usage: tlscopy listen|dial ADDR BYTES [FILE [hashed]]")
	}
	bytes, err := strconv.ParseInt(args[2], 10, 64)
	if err != nil || bytes%block != 0 {
		return fmt.Errorf("%q is not so many whole blocks of %d bytes", args[2], block)
	}
	job := job{bytes: bytes, hashed: len(args) > 4}
	if len(args) > 3 {
		job.file = args[3]
	}
	if args[0] == "listen" {
		return listen(args[1], job)
	}
	return dial(args[1], job)
}

type job struct {
	bytes  int64
	file   string // or ""
	hashed bool
}

func listen(addr string, j job) error {
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
	if err := receive(conn, j); err != nil {
		return err
	}
	_, err = conn.Write([]byte{1})
	return err
}

func receive(conn net.Conn, j job) error {
	take := func(b []byte, _ int64) error {
		_, err := io.ReadFull(conn, b)
		return err
	}
	if j.file == "" {
		return alone(j.bytes, take)
	}
	f, err := os.Create(j.file)
	if err != nil {
		return err
	}
	defer f.Close()
	if !j.hashed {
		_, err := io.CopyN(f, conn, j.bytes)
		return err
	}
	return sideBySide(j.bytes, take, 2, func(b []byte, n int64) error {
		blake3.Sum256(b)
		_, err := f.WriteAt(b, n*block)
		return err
	})
}

func dial(addr string, j job) error {
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
	if err := send(conn, j); err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		return err
	}
	fmt.Println(time.Since(began).Seconds())
	return nil
}

func send(conn net.Conn, j job) error {
	put := func(b []byte, _ int64) error {
		_, err := conn.Write(b)
		return err
	}
	if j.file == "" {
		return alone(j.bytes, put)
	}
	f, err := os.Open(j.file)
	if err != nil {
		return err
	}
	defer f.Close()
	if !j.hashed {
		_, err := io.CopyN(conn, f, j.bytes)
		return err
	}
	return sideBySide(j.bytes, func(b []byte, n int64) error {
		_, err := f.ReadAt(b, n*block)
		blake3.Sum256(b)
		return err
	}, 1, put)
}

// A step does something with a block, which has a number.
type step func(b []byte, n int64) error

func alone(bytes int64, do step) error {
	b := make([]byte, block)
	for n := range bytes / block {
		if err := do(b, n); err != nil {
			return err
		}
	}
	return nil
}

// sideBySide fills one block after the other, and has others use them meanwhile.
func sideBySide(bytes int64, fill step, users int, use step) error {
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
		for n := range bytes / block {
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
