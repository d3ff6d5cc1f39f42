package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// configFiles is where defaults for flags may stand, as JSON.
func configFiles() []string {
	dir, err := configDir()
	if err != nil {
		return nil
	}
	return []string{filepath.Join(dir, "config.json")}
}

// defaults reads a config file. A key is a flag's name as it is typed; what the command line
// or the environment says comes first.
func defaults(r io.Reader) (kong.Resolver, error) {
	values := map[string]any{}
	if err := json.NewDecoder(r).Decode(&values); err != nil {
		return nil, err
	}
	return kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		if slices.ContainsFunc(environment(flag), isSet) {
			return nil, nil
		}
		for _, key := range keys(flag.Name) {
			if v, ok := values[key]; ok {
				return v, nil
			}
		}
		return nil, nil
	}), nil
}

// keys are head-start, head_start and headStart.
func keys(name string) []string {
	camel := ""
	for i, word := range strings.Split(name, "-") {
		if i > 0 {
			word = strings.ToUpper(word[:1]) + word[1:]
		}
		camel += word
	}
	return []string{name, strings.ReplaceAll(name, "-", "_"), camel}
}

// environment is the variables that stand for a flag. The code has one, too, which the
// command reads only when no code was typed.
func environment(flag *kong.Flag) []string {
	if flag.Name == "code" {
		return []string{"TCPPUNCH_CODE"}
	}
	return flag.Envs
}

func isSet(name string) bool { return os.Getenv(name) != "" }
