package transfer

import (
	"errors"
	"io"
	"testing"
)

func TestErrors(t *testing.T) {
	gone := FileError{Name: "a\x1bb", Err: ErrSourceChanged}
	theirs := FileError{Err: &RemoteError{Code: "exists", Message: "b: exists already"}}
	tests := []struct {
		err  error
		want string
		code string
		is   error
	}{
		{nil, "", "", nil},
		{io.EOF, "EOF", "failed", io.EOF},
		{gone, "a�b: changed while it was being sent", "source-changed", ErrSourceChanged},
		{theirs, "the other side says: b: exists already", "exists", ErrExists},
		{&RemoteError{Code: "interrupted"}, "the other side interrupted the transfer", "interrupted", ErrInterrupted},
		{&RemoteError{Code: "telepathy"}, "the other side reported: telepathy", "failed", nil},
		{&Incomplete{Failed: []FileError{gone}, Count: 1, Of: 5}, "incomplete: a�b: changed while it was being sent", "incomplete", ErrSourceChanged},
		{&Incomplete{Failed: []FileError{gone, theirs}, Count: 2000, Of: 5000}, "incomplete: 2000 of 5000 failed, first a�b: changed while it was being sent", "incomplete", ErrExists},
		{&Incomplete{Count: 1, Of: 5}, "incomplete: 1 of 5 failed", "incomplete", nil},
		{CheckName("a/b"), `file name not allowed: "a/b": it contains a path separator`, "bad-name", ErrName},
	}
	for _, tt := range tests {
		if got := Code(tt.err); got != tt.code {
			t.Errorf("Code(%v) = %q, want %q", tt.err, got, tt.code)
		}
		if tt.err != nil && tt.err.Error() != tt.want || tt.is != nil && !errors.Is(tt.err, tt.is) {
			t.Errorf("%q, want %q and %v", tt.err, tt.want, tt.is)
		}
	}
}
