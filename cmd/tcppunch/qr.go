package main

import (
	"bytes"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/mdp/qrterminal/v3"
	"golang.org/x/term"
)

const (
	// qrSpare is how many lines of the screen a QR code leaves to the text.
	qrSpare = 5
	// maxQR is more bytes than fit on any screen.
	maxQR = 1024
)

// qr shows a text as a QR code, where people look at a screen with room for it.
func (o *output) qr(text string) {
	if !o.tty || o.json || len(text) > maxQR || os.Getenv("TERM") == "dumb" {
		return
	}
	width, height, err := term.GetSize(int(os.Stderr.Fd()))
	if err != nil {
		return
	}
	lines := qrLines(text)
	if len(lines) == 0 || len(lines)+qrSpare > height || utf8.RuneCountInString(lines[0]) > width {
		return
	}
	for _, l := range lines {
		// Light on dark, whatever the terminal's own colours: many readers
		// know no other.
		o.say("\x1b[40;97m%s\x1b[0m", l)
	}
}

// qrLines draws two rows of modules to a line.
func qrLines(text string) []string {
	var b bytes.Buffer
	qrterminal.GenerateWithConfig(text, qrterminal.Config{
		Level: qrterminal.L, Writer: &b, HalfBlocks: true, QuietZone: 2,
		BlackChar: qrterminal.BLACK_BLACK, WhiteChar: qrterminal.WHITE_WHITE,
		BlackWhiteChar: qrterminal.BLACK_WHITE, WhiteBlackChar: qrterminal.WHITE_BLACK,
	})
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}
