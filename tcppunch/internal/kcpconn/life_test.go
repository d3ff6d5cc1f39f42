package kcpconn

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// noise returns n bytes that repeat from run to run.
func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b) //nolint:errcheck // never fails
	return b
}

// sent is what happened to a stream's bytes.
type sent struct {
	n   int64
	sum [32]byte
	err error
}

// send writes the data, ends the half and tells how it went.
func send(c *Conn, data []byte) <-chan error {
	out := make(chan error, 1)
	go func() {
		_, err := c.Write(data)
		out <- errors.Join(err, c.CloseWrite())
	}()
	return out
}

// drink reads to the end.
func drink(c *Conn) <-chan sent {
	out := make(chan sent, 1)
	go func() {
		h := sha256.New()
		n, err := io.Copy(h, c)
		out <- sent{n, [32]byte(h.Sum(nil)), err}
	}()
	return out
}

// Whatever the path does, what is read is what was written, both ways at once.
func TestIntact(t *testing.T) {
	const mbit = 1e6 / 8
	tests := []struct {
		name string
		link link
	}{
		{"perfect", link{delay: 5 * time.Millisecond}},
		{"no delay", link{}},
		{"loss 3 %", link{rate: 20 * mbit, queue: 64 << 10, delay: 20 * time.Millisecond, loss: 0.03}},
		{"loss 30 %", link{rate: 20 * mbit, queue: 64 << 10, delay: 20 * time.Millisecond, loss: 0.3}},
		{"reordering 2 %, duplicates 2 %", link{rate: 20 * mbit, queue: 64 << 10, delay: 20 * time.Millisecond, reorder: 0.02, duplicate: 0.02}},
		{"reordering by two round trips", link{rate: 20 * mbit, queue: 64 << 10, delay: 20 * time.Millisecond, reorder: 0.02, late: 80 * time.Millisecond}},
		{"everything", link{rate: 20 * mbit, queue: 32 << 10, delay: 20 * time.Millisecond, loss: 0.02, reorder: 0.05, duplicate: 0.05, mtu: 1300}},
	}
	data := noise(3 << 20)
	want := sha256.Sum256(data)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := newPath(t, tt.link).streams()
				sa, sb, ra, rb := send(a, data), send(b, data), drink(a), drink(b)
				for _, r := range []<-chan sent{ra, rb} {
					if got := <-r; got.err != nil || got.n != int64(len(data)) || got.sum != want {
						t.Errorf("read %d of %d bytes, %v", got.n, len(data), got.err)
					}
				}
				if err := errors.Join(<-sa, <-sb); err != nil {
					t.Error(err)
				}
				closed := make(chan error, 2)
				go func() { closed <- a.Close() }()
				go func() { closed <- b.Close() }()
				begin := time.Now()
				if err := errors.Join(<-closed, <-closed); err != nil {
					t.Error(err)
				}
				if d := time.Since(begin); d > 2*time.Second {
					t.Errorf("closing took %v", d)
				}
			})
		})
	}
}

// Three seconds of silence end nothing, and the stream goes on at once.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const mbit = 1e6 / 8
		p := newPath(t, link{rate: 20 * mbit, queue: 64 << 10, delay: 20 * time.Millisecond})
		a, b := p.streams()
		data := noise(10 << 20)
		sa, rb := send(a, data), drink(b)
		time.Sleep(2 * time.Second)
		p.set(func(k *link) { k.down = true })
		time.Sleep(3 * time.Second)
		before := b.Stats().Received
		p.set(func(k *link) { k.down = false })
		time.Sleep(time.Second)
		if got := b.Stats().Received - before; got < 400 {
			t.Errorf("%d segments in the second after the silence", got)
		}
		if got := <-rb; got.err != nil || got.sum != sha256.Sum256(data) {
			t.Errorf("read %d bytes, %v", got.n, got.err)
		}
		if err := errors.Join(<-sa, a.Close(), b.Close()); err != nil {
			t.Error(err)
		}
	})
}

