package pair

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// seeded makes the identity of a seed.
func seeded(t *testing.T, b byte) Identity {
	t.Helper()
	id, err := ParseIdentity(fmt.Appendf(nil, "%s %x", identityWord, bytes.Repeat([]byte{b}, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestIntroduce(t *testing.T) {
	anna, ben := NewIdentity(), NewIdentity()
	tests := []struct {
		name         string
		a, b         Identity
		nameA, nameB string
		wantA, wantB string // what the other side hears
	}{
		{"two names", anna, ben, "anna", "Ben Müller", "anna", "Ben Müller"},
		{"no names", anna, ben, "", "", "", ""},
		{"one identity on two hosts", anna, anna, "home", "work", "home", "work"},
		{"names that are not fit for a screen", anna, ben, "\x1b[2Janna\n", "b\u202een\xff ", "[2Janna", "ben"},
		{"long names", anna, ben, strings.Repeat("a", 100), strings.Repeat("ü", 40), strings.Repeat("a", 64), strings.Repeat("ü", 32)},
	}
	for _, k := range kinds {
		for _, tt := range tests {
			t.Run(k.name+"/"+tt.name, func(t *testing.T) {
				a, b := k.dial(t)
				var keyB, keyA PublicKey
				var nameB, nameA string
				errA, errB := both(t,
					func(ctx context.Context) (err error) {
						keyB, nameB, err = tt.a.Introduce(ctx, a.conn, true, a.exporter, tt.nameA)
						return err
					},
					func(ctx context.Context) (err error) {
						keyA, nameA, err = tt.b.Introduce(ctx, b.conn, false, b.exporter, tt.nameB)
						return err
					})
				if errA != nil || errB != nil {
					t.Fatalf("got %v and %v", errA, errB)
				}
				if keyA != tt.a.Public() || keyB != tt.b.Public() {
					t.Errorf("got the keys %v and %v", keyA, keyB)
				}
				if nameA != tt.wantA || nameB != tt.wantB {
					t.Errorf("got the names %q and %q, want %q and %q", nameA, nameB, tt.wantA, tt.wantB)
				}
				passes(t, a.conn, b.conn)
				passes(t, b.conn, a.conn)
			})
		}
	}
}

// A man in the middle has one TLS session with each side and passes on every byte: neither takes him for the other one.
func TestIntroduceManInTheMiddle(t *testing.T) {
	a, left := overTLS(t)
	right, b := overTLS(t)
	for _, way := range [][2]side{{left, right}, {right, left}} {
		go func() {
			io.Copy(way[1].conn, way[0].conn)
			way[1].conn.Close()
		}()
	}
	anna, ben := NewIdentity(), NewIdentity()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, _, err := anna.Introduce(ctx, a.conn, true, a.exporter, "anna")
		done <- err
	}()
	key, name, err := ben.Introduce(ctx, b.conn, false, b.exporter, "ben")
	if !errors.Is(err, ErrIdentity) || !key.None() || name != "" {
		t.Errorf("the responder got %v, %q, %v, want %v", key, name, err, ErrIdentity)
	}
	b.conn.Close()
	if err := <-done; err == nil {
		t.Error("the initiator took the man in the middle for the other side")
	}
}

// heard is what was heard of an identity on a connection, and what a forger can make of it.
func heard(id Identity, role string, exporter, before []byte, name string, change func(body []byte)) []byte {
	body := id.introduction(role, exporter, before, name)
	if change != nil {
		change(body)
	}
	return body
}

// Nobody gets by with what an owner of a key has signed elsewhere, or with nonsense.
func TestIntroduceForged(t *testing.T) {
	here, elsewhere := make([]byte, minExporter), bytes.Repeat([]byte{1}, minExporter)
	victim, mallory, me := seeded(t, 1), seeded(t, 2), seeded(t, 3)
	mine := me.introduction("initiator", here, nil, "me") // what Introduce says as the initiator
	resign := func(b []byte) {
		copy(b[introSigned:], ed25519.Sign(mallory.private, signedIntroduction("responder", here, mine, b[:introSigned])))
	}
	tests := []struct {
		name string
		body []byte
		want error
	}{
		{"genuine", heard(victim, "responder", here, mine, "anna", nil), nil},
		{"from another connection", heard(victim, "responder", elsewhere, mine, "anna", nil), ErrIdentity},
		{"in the other role", heard(victim, "initiator", here, nil, "anna", nil), ErrIdentity},
		{"reflected", mine, ErrIdentity},
		{"an answer to somebody else", heard(victim, "responder", here, heard(mallory, "initiator", here, nil, "", nil), "anna", nil), ErrIdentity},
		{"another's key under one's own signature", heard(mallory, "responder", here, mine, "anna", func(b []byte) {
			public := victim.Public()
			copy(b[1:], public[:])
		}), ErrIdentity},
		{"the same, signed anew", heard(mallory, "responder", here, mine, "anna", func(b []byte) {
			public := victim.Public()
			copy(b[1:], public[:])
			resign(b)
		}), ErrIdentity},
		{"another name", heard(victim, "responder", here, mine, "anna", func(b []byte) { b[introNameAt] = 'A' }), ErrIdentity},
		{"something behind the name", heard(victim, "responder", here, mine, "anna", func(b []byte) { b[introSigned-1] = 1 }), ErrIdentity},
		{"something behind the name, signed", heard(mallory, "responder", here, mine, "m", func(b []byte) { b[introSigned-1] = 1; resign(b) }), ErrProtocol},
		{"a name that is too long, signed", heard(mallory, "responder", here, mine, "m", func(b []byte) { b[introNameAt-1] = MaxName + 1; resign(b) }), ErrProtocol},
		{"no key", heard(mallory, "responder", here, mine, "m", func(b []byte) { copy(b[1:], make([]byte, 32)); resign(b) }), ErrIdentity},
		{"zeros", append([]byte{introVersion}, make([]byte, introSize-1)...), ErrIdentity},
		{"half of it", heard(victim, "responder", here, mine, "anna", nil)[:99], io.ErrUnexpectedEOF},
		{"another version", []byte{introVersion + 1}, ErrVersion},
		{"nothing", nil, io.ErrUnexpectedEOF},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			key, name, err := me.Introduce(t.Context(), &canned{in: bytes.NewReader(message(kindIntroduction, tt.body...))}, true, here, "me")
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if tt.want == nil && (key != victim.Public() || name != "anna") || tt.want != nil && (!key.None() || name != "") {
				t.Errorf("got %v, %q", key, name)
			}
		})
	}
}

// The responder says nothing of itself to whoever has not introduced itself; but a version of its own can be told.
func TestIntroduceResponderIsSecond(t *testing.T) {
	here := make([]byte, minExporter)
	tests := []struct {
		name string
		in   []byte
		want error
		says []byte
	}{
		{"wrong signature", message(kindIntroduction, append([]byte{introVersion}, make([]byte, introSize-1)...)...), ErrIdentity, nil},
		{"in the wrong role", message(kindIntroduction, seeded(t, 1).introduction("responder", here, nil, "")...), ErrIdentity, nil},
		{"garbage", []byte("GET / HTTP/1.1\r\n"), ErrProtocol, nil},
		{"another version", message(kindIntroduction, 9), ErrVersion, message(kindIntroduction, introVersion)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn := &recorded{Conn: &canned{in: bytes.NewReader(tt.in)}}
			if _, _, err := NewIdentity().Introduce(t.Context(), conn, false, here, "me"); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if !bytes.Equal(conn.wrote.Bytes(), tt.says) {
				t.Errorf("said %x, want %x", conn.wrote.Bytes(), tt.says)
			}
		})
	}
}

