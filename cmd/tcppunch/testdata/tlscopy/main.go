// Command tlscopy sends bytes from one process to another by crypto/tls and nothing
// else: what a transfer is compared with.
//
//	tlscopy listen ADDR
//	tlscopy dial ADDR BYTES
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
)

const block = 1 << 20

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "listen":
		return receive(args[1])
	case len(args) == 3 && args[0] == "dial":
		n, err := strconv.ParseInt(args[2], 10, 64)
		if err != nil {
			return err
		}
		return send(args[1], n)
	}
	return errors.New("usage: tlscopy listen ADDR | dial ADDR BYTES")
}

func receive(addr string) error {
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
	buf := make([]byte, block)
	for {
		if _, err := io.ReadFull(conn, buf); err != nil {
			return err
		}
		if buf[block-1] == 1 { // the last one
			_, err := conn.Write(buf[:1])
			return err
		}
	}
}

func send(addr string, n int64) error {
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
	buf := make([]byte, block)
	for left := n; left > 0; left -= block {
		if left <= block {
			buf[block-1] = 1
		}
		if _, err := conn.Write(buf); err != nil {
			return err
		}
	}
	if _, err := io.ReadFull(conn, buf[:1]); err != nil {
		return err
	}
	fmt.Println(time.Since(began).Seconds())
	return nil
}
