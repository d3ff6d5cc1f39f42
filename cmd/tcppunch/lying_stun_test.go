package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/pion/stun/v4"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

// TestLyingSTUN: a server whose STUN says that both sides are where the attacker
// is brings them there, and nothing more.
func TestLyingSTUN(t *testing.T) {
	t.Parallel()
	behaviours := strangers(t)
	for _, name := range []string{"TLS client, then nothing", "TLS server, nominates"} {
		behave := behaviours[name]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			top := twoNATs(natlab.NAT{}, natlab.NAT{})
			top.Hosts = append(top.Hosts, natlab.Host{Name: "c", Addr: netip.MustParseAddr(attacker)})
			p := newMeetingPlaceIn(t, top)
			serveLyingSTUN(t, p.server.host)
			var c stranger
			c.listen(t, p.lab.Host("c"), behave)
			liar := "--stun=" + serverAddr + ":99"
			send := p.a.start("send", liar, "--timeout=10s", p.a.secretFile("file.txt", 10))
			code := send.code()
			recv := p.b.start("recv", code, liar, "--timeout=10s", "--out=out")
			for _, x := range []*peer{send, recv} {
				x.wantFailure(statusNoPath, "no-path")
				if _, ok := x.find("connected"); ok {
					t.Errorf("%s: connected", x.name)
				}
			}
			wantOnly(t, p.b.dir)
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.conns == 0 {
				t.Error("nobody called the attacker: nothing was tested")
			}
			if bytes.Contains(c.heard.Bytes(), []byte(secret)) {
				t.Error("the attacker got the file")
			}
		})
	}
}

// serveLyingSTUN tells everybody that they are where the attacker listens.
func serveLyingSTUN(t *testing.T, host *natlab.Machine) {
	t.Helper()
	ln, err := host.Listen("tcp", ":99")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	answer := func(conn net.Conn) {
		defer conn.Close()
		for {
			req := &stun.Message{Raw: make([]byte, 20)}
			if _, err := io.ReadFull(conn, req.Raw); err != nil {
				return
			}
			body := make([]byte, binary.BigEndian.Uint16(req.Raw[2:]))
			if _, err := io.ReadFull(conn, body); err != nil {
				return
			}
			req.Raw = append(req.Raw, body...)
			if req.Decode() != nil {
				return
			}
			res, err := stun.Build(req, stun.BindingSuccess, &stun.XORMappedAddress{IP: net.ParseIP(attacker), Port: 7070})
			if err != nil {
				return
			}
			conn.Write(res.Raw) //nolint:errcheck // it may have closed
		}
	}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go answer(conn)
		}
	}()
}
