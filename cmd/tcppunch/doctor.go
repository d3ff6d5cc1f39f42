package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/mattn/go-runewidth"
)

// runDoctor tests this network and says what may keep peers from being seen. However
// bad it looks, that is no failure.
func runDoctor(ctx context.Context, out *output) error {
	width, _ := out.screenSize()
	tell := func(lines []string) {
		for _, line := range lines {
			out.say("%s", line)
		}
	}
	tell(wrapped(fmt.Sprintf("Testing the local network, which takes %.0f seconds …", (doctorLooks+doctorTries).Seconds()), width, 0))
	r, err := examine(ctx, out)
	if err != nil {
		return err
	}
	all := verdicts(r)
	for _, f := range all {
		out.event("finding", f)
		tell(findingLines(f, width))
	}
	tell(wrapped(summary(all), width, 0))
	return nil
}

// summary counts what was found.
func summary(all []finding) string {
	n := make(map[level]int)
	for _, f := range all {
		n[f.Level]++
	}
	switch {
	case n[isProblem] > 0:
		return fmt.Sprintf("%s found.", plural(n[isProblem], "problem"))
	case n[isSuspected] > 0:
		return "No problem that could be shown, but one that is likely."
	}
	return "No problem found on this side. The same test on the other machine may tell more."
}

// findingLines are a finding on a screen of that width.
func findingLines(f finding, width int) []string {
	mark, indent := fmt.Sprintf("%-10s ", f.Level), 11
	if width < peerTable {
		mark, indent = string(f.Level)+": ", 2
	}
	lines := wrapped(mark+f.Result+".", width, indent)
	rest := "Tested: " + f.Tested + "."
	if f.Advice != "" {
		rest += " " + f.Advice + "."
	}
	return append(lines, wrapped(strings.Repeat(" ", indent)+rest, width, indent)...)
}

// wrapped breaks text between words, and begins all lines but the first with spaces.
func wrapped(text string, width, indent int) []string {
	start := len(text) - len(strings.TrimLeft(text, " "))
	line, used := text[:start], start
	var lines []string
	first := true
	for _, word := range strings.SplitAfter(text[start:], " ") {
		w := runewidth.StringWidth(strings.TrimRight(word, " "))
		if !first && used+w > width {
			lines = append(lines, strings.TrimRight(line, " "))
			line, used = strings.Repeat(" ", indent), indent
		}
		first = false
		line += word
		used += runewidth.StringWidth(word)
	}
	return append(lines, strings.TrimRight(line, " "))
}
