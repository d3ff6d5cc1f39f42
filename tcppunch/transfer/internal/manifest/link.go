package manifest

import (
	"fmt"
	"strings"

	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/fault"
	"github.com/tcppunch/tcppunch/tcppunch/transfer/internal/name"
)

// CheckTarget says whether a link at linkPath, in the manifest, may point to target: only
// to the inside of the top-level folder that the link is in, so that nothing is ever
// reached outside by way of it. The error wraps ErrLink.
//
// A target is relative and clean: ".." in front only, then elements that pass name.Check,
// none of them like a drive letter; or "." alone. That holds for chains of links too. The
// folders of a manifest are real ones, so each ".." leaves one level of those that are
// counted here; and behind a link that is then met on the way down there is no ".." any more.
// A link at the top level has no folder to stay in, and may point nowhere.
func CheckTarget(linkPath, target string) error {
	if why := targetProblem(strings.Count(linkPath, "/"), target); why != "" {
		return &fault.Failure{Kind: fault.ErrLink, Name: linkPath, Text: why}
	}
	return nil
}

// targetProblem is for a link that is in so many folders. Whether they are the ones of
// this manifest is not its concern.
func targetProblem(folders int, target string) string {
	switch {
	case target == "":
		return "it points to nothing"
	case len(target) > MaxTarget:
		return fmt.Sprintf("its target is longer than %d bytes", MaxTarget)
	case target[0] == '/':
		return "leads out of the folder"
	}
	rest := target
	for rest == ".." || strings.HasPrefix(rest, "../") {
		folders--
		if rest = strings.TrimPrefix(rest[2:], "/"); rest == "" {
			break
		}
	}
	switch {
	case folders < 1:
		return "leads out of the folder"
	case target == ".":
		return ""
	case rest == "" && !strings.HasSuffix(target, "/"):
		return ""
	}
	for elem := range strings.SplitSeq(rest, "/") {
		if name.Check(elem) != nil || isDrive(elem) {
			return "its target is not allowed"
		}
	}
	return ""
}

// isDrive reports what Windows could take for a place on another drive.
func isDrive(elem string) bool {
	return len(elem) > 1 && elem[1] == ':' && 'a' <= lower(elem[0]) && lower(elem[0]) <= 'z'
}
