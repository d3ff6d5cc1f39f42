package fault

import (
	"strings"
	"testing"
)

func TestClean(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", ""},
		{"plain text, Résumé 日本", "plain text, Résumé 日本"},
		{"a\x1b[31mred\x1b]0;title\a", "a�[31mred�]0;title�"},
		{"two\nlines\r", "two�lines�"},
		{"a\u202eb\u009bc", "a�b�c"},
		{"a\xff\xfeb", "a�b"},
		{strings.Repeat("x", 2000), strings.Repeat("x", 1024) + "…"},
	}
	for _, tt := range tests {
		if got := Clean(tt.in); got != tt.want {
			t.Errorf("Clean(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}
