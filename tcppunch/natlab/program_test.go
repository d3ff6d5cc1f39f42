//go:build linux

package natlab_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

func TestRun(t *testing.T) {
	lab := natlab.New(t, twoPublic(natlab.Link{}))
	r := lab.Host("a").Run("sh", "-c", "ip -o -4 addr show dev eth0; echo complaint >&2; exit 7")
	if !strings.Contains(r.Stdout, "198.51.100.10") || r.Stderr != "complaint\n" || r.Code != 7 || r.Err == nil {
		t.Errorf("got %+v", r)
	}
	if r := lab.Host("s").Run("true"); r.Code != 0 || r.Err != nil {
		t.Errorf("got %+v", r)
	}
}

func TestStart(t *testing.T) {
	lab := natlab.New(t, twoPublic(natlab.Link{}))
	p := lab.Host("a").Start("sh", "-c", `trap "echo bye; exit 3" INT; echo ready; while :; do sleep 0.05; done`)
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	if _, err := p.Stdout.WaitFor(ctx, func(s string) bool { return strings.Contains(s, "ready\n") }); err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	if r := p.Wait(); r.Code != 3 || r.Stdout != "ready\nbye\n" {
		t.Errorf("got %+v", r)
	}
	if err := p.Signal(os.Interrupt); err == nil {
		t.Error("a program that has ended takes a signal")
	}
	if text, err := p.Stdout.WaitFor(ctx, func(s string) bool { return false }); err == nil || text != "ready\nbye\n" {
		t.Errorf("waiting for output of a program that has ended: %q, %v", text, err)
	}
	killed := lab.Host("a").Start("sleep", "1000")
	killed.Kill()
	<-killed.Done()
	if r := killed.Wait(); r.Code != -1 {
		t.Errorf("got %+v", r)
	}
}

func TestCommand(t *testing.T) {
	lab := natlab.New(t, twoPublic(natlab.Link{}))
	dir := t.TempDir()
	c := lab.Host("a").Command(t.Context(), "sh", "-c", "pwd; echo $COLOUR; cat; echo oops >&2")
	c.Dir, c.Env, c.Stdin = dir, []string{"COLOUR=green", "PATH=" + os.Getenv("PATH")}, strings.NewReader("input\n")
	out, err := c.CombinedOutput()
	if want := dir + "\ngreen\ninput\noops\n"; err != nil || string(out) != want {
		t.Errorf("got %q, %v, want %q", out, err, want)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	c = lab.Host("a").Command(ctx, "sh", "-c", "sleep 1000; true")
	begin := time.Now()
	if err := c.Run(); err == nil || time.Since(begin) > within {
		t.Errorf("a program whose context has ended: %v after %v", err, time.Since(begin))
	}
	c = lab.Host("a").Command(t.Context(), "ip", "addr")
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if out, err := c.Output(); err != nil || !bytes.Contains(out, []byte("eth0")) {
		t.Errorf("a program with a session of its own: %s, %v", out, err)
	}
}

// TestTransfer sends data over every kind of device and NAT and compares it.
func TestTransfer(t *testing.T) {
	data := make([]byte, 4<<20)
	_, _ = rand.Read(data)
	for name, device := range map[string]natlab.Device{"auto": natlab.Auto, "tun": natlab.Tun, "veth": natlab.Veth} {
		if f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0); err == nil {
			f.Close()
		} else if device == natlab.Tun {
			continue
		}
		for _, linux := range []bool{false, true} {
			t.Run(name+map[bool]string{false: " emulated", true: " linux"}[linux], func(t *testing.T) {
				t.Parallel()
				top := oneNAT(natlab.NAT{Linux: linux, Link: natlab.Link{Delay: time.Millisecond}})
				top.IPv6 = true
				lab := natlab.NewWith(t, top, &natlab.Options{Device: device})
				ln := client{t, lab.Host("s")}.listenAny(7070)
				for _, addr := range []netip.Addr{lab.Host("s").Addr(), lab.Host("s").Addr6()} {
					c, err := lab.Host("a").Dial(t.Context(), "tcp", netip.AddrPortFrom(addr, 7070).String())
					if err != nil {
						t.Fatal(err)
					}
					got := make(chan []byte, 1)
					go func() {
						peer, err := ln.Accept()
						if err != nil {
							return
						}
						defer peer.Close()
						all, _ := io.ReadAll(peer)
						got <- all
					}()
					_, err = c.Write(data)
					c.Close()
					if all := <-got; err != nil || !bytes.Equal(all, data) {
						t.Errorf("%v: %d of %d bytes arrived as they were, %v", addr, len(all), len(data), err)
					}
				}
			})
		}
	}
}