// What follows the introduction stays in the connection.
func TestIntroduceLeavesTheRest(t *testing.T) {
	here := make([]byte, minExporter)
	in := bytes.NewReader(slices.Concat(message(kindIntroduction, seeded(t, 1).introduction("initiator", here, nil, "a")...), []byte("data")))
	if _, _, err := seeded(t, 2).Introduce(t.Context(), &canned{in: in}, false, here, "b"); err != nil {
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(in); string(rest) != "data" {
		t.Errorf("left %q, want %q", rest, "data")
	}
}

func TestIntroduceRefuses(t *testing.T) {
	if _, _, err := (Identity{}).Introduce(t.Context(), &canned{}, true, make([]byte, minExporter), ""); err == nil {
		t.Error("no identity introduced itself")
	}
	if _, _, err := NewIdentity().Introduce(t.Context(), &canned{}, true, make([]byte, minExporter-1), ""); err == nil {
		t.Error("a short exporter was taken")
	}
	a, _ := pipe(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, _, err := NewIdentity().Introduce(ctx, a.conn, false, a.exporter, ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v of a silent peer, want %v", err, context.DeadlineExceeded)
	}
}

// What others have kept must stay true from version to version.
func TestIdentityText(t *testing.T) {
	id := seeded(t, 1)
	const public = "8a88-e3dd-7409-f195-fd52-db2d-3cba-5d72-ca67-09bf-1d94-121b-f374-8801-b40f-6f5c"
	text := "# The key by which others know this user again. Keep it secret.\n# Public: " + public +
		"\ntcppunch-secret-key-1 " + strings.Repeat("01", 32) + "\n"
	if got := string(id.Text()); got != text {
		t.Errorf("got the text %q, want %q", got, text)
	}
	if id.Public().String() != public {
		t.Errorf("got the key %v, want %v", id.Public(), public)
	}
	if got := fmt.Sprintf("%v %x %s %+v", id, id, id, struct{ ID Identity }{id}); strings.Contains(got, "01") {
		t.Errorf("an identity prints as %s", got)
	}
	if none := (Identity{}); !none.None() || none.Text() != nil || !none.Public().None() {
		t.Errorf("no identity has the text %q and the key %v", none.Text(), none.Public())
	}
	for _, bad := range []string{"", "# nothing", identityWord, identityWord + " 01", text + text, text + "more", "\x00" + text, strings.Repeat("#\n", 4000) + text} {
		if got, err := ParseIdentity([]byte(bad)); !errors.Is(err, ErrIdentityText) || !got.None() || strings.Contains(err.Error(), "0101") {
			t.Errorf("%.80q: got %v, %v, want %v", bad, got, err, ErrIdentityText)
		}
	}
}

func TestParsePublicKey(t *testing.T) {
	key := seeded(t, 1).Public()
	for _, text := range []string{key.String(), strings.ToUpper(key.String()), strings.ReplaceAll(key.String(), "-", "")} {
		if got, err := ParsePublicKey(text); err != nil || got != key {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "8a88", key.String() + "-00", "g" + key.String()[1:], strings.Repeat("0", 64), strings.Repeat("-", 200) + key.String(), " " + key.String()} {
		if got, err := ParsePublicKey(bad); !errors.Is(err, ErrPublicKey) || !got.None() {
			t.Errorf("%q: got %v, %v, want %v", bad, got, err, ErrPublicKey)
		}
	}
}

func FuzzIntroduce(f *testing.F) {
	here := make([]byte, minExporter)
	for _, role := range []string{"initiator", "responder"} {
		f.Add(message(kindIntroduction, NewIdentity().introduction(role, here, nil, "anna")...))
	}
	f.Add(message(kindIntroduction, introVersion))
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, initiator := range []bool{true, false} {
			key, name, err := NewIdentity().Introduce(t.Context(), &canned{in: bytes.NewReader(in)}, initiator, here, "me")
			if err != nil && (!key.None() || name != "") {
				t.Errorf("%v, %q with error %v", key, name, err)
			}
			// As the initiator is a fresh one, nobody can have answered it.
			if err == nil && (initiator || key.None() || name != CleanName(name)) {
				t.Errorf("initiator %v: %v, %q", initiator, key, name)
			}
		}
	})
}

func FuzzIdentityText(f *testing.F) {
	f.Add(string(NewIdentity().Text()), NewIdentity().Public().String(), "anna")
	f.Fuzz(func(t *testing.T, text, key, name string) {
		if id, err := ParseIdentity([]byte(text)); err == nil {
			if again, err := ParseIdentity(id.Text()); err != nil || again.Public() != id.Public() {
				t.Errorf("%q: %v and %v, %v", text, id.Public(), again.Public(), err)
			}
		}
		if k, err := ParsePublicKey(key); err == nil {
			if again, err := ParsePublicKey(k.String()); err != nil || again != k {
				t.Errorf("%q: %v and %v, %v", key, k, again, err)
			}
		}
		if c := CleanName(name); len(c) > MaxName || !utf8.ValidString(c) || CleanName(c) != c || strings.ContainsAny(c, "\n\r\t\x1b\u202e") {
			t.Errorf("%q becomes %q", name, c)
		}
	})
}
