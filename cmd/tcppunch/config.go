package main

import (
	"bytes"
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
	typed := map[string]any{}
	if err := json.NewDecoder(r).Decode(&typed); err != nil {
		return nil, err
	}
	keys := make(map[string]any, len(typed))
	for k, v := range typed {
		keys[strings.ReplaceAll(k, "-", "_")] = v
	}
	again, err := json.Marshal(keys)
	if err != nil {
		return nil, err
	}
	file, err := kong.JSON(bytes.NewReader(again))
	if err != nil {
		return nil, err
	}
	return kong.ResolverFunc(func(ctx *kong.Context, parent *kong.Path, flag *kong.Flag) (any, error) {
		if slices.ContainsFunc(environment(flag), isSet) {
			return nil, nil
		}
		return file.Resolve(ctx, parent, flag)
	}), nil
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
