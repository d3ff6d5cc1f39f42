package bench

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// Whatever comes, a frame that is let pass has a length that its kind allows.
func FuzzFrame(f *testing.F) {
	f.Add(slices.Concat(helloOf(nil), doneOf(0, nil), appendFrame(nil, kindBye, nil)))
	f.Add([]byte{byte(kindData), 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := bytes.NewReader(stream)
		for {
			k, body, err := readFrame(r)
			if err != nil {
				return
			}
			if most, exactly := k.limit(); len(body) > most || exactly && len(body) != most {
				t.Fatalf("%s of %d bytes let pass", k, len(body))
			}
		}
	})
}

// What is let pass of a HELLO can be planned with, whoever leads.
func FuzzHello(f *testing.F) {
	f.Add(helloOf(nil)[headerSize:])
	f.Add([]byte(`{"magic":"tcppunch-bench","version":1,"time_ms":-1,"preface":""}`))
	mine := hello{Preface: bytes.Repeat([]byte{0x7f}, prefaceSize), TimeMS: 1000, Transports: []offer{{"tcp", 1, ""}, {"kcp", 2, ""}}}
	f.Fuzz(func(t *testing.T, body []byte) {
		h, err := parseHello(body)
		if err != nil {
			return
		}
		p, err := agree(mine, h)
		if err != nil {
			return
		}
		if p.time.Milliseconds() < MinTime.Milliseconds() || p.time.Milliseconds() > 1000 || len(p.transports) > 2 {
			t.Fatalf("plan %+v", p)
		}
		for _, o := range p.transports {
			if o.Streams < 1 || o.Streams > MaxStreams || o.Name != "tcp" && o.Name != "kcp" {
				t.Fatalf("transport %+v", o)
			}
		}
	})
}

// What is let pass of a DONE makes figures that make sense.
func FuzzDone(f *testing.F) {
	f.Add(doneOf(3, func(d *done) {
		d.Bytes, d.Carried, d.Elapsed, d.Series, d.Pings = 5, 6, 7, [][2]int64{{1, 2}, {3, 6}}, [][2]int64{{1, 2}}
		d.CPU, d.Retransmits, d.Packets, d.Congestion, d.RTTs = 9, 1, 2, "cubic", []int64{4, 5}
	})[headerSize:])
	f.Add([]byte(`{"bytes":1e18,"elapsed":0}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := parseDone(body)
		if err != nil {
			return
		}
		r := runner{plan: plan{controller: true}}
		for _, sends := range []bool{true, false} {
			got := r.direction(d, d, sends)
			here, there := got.PerGB()
			if got.Bytes < 0 || got.Carried < got.Bytes || got.Rate() < 0 || got.Resent() > 1 || got.Loaded.Max < got.Loaded.Min ||
				here != -1 && here < 0 || there != -1 && there < 0 || strings.ContainsAny(got.Congestion, "\x1b\n") {
				t.Fatalf("%s: %+v", body, got)
			}
		}
	})
}

func FuzzFail(f *testing.F) {
	f.Add(failOf("failed", "why")[headerSize:])
	f.Fuzz(func(t *testing.T, body []byte) {
		if err := parseFail(body); err == nil || strings.ContainsAny(err.Error(), "\x1b\n\r") || len(err.Error()) > 2*maxText {
			t.Fatalf("%q", err)
		}
	})
}

// However a stream of data is cut into pieces, the parser sees the same.
func FuzzData(f *testing.F) {
	f.Add(appendFrame(appendFrame(appendFrame(nil, kindData, []byte("hello")), kindData, nil), kindEnd, nil), uint8(3))
	f.Fuzz(func(t *testing.T, stream []byte, piece uint8) {
		var whole, cut parser
		want, wantErr := whole.feed(stream)
		got, gotErr := 0, error(nil)
		for b := range slices.Chunk(stream, int(piece)+1) {
			var n int
			n, gotErr = cut.feed(b)
			got += n
			if gotErr != nil {
				break
			}
		}
		if got != want || (gotErr == nil) != (wantErr == nil) || got > len(stream) || wantErr == nil && cut != whole {
			t.Fatalf("%d bytes, %v; in pieces %d bytes, %v", want, wantErr, got, gotErr)
		}
	})
}
