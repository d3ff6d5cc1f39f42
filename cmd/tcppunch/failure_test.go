package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"testing"
	"time"

	"github.com/tcppunch/tcppunch/lanfind"
	"github.com/tcppunch/tcppunch/stunt"
	"github.com/tcppunch/tcppunch/tcppunch"
	"github.com/tcppunch/tcppunch/tcppunch/pair"
	"github.com/tcppunch/tcppunch/tcppunch/transfer"
)

func TestClassify(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("doing something: %w", err) }
	theirs := func(code string) error { return wrap(&transfer.RemoteError{Code: code}) }
	cases := []struct {
		err    error
		status int
		code   string
	}{
		{errors.New("anything"), 1, "failed"},
		{usage(errors.New("x")), 2, "usage"},
		{wrap(interrupted(context.Canceled)), 130, "interrupted"},
		{wrap(tcppunch.ErrPortInUse), 1, "port-in-use"},
		{wrap(tcppunch.ErrNoNetwork), 3, "no-network"},
		{wrap(lanfind.ErrSockets), 3, "no-network"},
		{wrap(pair.ErrWrongWords), 4, "wrong-code"},
		{wrap(pair.ErrWordsOnOneSide), 4, "wrong-code"},
		{wrap(pair.ErrNotConfirmed), 4, "not-confirmed"},
		{wrap(pair.ErrCommitment), 4, "not-confirmed"},
		{wrap(errNoTerminal), 4, "no-terminal"},
		{wrap(pair.ErrGuessed), 4, "wrong-code"},
		{wrap(pair.ErrProtocol), 1, "protocol"},
		{wrap(pair.ErrVersion), 1, "version"},
		{wrap(stunt.ErrDropped), 4, "wrong-code"},
		{wrap(stunt.ErrSideTaken), 1, "code-in-use"},
		{wrap(stunt.ErrRoomFull), 1, "code-in-use"},
		{wrap(stunt.ErrMismatch), 1, "code-in-use"},
		{wrap(stunt.ErrLimited), 1, "server-limit"},
		{wrap(stunt.ErrBusy), 1, "server-busy"},
		{wrap(stunt.ErrExpired), 3, "timeout"},
		{wrap(stunt.ErrNoServer), 3, "no-server"},
		{wrap(fs.ErrNotExist), 1, "not-found"},
		{wrap(fs.ErrPermission), 1, "permission"},
		{wrap(transfer.ErrRefused), 1, "refused"},
		{theirs("refused"), 5, "refused"},
		{wrap(transfer.ErrExists), 1, "exists"},
		{theirs("exists"), 5, "exists"},
		{wrap(transfer.ErrNoSpace), 1, "no-space"},
		{theirs("no-space"), 1, "no-space"},
		{wrap(transfer.ErrSourceChanged), 1, "source-changed"},
		{wrap(transfer.ErrHash), 1, "hash"},
		{wrap(transfer.ErrName), 1, "bad-name"},
		{theirs("bad-name"), 1, "bad-name"},
		{wrap(transfer.ErrProtocol), 1, "protocol"},
		{wrap(transfer.ErrVersion), 1, "version"},
		{theirs("interrupted"), 1, "interrupted"},
		{wrap(transfer.ErrPeerGone), 1, "peer-gone"},
		{theirs("something newer"), 1, "failed"},
	}
	for _, c := range cases {
		if f := classify(c.err); f.status != c.status || f.code != c.code {
			t.Errorf("%v: status %d, code %q, want %d, %q", c.err, f.status, f.code, c.status, c.code)
		}
	}
}

// TestClassifyDeadline: a Dial that found nobody in time was not interrupted.
func TestClassifyDeadline(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	local, err := tcppunch.Gather(ctx, &tcppunch.Config{Side: tcppunch.SideA, Port: freePorts(t, 4)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = tcppunch.Dial(ctx, &tcppunch.Config{
		Side: tcppunch.SideA, Local: local,
		Peer: []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), freePorts(t, 4))},
	})
	f := classify(wrapDial(err))
	if f.status != statusNoPath || f.code != "no-path" && f.code != "timeout" {
		t.Errorf("%v: status %d, code %q", err, f.status, f.code)
	}
	if f := classify(interrupted(err)); f.status != statusInterrupted || f.code != "interrupted" {
		t.Errorf("interrupted: status %d, code %q", f.status, f.code)
	}
}

func wrapDial(err error) error { return fmt.Errorf("connecting: %w", plainWords(err)) }