// A peer that is dead is found out, by the one who reads and the one who writes.
func TestDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPath(t, link{delay: 20 * time.Millisecond})
		a, b := p.streams()
		defer a.Discard()
		defer b.Discard()
		a.Write([]byte("hello"))     //nolint:errcheck // Read tells
		b.Read(make([]byte, 5))      //nolint:errcheck // a test
		time.Sleep(20 * time.Second) // nobody says anything: no reason to die
		if _, err := a.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond) // it is on its way
		p.set(func(k *link) { k.down = true })
		begin := time.Now()
		if _, err := b.Read(make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Read(make([]byte, 5)); !errors.Is(err, ErrSilent) {
			t.Errorf("Read: %v", err)
		}
		if d := time.Since(begin); d < 8*time.Second || d > 12*time.Second {
			t.Errorf("dead after %v", d)
		}
		time.Sleep(2 * time.Second)
		if _, err := a.Write([]byte("hello")); !errors.Is(err, ErrSilent) {
			t.Errorf("Write: %v", err)
		}
		if err := a.Close(); !errors.Is(err, ErrSilent) {
			t.Errorf("Close: %v", err)
		}
	})
}

func TestNobodyThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPath(t, link{delay: 20 * time.Millisecond})
		c := newConn(p.ends[0], p.ends[1].addr, &Config{ID: 1, Client: true})
		time.Sleep(time.Minute)
		if p.ends[0].count != 0 {
			t.Errorf("%d datagrams before the first Write", p.ends[0].count)
		}
		c.Write([]byte("hello")) //nolint:errcheck // Read tells
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, ErrSilent) {
			t.Error(err)
		}
		if p.ends[0].count > 100 {
			t.Errorf("%d datagrams to nobody", p.ends[0].count)
		}
		c.Discard()
	})
}

func TestDiscard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newPath(t, link{delay: 20 * time.Millisecond}).streams()
		a.Write(noise(100000)) //nolint:errcheck // a test
		time.Sleep(time.Second)
		begin := time.Now()
		a.Discard()
		if time.Since(begin) > 0 {
			t.Error("Discard waits")
		}
		if _, err := a.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Write after Discard: %v", err)
		}
		if n, err := io.Copy(io.Discard, b); n != 100000 || !errors.Is(err, ErrReset) {
			t.Errorf("read %d, %v", n, err)
		}
		if _, err := b.Write([]byte("x")); !errors.Is(err, ErrReset) {
			t.Errorf("Write to a peer that is gone: %v", err)
		}
		b.Close() //nolint:errcheck // a test
	})
}

// Close delivers what was written, though the peer reads slowly and the path loses much.
func TestCloseDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newPath(t, link{delay: 20 * time.Millisecond, loss: 0.1}).streams()
		data := noise(4 << 20)
		closed := make(chan error, 1)
		go func() {
			a.Write(data) //nolint:errcheck // Close tells
			closed <- a.Close()
		}()
		var got bytes.Buffer
		buf := make([]byte, 32<<10)
		for {
			n, err := b.Read(buf)
			got.Write(buf[:n])
			if err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Millisecond)
		}
		if !bytes.Equal(got.Bytes(), data) {
			t.Errorf("got %d of %d bytes", got.Len(), len(data))
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		begin := time.Now()
		if err := b.Close(); err != nil || time.Since(begin) > 3*time.Second {
			t.Errorf("the peer's Close: %v after %v", err, time.Since(begin))
		}
		if err := b.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second Close: %v", err)
		}
	})
}

