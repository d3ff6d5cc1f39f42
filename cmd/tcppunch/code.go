package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/term"

	"github.com/tcppunch/tcppunch/tcppunch"
	"github.com/tcppunch/tcppunch/tcppunch/pair"
)

// codeFlags are the flags of commands that meet a peer by a code.
type codeFlags struct {
	serverFlags
	Code string `placeholder:"CODE" help:"A code of your own, such as home-otter-lamp. Either side may start first. Also TCPPUNCH_CODE."`
	// The bounds are those of tcppunch.Config.
	Sockets int `default:"256" help:"How many connections to try at once where a router hides its ports: 1 to 4096. Small routers do not like many."`

	serverTyped bool // --server stood on the command line, not in the environment or the config file
}

// AfterApply notes what a person on another machine has to type too.
func (f *codeFlags) AfterApply(kctx *kong.Context) error {
	for _, p := range kctx.Path {
		if p.Flag != nil && p.Flag.Name == "server" && !p.Resolved {
			f.serverTyped = true
		}
	}
	return nil
}

// viaFlags choose the transport.
type viaFlags struct {
	Via string `default:"auto" enum:"auto,tcp,kcp" help:"How to connect: auto, tcp, or kcp (a stream over UDP). auto prefers TCP, and takes UDP where that alone gets through."`
	// Negative would be odd to type.
	HeadStart time.Duration `default:"0s" placeholder:"2s" help:"How long TCP has priority over UDP. 2s unless said, 5s where a router hides its ports."`
}

// transport is the flag in the engine's terms.
func (f *viaFlags) transport() tcppunch.Via {
	if f.Via == "auto" {
		return tcppunch.ViaAuto
	}
	return tcppunch.Via(f.Via)
}

// findFlags are the flags of commands that connect to a peer, with a server or without one.
type findFlags struct {
	peerFlags
	codeFlags
	viaFlags
}

var (
	errNoWay  = errors.New("tell where the two sides meet: at a server, for a short code (--server HOST), at the other side's address (--peer ip:port, or --peer ask), or on the local network (without --no-lan)")
	errNearBy = errors.New("on the local network two sides meet by TCP: for --via kcp, tell where they meet (--server HOST, or --peer ip:port)")
)

var errSockets = errors.New("--sockets must be 1 to 4096")

// checkWays refuses what does not say how to meet the peer by a code. Who does not look on
// the local network says so with a nil.
func (f *findFlags) checkWays(given string, lan *lanFlags) error {
	switch {
	case given != "" && f.Code != "" && given != f.Code:
		return usage(errors.New("two codes were given, with --code and without"))
	case f.Peer != "":
		return usage(errors.New("a code and the other side's address (--peer, TCPPUNCH_PEER) were given: give one of them"))
	case f.Server == "" && (lan == nil || !lan.LAN):
		return usage(errNoWay)
	case f.Sockets < 1 || f.Sockets > 4096:
		return usage(errSockets)
	}
	if _, err := f.host(); err != nil {
		return usage(err)
	}
	return nil
}

// code finds the code, or returns none where the server shall hand one out.
func (f *codeFlags) code(ctx context.Context, given string, side tcppunch.Side, timeout time.Duration, out *output) (pair.Code, error) {
	text := cmp.Or(given, f.Code, os.Getenv("TCPPUNCH_CODE"))
	if text == "" && side == tcppunch.SideA {
		return pair.Code{}, nil
	}
	if text == "" && !term.IsTerminal(int(os.Stdin.Fd())) {
		var err error
		if text, err = codeFromInput(ctx, timeout, out); err != nil {
			return pair.Code{}, err
		}
	}
	if text == "" {
		return askCode(ctx, out)
	}
	code, err := pair.ParseCode(text)
	if err != nil {
		return pair.Code{}, usage(err)
	}
	return code, nil
}

// codeFromInput reads the code from standard input, which may never end.
func codeFromInput(ctx context.Context, timeout time.Duration, out *output) (string, error) {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer time.AfterFunc(time.Second, func() { out.say("Reading the code from standard input …") }).Stop()
	text, err := readLine(limited, os.Stdin)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		return "", usage(fmt.Errorf("no code came on standard input within %v", timeout))
	}
	return text, err
}

// readLine reads one line, or nothing from what has ended.
func readLine(ctx context.Context, f *os.File) (string, error) {
	got := make(chan answer, 1)
	go func() { // it ends with the file, or with the process
		const most = 4096
		line, err := bufio.NewReader(io.LimitReader(f, most)).ReadString('\n')
		got <- answer{strings.TrimSpace(line), err}
	}()
	select {
	case a := <-got:
		if a.err != nil && a.err != io.EOF {
			return "", fmt.Errorf("reading the code from standard input: %w", a.err)
		}
		return a.line, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// askCode asks the person until there is a code.
func askCode(ctx context.Context, out *output) (pair.Code, error) {
	t, err := openTerminal()
	if err != nil {
		return pair.Code{}, usage(errors.New("the code is missing: give it as an argument, in TCPPUNCH_CODE, or on standard input"))
	}
	defer t.Close()
	for {
		text, err := t.askCompleting(ctx, "Code: ", completeCode)
		if err != nil {
			return pair.Code{}, err
		}
		if text == "" {
			continue
		}
		code, err := pair.ParseCode(text)
		if err == nil {
			return code, nil
		}
		out.say("%v", err)
	}
}

// completeCode completes the word at the end of what was typed of a code. What
// stands before the first dash is the room, which nobody here knows.
func completeCode(line string) string {
	isDash := func(r rune) bool { return r == '-' || r == ' ' }
	at := strings.LastIndexFunc(line, isDash) + 1
	words := pair.Complete(line[at:])
	if at == 0 || at == len(line) || len(words) == 0 {
		return line
	}
	common := words[0]
	for _, w := range words[1:] {
		for !strings.HasPrefix(w, common) {
			common = common[:len(common)-1]
		}
	}
	if len(words) == 1 && len(strings.FieldsFunc(line, isDash)) == 2 {
		common += "-" // a second word follows
	}
	return line[:at] + common
}

// stunUsed are the STUN servers to ask: without a server nothing leaves the local network,
// unless some were given.
func (f *codeFlags) stunUsed(given []string) []string {
	if f.Server == "" && len(given) == 0 {
		return nil
	}
	return f.stun(given)
}

// where the two sides meet, for the waiting event.
func (f *codeFlags) where() string { return cmp.Or(f.Server, "lan") }

// commandFor is what to type on the other machine to run a command with the code.
func (f *codeFlags) commandFor(command string, code pair.Code) string {
	command = "tcppunch " + command + " " + shellWord(code.String())
	if f.serverTyped {
		command += " --server " + shellWord(f.Server)
	}
	return command
}

// shellWord quotes what shells would not take as one word.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.:/@", r)
	}
	if s != "" && strings.TrimFunc(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
