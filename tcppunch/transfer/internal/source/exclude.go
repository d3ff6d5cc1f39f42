package source

import (
	"fmt"
	"path"
	"strings"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
)

// pattern is one of Options.Exclude.
type pattern struct {
	glob    string
	whole   bool // matched with the path, not with its last element
	folders bool // matches nothing else
}

func compile(patterns []string) ([]pattern, error) {
	var ps []pattern
	for _, s := range patterns {
		glob := strings.TrimRight(s, "/")
		p := pattern{folders: glob != s, whole: strings.Contains(glob, "/")}
		p.glob = strings.TrimPrefix(glob, "/")
		if _, err := path.Match(p.glob, ""); err != nil || p.glob == "" {
			return nil, &fault.Failure{Text: fmt.Sprintf("%q is not a pattern that files can match", s), Cause: err}
		}
		ps = append(ps, p)
	}
	return ps, nil
}

// excluded says whether a pattern matches what is listed as name. Those that are for
// folders only are left out unless it is one.
func excluded(ps []pattern, name string, folder bool) bool {
	for _, p := range ps {
		if p.folders && !folder {
			continue
		}
		subject := name
		if !p.whole {
			subject = name[strings.LastIndexByte(name, '/')+1:]
		}
		if ok, _ := path.Match(p.glob, subject); ok { // compile saw that it is well formed
			return true
		}
	}
	return false
}
