package transfer

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxName       = 255 // bytes: what ext4, APFS and NTFS all hold
	maxDisplay    = 1024
	maxQuoted     = 200 // bytes of a name in an error: quoting makes four of one, and all must fit maxDisplay
	partialSuffix = ".tcppunch-part"
)

// CheckName says whether a file may be received under name, which must be one
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
//   - names that end like the partial files of this package
//
// The characters < > : " | ? * are common elsewhere and cannot be stored by
// Windows: only a receiver on Windows refuses them, and it says so to the sender
// before the offer.
func CheckName(name string) error {
	if reason := nameFault(name); reason != "" {
		return badName(name, reason)
	}
	return nil
}

// checkNameWindows adds what only a receiver on Windows refuses.
func checkNameWindows(name string) error {
	if i := strings.IndexAny(name, `<>:"|?*`); i >= 0 {
		return badName(name, fmt.Sprintf("Windows cannot store the character %c", name[i]))
	}
	return nil
}

func badName(name, reason string) error {
	// Quoted, so that what is wrong with the name can be seen.
	more := ""
	if len(name) > maxQuoted {
		name, more = name[:maxQuoted], "…"
	}
	return &failure{kind: ErrName, text: fmt.Sprintf("%q%s: %s", name, more, reason)}
}

func nameFault(name string) string {
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
	case strings.HasSuffix(foldName(name), partialSuffix):
		return "it ends like an unfinished transfer"
	case isDeviceName(name):
		return "it is a device name on Windows"
	}
	for _, r := range name {
		if unprintable(r) {
			return fmt.Sprintf("it contains the invisible character %U", r)
		}
	}
	return ""
}

// unprintable reports control and format characters and line breaks. The joiners
// are format characters by category, but part of how people write.
func unprintable(r rune) bool {
	if r == '\u200c' || r == '\u200d' {
		return false
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}

// isDeviceName follows what Windows does: what stands before the first dot or
// colon decides, spaces before these do not count, nor does case.
func isDeviceName(name string) bool {
	base := name
	if i := strings.IndexAny(base, ".:"); i >= 0 {
		base = base[:i]
	}
	base = strings.ToUpper(strings.TrimRight(base, " "))
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

// foldName maps names that a case-insensitive file system takes for one to the same string.
func foldName(name string) string {
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

// Clean makes a string from elsewhere safe to print on a terminal: control
// characters, escape sequences, bidirectional overrides, line breaks and invalid
// UTF-8 become U+FFFD, and what is longer than 1024 bytes is cut.
func Clean(s string) string {
	cut := len(s) > maxDisplay
	if cut {
		s = s[:maxDisplay]
	}
	s = strings.Map(func(r rune) rune {
		if unprintable(r) {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(s, string(utf8.RuneError)))
	if cut {
		s += "…"
	}
	return s
}

// partialName hides an unfinished file. The random word keeps out files and links
// that somebody may have put there in advance.
func partialName(name, random string) string {
	room := maxName - len(partialSuffix) - len(random) - len("..")
	for len(name) > room {
		_, n := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-n]
	}
	return "." + name + "." + random + partialSuffix
}

// nameSet finds names that cannot stand side by side on every system.
type nameSet map[string]struct{}

func (s nameSet) add(name string) error {
	key := foldName(name)
	if _, twice := s[key]; twice {
		return badName(name, "two files have this name, but for upper and lower case at most")
	}
	s[key] = struct{}{}
	return nil
}