// Close gives up when the peer takes nothing any more.
func TestCloseGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPath(t, link{delay: 20 * time.Millisecond})
		a, b := p.streams()
		a.Write([]byte("hello")) //nolint:errcheck // a test
		b.Read(make([]byte, 5))  //nolint:errcheck // a test
		time.Sleep(time.Second)
		p.set(func(k *link) { k.down = true })
		a.Write([]byte("hello")) //nolint:errcheck // Close tells
		begin := time.Now()
		if err := a.Close(); err == nil {
			t.Error("no error though nothing arrived")
		}
		if d := time.Since(begin); d > 7*time.Second {
			t.Errorf("gave up after %v", d)
		}
		b.Discard()
	})
}

// A reader that does not read stops the writer, and what waits is bounded.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newPath(t, link{delay: time.Millisecond}).streams()
		data := noise(30 << 20)
		sa := send(a, data)
		time.Sleep(20 * time.Second)
		if got := b.Stats().Received * maxMTU; got > 3*firstReceive {
			t.Errorf("%d bytes were sent to one who does not read", got)
		}
		begin := time.Now()
		if got := <-drink(b); got.err != nil || got.sum != sha256.Sum256(data) {
			t.Errorf("read %d bytes, %v", got.n, got.err)
		}
		if d := time.Since(begin); d > 5*time.Second {
			t.Errorf("reading took %v then", d)
		}
		if err := errors.Join(<-sa, a.Close(), b.Close()); err != nil {
			t.Error(err)
		}
	})
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ka, kb := newPath(t, link{delay: 20 * time.Millisecond}).streams()
		defer ka.Discard()
		defer kb.Discard()
		config := tlsConfig(t)
		a, b := tls.Client(ka, config), tls.Server(kb, config)
		go b.Write([]byte("one")) //nolint:errcheck // a test
		buf := make([]byte, 10)
		if n, err := a.Read(buf); err != nil || string(buf[:n]) != "one" {
			t.Fatal(n, err)
		}
		a.SetReadDeadline(time.Now().Add(time.Second)) //nolint:errcheck // never fails
		begin := time.Now()
		_, err := a.Read(buf)
		var ne net.Error
		if !errors.As(err, &ne) || !ne.Timeout() || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		a.SetReadDeadline(time.Time{}) //nolint:errcheck // never fails
		b.Write([]byte("two"))         //nolint:errcheck // a test
		if n, err := a.Read(buf); err != nil || string(buf[:n]) != "two" {
			t.Errorf("TLS after a deadline: %q %v", buf[:n], err)
		}
		ka.SetWriteDeadline(time.Now().Add(time.Second)) //nolint:errcheck // never fails
		if _, err := ka.Write(make([]byte, 100<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("writing to one who does not read: %v", err)
		}
	})
}

