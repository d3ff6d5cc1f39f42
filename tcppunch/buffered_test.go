package tcppunch

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

// tcpConns makes Conns of both ends of a connection over loopback.
func tcpConns(t *testing.T) (a, b *Conn) {
	t.Helper()
	pa, pb := tcpPair(t)
	return connPair(t, pa, pb)
}

// What is written in pieces of any size arrives, both ways at once, and TLS as
// others have it reads it and writes what is read.
func TestConnData(t *testing.T) {
	sizes := []int{1, 5, maxRecord - 1, maxRecord, maxRecord + 1, maxBatch - 1, maxBatch, maxBatch + 1, 1 << 20, 0, 3}
	sent := make([]byte, 0, 2<<20)
	for _, n := range sizes {
		sent = sent[:len(sent)+n]
	}
	rand.Read(sent)
	write := func(c net.Conn) {
		rest := sent
		for _, n := range sizes {
			if got, err := c.Write(rest[:n]); got != n || err != nil {
				t.Errorf("wrote %d of %d: %v", got, n, err)
			}
			rest = rest[n:]
		}
		if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Error(err)
		}
		if _, err := c.Write(sent); err == nil {
			t.Error("wrote after CloseWrite")
		}
	}
	read := func(c net.Conn) {
		if got, err := io.ReadAll(c); !bytes.Equal(got, sent) || err != nil {
			t.Errorf("%d bytes arrived of %d, or they changed: %v", len(got), len(sent), err)
		}
	}
	for _, name := range []string{"both", "one"} {
		t.Run(name, func(t *testing.T) {
			ca, cb := tcpConns(t)
			ends := []net.Conn{ca, cb}
			if name == "one" {
				ends = bareTLS(t)
			}
			var wg sync.WaitGroup
			for _, c := range ends {
				wg.Go(func() { write(c) })
				wg.Go(func() { read(c) })
			}
			wg.Wait()
			for _, c := range ends {
				if err := c.Close(); err != nil {
					t.Error(err)
				}
				if _, err := c.Write(sent); !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
			}
		})
	}
}

// bareTLS is a Conn, and crypto/tls at the other end.
func bareTLS(t *testing.T) []net.Conn {
	t.Helper()
	a, b := tcpPair(t)
	ia, err := newIdentity()
	if err != nil {
		t.Fatal(err)
	}
	ib, err := newIdentity()
	if err != nil {
		t.Fatal(err)
	}
	below := newBuffered(a)
	ta, tb := tls.Client(below, ia.tlsConfig(ib.fp)), tls.Server(b, ib.tlsConfig(ia.fp))
	done := make(chan error, 1)
	go func() { done <- tb.Handshake() }()
	if err := errors.Join(ta.Handshake(), <-done); err != nil {
		t.Fatal(err)
	}
	return []net.Conn{newConn(&link{Conn: ta, below: below}, ""), tb}
}

// Much data takes few system calls, and little memory before it comes.
func TestConnCalls(t *testing.T) {
	pa, pb := tcpPair(t)
	wa, wb := &counted{Conn: pa}, &counted{Conn: pb}
	a, b := connPair(t, wa, wb)
	if n := len(a.below.in) + cap(a.below.out); n > 16<<10 {
		t.Errorf("%d bytes of buffers after a handshake", n)
	}
	wa.writes, wb.reads = 0, 0
	const size = 16 << 20
	done := make(chan struct{})
	go func() {
		io.CopyN(io.Discard, b, size) //nolint:errcheck // a test
		close(done)
	}()
	if _, err := a.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	<-done
	if wa.writes != size/maxBatch {
		t.Errorf("%d writes, want %d", wa.writes, size/maxBatch)
	}
	if records := size / maxRecord; wb.reads >= records {
		t.Errorf("%d reads of %d records", wb.reads, records)
	}
	if len(b.below.in) != maxRead || cap(a.below.out) > 2*maxBatch {
		t.Errorf("buffers of %d and %d", len(b.below.in), cap(a.below.out))
	}
}

// counted counts calls. It is used by one reader and one writer.
type counted struct {
	net.Conn
	reads, writes int
}

func (c *counted) Read(b []byte) (int, error) {
	c.reads++
	return c.Conn.Read(b)
}

func (c *counted) Write(b []byte) (int, error) {
	c.writes++
	return c.Conn.Write(b)
}

// A deadline ends one read, in whatever place, and nothing is lost.
func TestConnReadDeadline(t *testing.T) {
	pa, pb := tcpPair(t)
	a, b := connPair(t, &slow{Conn: pa}, pb)
	sent := make([]byte, 5*maxRecord)
	rand.Read(sent)
	go func() {
		a.Write(sent) //nolint:errcheck // the reader tells
		a.CloseWrite()
	}()
	var got []byte
	timeouts := 0
	for buf := make([]byte, 1<<20); ; {
		b.SetReadDeadline(time.Now().Add(2 * time.Millisecond)) //nolint:errcheck // a test
		n, err := b.Read(buf)
		got = append(got, buf[:n]...)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			timeouts++
			continue
		}
		if err == io.EOF { //nolint:errorlint // as readers want it
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got, sent) || timeouts == 0 {
		t.Errorf("%d bytes of %d, or they changed; %d timeouts", len(got), len(sent), timeouts)
	}
}

