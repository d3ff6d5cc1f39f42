package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/tcppunch/transfer"
)

func ours(name string, kind error) transfer.FileError {
	return transfer.FileError{Name: name, Err: kind}
}

func theirs(name, code, message string) transfer.FileError {
	return transfer.FileError{Name: name, Err: &transfer.RemoteError{Code: code, Message: message}}
}

func TestIncomplete(t *testing.T) {
	many := make([]transfer.FileError, 30)
	for i := range many {
		many[i] = ours(fmt.Sprint(i), transfer.ErrName)
	}
	cases := []struct {
		name    string
		failed  []transfer.FileError
		count   int
		status  int
		code    string
		message string
		advice  string
	}{
		{"one here", []transfer.FileError{ours("a", transfer.ErrSourceChanged)}, 1, statusFailed, "source-changed", "a: changed", ""},
		{"one there", []transfer.FileError{theirs("a", "exists", "exists already")}, 1, statusRefused, "exists", "the other side says: a: exists already", ""},
		{"one there, named", []transfer.FileError{theirs("a", "no-space", "a: no room")}, 1, statusFailed, "no-space", "the other side says: a: no room", ""},
		{"one there, not offered", []transfer.FileError{theirs("", "link", "x/y: left out")}, 1, statusFailed, "link", "the other side says: x/y: left out", ""},
		{"no words", []transfer.FileError{theirs("a", "newer", "")}, 1, statusFailed, "newer", "a: newer", ""},
		{"alike", []transfer.FileError{ours("a", transfer.ErrExists), ours("b", transfer.ErrExists)}, 2, statusFailed, "exists", "2 of 99 failed", "--rename"},
		{"different", []transfer.FileError{ours("a", transfer.ErrExists), theirs("b", "link", "b")}, 2, statusFailed, "incomplete", "2 of 99 failed", ""},
		{"exist here and there", []transfer.FileError{ours("a", transfer.ErrExists), theirs("b", "exists", "b")}, 2, statusFailed, "exists", "2 of 99", "--overwrite"},
		{"many", many, 5000, statusFailed, "bad-name", "the first 20 are named above, 4980 more are not", ""},
		{"none is known", nil, 3, statusFailed, "incomplete", "3 of 99", ""},
	}
	for _, c := range cases {
		f := classify(fmt.Errorf("sending: %w", &transfer.Incomplete{Failed: c.failed, Count: c.count, Of: 99}))
		if c.name == "no words" {
			c.code = transfer.Code(c.failed[0].Err) // a word of a newer version
		}
		if f.status != c.status || f.code != c.code || !strings.Contains(f.err.Error(), c.message) || !strings.Contains(f.advice, c.advice) {
			t.Errorf("%s: status %d, code %q, %q, %q", c.name, f.status, f.code, f.err, f.advice)
		}
	}
}

// TestFailedLines: each failure gets an event, the first ones a line, and none of them
// comes twice over a break.
func TestFailedLines(t *testing.T) {
	o, events, human := captured(t)
	p := newProgress(o, false)
	p.refused([]transfer.FileError{ours("x\x1b[31m", transfer.ErrLink)})
	p.offers(transfer.Offer{Entries: 100, Files: 100, Bytes: 5})
	for range 2 {
		for i := range 50 {
			p.failed(ours(fmt.Sprintf("%d.bin", i), errors.New("no")))
		}
	}
	if n := strings.Count(events.String(), `"event":"failed"`); n != 51 {
		t.Errorf("%d events", n)
	}
	if n := strings.Count(human.String(), "\n"); n != saidFailures || !strings.HasPrefix(human.String(), "Warning: not sent: x") || strings.Contains(human.String(), "\x1b") {
		t.Errorf("%d lines:\n%s", n, human)
	}
	// What is the only one is what the error is about.
	o, events, human = captured(t)
	p = newProgress(o, false)
	p.offers(transfer.Offer{Entries: 1, Files: 1})
	p.failed(ours("1.bin", transfer.ErrExists))
	if !strings.Contains(events.String(), `"event":"failed","name":"1.bin","code":"exists"`) || human.Len() > 0 {
		t.Errorf("%s%s", events, human)
	}
}

// TestPlainLines: what a pipe gets of many files is not a flood.
func TestPlainLines(t *testing.T) {
	for _, c := range []struct{ files, want int }{{20, 20}, {21, 0}} {
		o, events, human := captured(t)
		p := newProgress(o, true)
		for range 2 { // a break
			p.offers(transfer.Offer{Entries: c.files, Files: c.files, Bytes: 100})
			p.accepted()
			p.resumed(30)
		}
		for i := range c.files {
			f := transfer.File{Name: fmt.Sprint(i), Size: 5}
			p.file(f)
			p.update(int64(30+i), 100)
			p.fileDone(f, [32]byte{})
		}
		if err := p.end(transfer.Summary{Files: c.files, Bytes: 100, Sent: 7, There: 30, Came: 70}, nil); err != nil {
			t.Error(err)
		}
		p.done("Sent")
		if n := strings.Count(human.String(), "  done\n"); n != c.want {
			t.Errorf("%d files: %d lines", c.files, n)
		}
		if !strings.Contains(human.String(), "Going on at 30 %: 30 B of 100 B are there already.\n") ||
			!strings.Contains(human.String(), fmt.Sprintf("Sent %d files, 100 B, 70 B of it now, in ", c.files)) {
			t.Errorf("it says:\n%s", human)
		}
		if a, b := strings.Count(events.String(), `"event":"offer"`), strings.Count(events.String(), `"event":"resumed","bytes":30}`); a != 1 || b != 2 {
			t.Errorf("%d offers, resumed %d times", a, b)
		}
	}
}

func TestProgressLabel(t *testing.T) {
	o, _, _ := captured(t)
	p := newProgress(o, true)
	p.offers(transfer.Offer{Entries: 300, Files: 300, Bytes: 100})
	p.file(transfer.File{Name: "photos/img_0001.jpg"})
	for width, want := range map[int]string{80: "1/300 photos/img_0001.jpg", 20: "1/300 photos/…01.jpg", 14: "1/300 phot…jpg", 13: "1/300"} {
		if got := p.label(width); got != want {
			t.Errorf("in %d columns: %q, want %q", width, got, want)
		}
	}
	// Of a transfer that had begun before this program, nobody knows the number.
	p = newProgress(o, true)
	p.offers(transfer.Offer{Entries: 300, Files: 300, Bytes: 100})
	p.resumed(50)
	p.file(transfer.File{Name: "x"})
	if got := p.label(20); got != "x" {
		t.Errorf("after a break: %q", got)
	}
	p.check(1, 3)
	if got := p.checkText(); got != "checking what is there already  33 %" {
		t.Error(got)
	}
	p.meter.add(time.Now().Add(-time.Second), 0)
	if got := p.figures(time.Now(), 2<<20, -1); !strings.HasPrefix(got, "2.0 MiB  ") {
		t.Errorf("of a stream: %q", got)
	}
}