// A NAT gives the peer a new port; the stream follows it.
func TestAddressChange(t *testing.T) {
	for _, who := range []int{0, 1} {
		synctest.Test(t, func(t *testing.T) {
			const mbit = 1e6 / 8
			p := newPath(t, link{rate: 20 * mbit, queue: 64 << 10, delay: 20 * time.Millisecond})
			a, b := p.streams()
			data := noise(10 << 20)
			sa, rb := send(a, data), drink(b)
			time.Sleep(time.Second)
			p.mu.Lock()
			p.ends[who].alias = netip.MustParseAddrPort("192.0.2.9:9999")
			p.mu.Unlock()
			before := b.Stats().Received
			time.Sleep(3 * time.Second)
			if got := b.Stats().Received - before; got < 1000 {
				t.Errorf("%d segments in 3 seconds after the change", got)
			}
			if got := <-rb; got.err != nil || got.sum != sha256.Sum256(data) {
				t.Errorf("read %d bytes, %v", got.n, got.err)
			}
			if got := [2]*Conn{b, a}[who].RemoteAddr().String(); got != "192.0.2.9:9999" {
				t.Errorf("the peer is at %s", got)
			}
			if err := errors.Join(<-sa, a.Close(), b.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}

// The MTU is found, and given up when large datagrams vanish in the middle.
func TestMTU(t *testing.T) {
	tests := []struct{ path, least, later int }{{0, 1472, 0}, {1472, 1472, 1300}, {1400, 1380, 1220}, {1200, 1200, 0}}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			const mbit = 1e6 / 8
			p := newPath(t, link{rate: 20 * mbit, queue: 64 << 10, delay: 20 * time.Millisecond, mtu: tt.path})
			a, b := p.streams()
			data := noise(20 << 20)
			sa, rb := send(a, data), drink(b)
			time.Sleep(5 * time.Second)
			if got := a.Stats().MTU; got < tt.least || tt.path > 0 && got > tt.path {
				t.Errorf("found %d on a path of %d", got, tt.path)
			}
			if tt.later > 0 {
				p.set(func(k *link) { k.mtu = tt.later })
				time.Sleep(3 * time.Second)
				if got := a.Stats().MTU; got > tt.later {
					t.Errorf("still %d on a path of %d", got, tt.later)
				}
			}
			if got := <-rb; got.err != nil || got.sum != sha256.Sum256(data) {
				t.Errorf("read %d bytes, %v", got.n, got.err)
			}
			if err := errors.Join(<-sa, a.Close(), b.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}

func tlsConfig(t testing.TB) *tls.Config {
	t.Helper()
	return &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{certificate(t)}} //nolint:gosec // a test
}

// A question and its answer take a round trip, and hardly more.
func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newPath(t, link{delay: 10 * time.Millisecond}).streams()
		defer a.Discard()
		defer b.Discard()
		go io.Copy(b, b) //nolint:errcheck // ends with the stream
		buf := make([]byte, 100)
		var total time.Duration
		const rounds = 50
		for range rounds {
			begin := time.Now()
			a.Write(buf)                                   //nolint:errcheck // Read tells
			if _, err := io.ReadFull(a, buf); err != nil { // the echo
				t.Fatal(err)
			}
			total += time.Since(begin)
			time.Sleep(3 * time.Millisecond)
		}
		if mean := total / rounds; mean > 21*time.Millisecond {
			t.Errorf("%v on average on a path of 20 ms", mean)
		}
	})
}

// Talk in between does not make a stream forget how fast its path is.
func TestBurstAfterTalk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const mbit = 1e6 / 8
		a, b := newPath(t, link{rate: 20 * mbit, queue: 250000, delay: 20 * time.Millisecond}).streams()
		defer a.Discard()
		defer b.Discard()
		buf := make([]byte, 2<<20)
		for range 2 {
			begin := time.Now()
			go a.Write(buf) //nolint:errcheck // Read tells
			if _, err := io.ReadFull(b, buf); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(begin); d > 1200*time.Millisecond {
				t.Errorf("2 MiB took %v", d)
			}
			for range 100 {
				a.Write(buf[:100]) //nolint:errcheck // Read tells
				if _, err := io.ReadFull(b, buf[:100]); err != nil {
					t.Fatal(err)
				}
				time.Sleep(50 * time.Millisecond)
			}
		}
	})
}

// TestFirstExchange: a few segments, such as a TLS handshake's, take one round trip
// and no more, also the first of all and those that follow small talk.
func TestFirstExchange(t *testing.T) {
	const oneWay = 50 * time.Millisecond
	for _, size := range []int{100, 1300, 3000, 20000} {
		synctest.Test(t, func(t *testing.T) {
			a, b := newPath(t, link{delay: oneWay}).streams()
			go func() { // an echo
				buf := make([]byte, size)
				for {
					if _, err := io.ReadFull(b, buf); err != nil {
						return
					}
					b.Write(buf) //nolint:errcheck // the other end will tell
				}
			}()
			buf := make([]byte, size)
			for i := range 3 {
				start := time.Now()
				a.Write(buf) //nolint:errcheck // the read will tell
				if _, err := io.ReadFull(a, buf); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(start); took > 2*oneWay+40*time.Millisecond {
					t.Errorf("%d bytes, exchange %d: %v", size, i, took)
				}
			}
			a.Discard()
			b.Discard()
		})
	}
}
