package dnssd

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// ServiceName is the name of the service type in DNS.
	ServiceName = "_tcppunch._tcp.local."
	// IDBytes is how many bytes an ID stands for.
	IDBytes = 8

	metaName = "_services._dns-sd._udp.local." // RFC 6763, section 9

	shown    = 8  // digits of the ID in an instance name
	maxLabel = 63 // RFC 1035
	maxNick  = 40 // so that the digits have room in a label
	maxKey   = 128
	nameless = "tcppunch"
)

// Claims are what a program says of itself.
type Claims struct {
	ID, Name, Room, Key string
	Port                uint16
	Since               int64 // Unix time, or 0
}

// CleanName makes a name fit for a screen and for an instance name.
func CleanName(s string) string { return cut(cleanText(s), maxNick) }

// cleanText leaves out what is invalid or cannot be seen, direction marks and line ends among it.
func cleanText(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
	return strings.TrimSpace(s)
}

// cut shortens s to n bytes at a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return strings.TrimSpace(s[:n])
}

// Check says what is wrong with c, or returns nil. It is for what this program announces itself.
func (c *Claims) Check() error {
	switch {
	case !validID(c.ID):
		return fmt.Errorf("the ID is not %d hexadecimal digits", 2*IDBytes)
	case c.Port == 0:
		return errors.New("no port")
	case c.Room != "" && !validRoom(c.Room):
		return fmt.Errorf("the room is not 1 to %d printable bytes", maxLabel)
	case c.Key != "" && !validKey(c.Key):
		return fmt.Errorf("the key is not 1 to %d visible ASCII characters", maxKey)
	}
	return nil
}

func validID(s string) bool {
	return len(s) == 2*IDBytes && strings.Trim(s, "0123456789abcdef") == ""
}

func validRoom(s string) bool { return s != "" && len(s) <= maxLabel && cleanText(s) == s }

func validKey(s string) bool {
	return s != "" && len(s) <= maxKey && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// instanceLabel is the first label of an instance name: a name for people, as RFC 6763, section 4.1.1 wants it, and
// digits that make it unique. So two hosts of one name never compete for it, and nobody has to be renamed.
func instanceLabel(name, id string) string {
	if name == "" {
		name = nameless
	}
	return name + " (" + id[:shown] + ")"
}

// nickname is the name in an instance label of the program with that ID. Labels that others made are names as a whole.
func nickname(label, id string) string {
	if len(id) >= shown {
		if name, ok := strings.CutSuffix(label, " ("+id[:shown]+")"); ok {
			label = name
			if label == nameless {
				return ""
			}
		}
	}
	return cleanText(label)
}

// escapeLabel writes a label as a part of a name in text form.
func escapeLabel(s string) string {
	return strings.NewReplacer(`\`, `\\`, `.`, `\.`).Replace(s)
}

// splitName returns the first label of a name in text form, without escapes, and the rest with its escapes.
func splitName(s string) (label, rest string) {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '.':
			return unescape(s[:i]), s[i+1:]
		case '\\':
			i++ // what follows is no separator
		}
	}
	return unescape(s), ""
}

// unescape takes the escapes out of text of a name or a TXT record: \. and such, and \123.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c != '\\':
			b.WriteByte(c)
		case i+3 < len(s) && isDigit(s[i+1]) && isDigit(s[i+2]) && isDigit(s[i+3]):
			b.WriteByte((s[i+1]-'0')*100 + (s[i+2]-'0')*10 + s[i+3] - '0')
			i += 3
		case i+1 < len(s):
			i++
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// instanceOf returns the label of an instance of our service type, or false.
func instanceOf(name string) (string, bool) {
	label, rest := splitName(name)
	if label == "" || !strings.EqualFold(rest, ServiceName) {
		return "", false
	}
	return label, true
}
