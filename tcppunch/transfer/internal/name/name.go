// Package name judges the names of files that come from elsewhere.
package name

import (
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/zeebo/blake3"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
)

const (
	maxName       = 255 // bytes: what ext4, APFS and NTFS all hold
	maxQuoted     = 200 // bytes of a name in an error: quoting makes four of one, and all must fit what fault.Clean leaves
	partialSuffix = ".tcppunch-part"
	ownPrefix     = ".tcppunch-" // journals
)

// Check says whether a file may be received under name, which must be one
// path element. A bad name is refused, never altered: an altered name could meet
// another file, and nobody would find what they were sent. The error wraps ErrName.
//
// Refused everywhere, because it leaves the folder, deceives the eye, or turns
// into something else when the file is copied on to another system:
//
//   - the empty name, "." and "..", any slash or backslash
//   - invalid UTF-8, control characters (C0, DEL, C1), line and paragraph separators
//   - Unicode format characters, the bidirectional ones above all. U+200C and U+200D
//     may pass: Persian and emoji names need them
//   - Windows device names (CON, NUL, COM1 …), with any extension and in any case
//   - a dot or a space at the end, more than 255 bytes
//   - names that end like partial files, or begin like journals, of transfers
//
// The characters < > : " | ? * are common elsewhere and cannot be stored by
// Windows: only a receiver on Windows refuses them.
func Check(name string) error {
	if why := reason(name); why != "" {
		return bad(name, why)
	}
	return nil
}

// CheckWindows adds what only a receiver on Windows refuses.
func CheckWindows(name string) error {
	if i := strings.IndexAny(name, `<>:"|?*`); i >= 0 {
		return bad(name, fmt.Sprintf("Windows cannot store the character %c", name[i]))
	}
	return nil
}

func bad(name, reason string) error {
	// Quoted, so that what is wrong with the name can be seen.
	more := ""
	if len(name) > maxQuoted {
		name, more = name[:maxQuoted], "…"
	}
	return &fault.Failure{Kind: fault.ErrName, Text: fmt.Sprintf("%q%s: %s", name, more, reason)}
}

func reason(name string) string {
	switch {
	case name == "":
		return "it is empty"
	case name == "." || name == "..":
		return "it names a folder"
	case len(name) > maxName:
		return fmt.Sprintf("it is longer than %d bytes", maxName)
	case !utf8.ValidString(name):
		return "it is not valid UTF-8"
	case strings.ContainsAny(name, `/\`):
		return "it contains a path separator"
	case strings.HasSuffix(name, ".") || strings.HasSuffix(name, " "):
		return "it ends in a dot or a space"
	case strings.HasSuffix(Fold(name), partialSuffix):
		return "it ends like an unfinished transfer"
	case strings.HasPrefix(Fold(name), ownPrefix):
		return "it begins like the notes of a transfer"
	case isDeviceName(name):
		return "it is a device name on Windows"
	}
	for _, r := range name {
		if r < ' ' || r > '~' && fault.Unprintable(r) { // almost all of almost all names is ASCII
			return fmt.Sprintf("it contains the invisible character %U", r)
		}
	}
	return ""
}

// isDeviceName follows what Windows does: what stands before the first dot or
// colon decides, spaces before these do not count, nor does case.
func isDeviceName(name string) bool {
	base := name
	if i := strings.IndexAny(base, ".:"); i >= 0 {
		base = base[:i]
	}
	base = strings.TrimRight(base, " ")
	if len(base) > len("CONOUT$") {
		return false
	}
	base = strings.ToUpper(base)
	switch base {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$":
		return true
	}
	port, ok := strings.CutPrefix(base, "COM")
	if !ok {
		port, ok = strings.CutPrefix(base, "LPT")
	}
	return ok && utf8.RuneCountInString(port) == 1 && strings.Contains("0123456789¹²³", port)
}

// Fold maps names that a case-insensitive file system takes for one to the same string.
func Fold(name string) string {
	return strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf {
			if 'A' <= r && r <= 'Z' {
				r += 'a' - 'A'
			}
			return r
		}
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		if 'A' <= least && least <= 'Z' { // the Kelvin sign and the long s
			least += 'a' - 'A'
		}
		return least
	}, name)
}

// Partial is the name under which a file is received until it is whole: hidden, and the
// same every time, so that a later run finds what an earlier one left.
func Partial(name string) string {
	sum := blake3.Sum256([]byte(name))
	word := "." + hex.EncodeToString(sum[:4]) + partialSuffix
	for len(name) > maxName-len(word)-1 {
		_, n := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-n]
	}
	return "." + name + word
}