// slow writes in parts that end anywhere, with pauses.
type slow struct{ net.Conn }

func (s *slow) Write(b []byte) (int, error) {
	sum := 0
	for part := range slices.Chunk(b, 1+recordOverhead+maxRecord/3) {
		n, err := s.Conn.Write(part)
		if sum += n; err != nil {
			return sum, err
		}
		time.Sleep(5 * time.Millisecond)
	}
	return sum, nil
}

// A deadline that passes during a write ends writing for good: a part of a record
// may be out.
func TestConnWriteDeadline(t *testing.T) {
	for _, size := range []int{maxRecord, 64 << 20} {
		a, _ := tcpConns(t)
		a.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)) //nolint:errcheck // a test
		var err error
		for err == nil {
			_, err = a.Write(make([]byte, size))
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		a.SetWriteDeadline(time.Time{}) //nolint:errcheck // a test
		for _, n := range []int{1, maxBatch} {
			if n, err := a.Write(make([]byte, n)); n != 0 || err == nil {
				t.Errorf("wrote %d after half a record", n)
			}
		}
		a.Abort() //nolint:errcheck // a test
	}
}

// Close ends reads and writes that wait, and whoever reads is not told that this was all.
func TestConnCloseWhileBusy(t *testing.T) {
	a, b := tcpConns(t)
	errs := make(chan error)
	go func() {
		_, err := a.Write(make([]byte, 64<<20))
		errs <- err
	}()
	go func() {
		_, err := a.Read(make([]byte, 1))
		errs <- err
	}()
	time.Sleep(50 * time.Millisecond)
	a.Close()
	for range 2 {
		if err := <-errs; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	}
	if _, err := a.Write(make([]byte, 1<<20)); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if n, err := io.Copy(io.Discard, b); err == nil && n%maxBatch != 0 {
		t.Errorf("%d bytes, and then the end", n)
	}
}

// What follows TLS's last record is there for who goes on without, though it came
// together with that.
func TestConnPlain(t *testing.T) {
	a, b := tcpConns(t)
	if _, err := a.Write([]byte("with TLS")); err != nil {
		t.Fatal(err)
	}
	pa, pb := a.Plain(), b.Plain()
	if _, err := pa.Write([]byte("without")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond) // all is there before the first read
	buf := make([]byte, 100)
	if n, err := b.Read(buf); string(buf[:n]) != "with TLS" || err != nil {
		t.Errorf("%q, %v", buf[:n], err)
	}
	for _, want := range []string{"without", "more"} {
		if n, err := pb.Read(buf); string(buf[:n]) != want || err != nil {
			t.Errorf("%q, %v, want %q", buf[:n], err, want)
		}
		pa.Write([]byte("more")) //nolint:errcheck // a test
	}
	if _, ok := b.NetConn().(*net.TCPConn); !ok {
		t.Errorf("below is a %T", b.NetConn())
	}
}

// What does not speak TLS is found out by its first bytes.
func TestGarbage(t *testing.T) {
	a, b := tcpPair(t)
	defer a.Close()
	defer b.Close()
	a.Write([]byte("GET / HTTP/1.1\r\n")) //nolint:errcheck // a test
	id, err := newIdentity()
	if err != nil {
		t.Fatal(err)
	}
	b.SetDeadline(time.Now().Add(5 * time.Second)) //nolint:errcheck // a test
	if err := tls.Server(newBuffered(b), id.tlsConfig(fingerprint{})).Handshake(); !errors.As(err, new(tls.RecordHeaderError)) {
		t.Error(err)
	}
}

// FuzzBuffered: in whatever parts bytes come, TLS gets the same ones, never those of
// two records at once, and rest the others.
func FuzzBuffered(f *testing.F) {
	f.Add([]byte("\x17\x03\x03\x00\x02ab\x17\x03\x03\x00\x00rest"), uint8(3), uint8(4), uint8(9))
	f.Add([]byte("\x17\x03\x03\xff\xffabc"), uint8(200), uint8(1), uint8(255))
	f.Fuzz(func(t *testing.T, data []byte, part, size, reads uint8) {
		b := newBuffered(&parts{data: data, most: int(part) + 1})
		var got []byte
		p := make([]byte, int(size)+1)
		end := 0 // of the record that is being read
		for range reads {
			n, err := b.Read(p)
			if n > 0 && len(got) == end {
				end += recordHeader + int(data[end+3])<<8 + int(data[end+4])
			}
			if got = append(got, p[:n]...); len(got) > end {
				t.Fatalf("%d bytes, and the record ends at %d", len(got), end)
			}
			if err != nil {
				break
			}
		}
		for {
			n, err := b.rest(p)
			if got = append(got, p[:n]...); err != nil {
				break
			}
		}
		if !bytes.Equal(got, data) {
			t.Errorf("got %q of %q", got, data)
		}
	})
}

// parts gives out at most so many bytes at a time.
type parts struct {
	net.Conn
	data []byte
	most int
}

func (p *parts) Read(b []byte) (int, error) {
	if len(p.data) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.data[:min(p.most, len(p.data))])
	p.data = p.data[n:]
	return n, nil
}
