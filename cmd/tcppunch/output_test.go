package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

// captured is an output whose events and lines can be read.
func captured(t *testing.T) (o *output, events, human *bytes.Buffer) {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { null.Close() })
	events, human = &bytes.Buffer{}, &bytes.Buffer{}
	o = newOutput(events, null, time.Now())
	o.human, o.json, o.tty = human, true, false
	return o, events, human
}

func TestEvent(t *testing.T) {
	type fields struct {
		Name string   `json:"name"`
		List []string `json:"list"`
	}
	cases := []struct {
		name   string
		fields any
		want   string
	}{
		{"done", fields{"a", nil}, `{"event":"done","name":"a","list":null}`},
		{"done", struct{}{}, `{"event":"done"}`},
		{"error", fields{"a \"quoted\"\nline \u2028 <&> \xff", []string{"ü"}}, ""},
	}
	for _, c := range cases {
		o, events, _ := captured(t)
		o.event(c.name, c.fields)
		got := events.String()
		if !strings.HasPrefix(got, `{"event":"`+c.name+`"`) || strings.Count(got, "\n") != 1 || !json.Valid([]byte(got)) {
			t.Errorf("%q is not one line of JSON that begins with the event", got)
		}
		if c.want != "" && strings.TrimSpace(got) != c.want {
			t.Errorf("got %s want %s", got, c.want)
		}
	}
	o, events, _ := captured(t)
	o.json = false
	o.event("done", nil)
	if events.Len() > 0 {
		t.Errorf("without --json: %q", events)
	}
}

func TestFail(t *testing.T) {
	o, events, human := captured(t)
	if status := o.fail(nil); status != 0 || events.Len()+human.Len() > 0 {
		t.Errorf("nil: status %d, %q, %q", status, events, human)
	}
	status := o.fail(errors.Join(errors.New("first\x1b[31m"), errors.New("second")))
	if got, want := human.String(), "Error: first\ufffd[31m; second\n"; status != statusFailed || got != want {
		t.Errorf("status %d, %q, want %q", status, got, want)
	}
	var e event
	if err := json.Unmarshal(events.Bytes(), &e); err != nil || e.Event != "error" || e.Code != "failed" {
		t.Errorf("event %s: %v", events, err)
	}
	human.Reset()
	events.Reset()
	o.goOn("Nobody can come", errors.New("why"))
	if got, want := events.String(), `{"event":"error","code":"failed","message":"why","final":false}`+"\n"; got != want || human.String() != "Nobody can come: why\n" {
		t.Errorf("got %s and %s, want %s", got, human, want)
	}
	human.Reset()
	if status := o.fail(interrupted(errors.New("reading: whatever"))); status != statusInterrupted || human.String() != "Error: interrupted\n" {
		t.Errorf("status %d, %q", status, human)
	}
}

func TestFigures(t *testing.T) {
	type row struct{ got, want string }
	for _, r := range []row{
		{size(0), "0 B"}, {size(1023), "1023 B"}, {size(1024), "1.0 KiB"}, {size(1<<20 - 1), "1.0 MiB"},
		{size(1536 << 10), "1.5 MiB"}, {size(1 << 30), "1.0 GiB"}, {size(3 << 40), "3.0 TiB"},
		{rate(0), "0 B/s"}, {rate(999), "999 B/s"}, {rate(1500), "1.5 kB/s"}, {rate(999999), "1.0 MB/s"},
		{rate(94.1e6), "94.1 MB/s"}, {rate(1.25e9), "1.25 GB/s"},
		{duration(0), "0.0 s"}, {duration(8 * time.Second), "8.0 s"}, {duration(9990 * time.Millisecond), "10 s"},
		{duration(21 * time.Second), "21 s"}, {duration(119600 * time.Millisecond), "2 min 0 s"},
		{duration(125 * time.Second), "2 min 5 s"}, {duration(3*time.Hour + 5*time.Minute), "3 h 5 min"},
		{plural(1, "file"), "1 file"}, {plural(0, "file"), "0 files"}, {plural(2, "file"), "2 files"},
		{roundTrip(500 * time.Microsecond), "0.5 ms"}, {roundTrip(48100 * time.Microsecond), "48 ms"},
		{fit("short.txt", 10), "short.txt"}, {fit("holiday-in-spain.mov", 9), "holi….mov"},
		{fit("äöüäöüäöüäöü", 5), "äö…öü"}, {fit("", 8), ""},
	} {
		if r.got != r.want {
			t.Errorf("got %q, want %q", r.got, r.want)
		}
	}
}
