package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

// TestDefaults: what was typed comes before the environment, and that before the config
// file, whose keys are the flags' names.
func TestDefaults(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.json")
	text := `{"server": "file", "peer": "file", "code": "1-file", "timeout": "3m", "head-start": "3s", "head_start_": 1, "lan": false}`
	if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	parse := func(args ...string) (c cli) {
		t.Helper()
		parser, err := kong.New(&c, kong.Configuration(defaults, file))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parser.Parse(args); err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, v := range []string{"TCPPUNCH_SERVER", "TCPPUNCH_PEER", "TCPPUNCH_CODE", "TCPPUNCH_LAN"} {
		t.Setenv(v, "")
	}
	c := parse("recv")
	if r := c.Recv; r.Server != "file" || r.Peer != "file" || r.Code != "1-file" || c.Timeout != 3*time.Minute || r.HeadStart != 3*time.Second || r.LAN {
		t.Errorf("of the file: %+v", r)
	}
	t.Setenv("TCPPUNCH_SERVER", "environment")
	t.Setenv("TCPPUNCH_PEER", "environment")
	t.Setenv("TCPPUNCH_CODE", "1-environment")
	t.Setenv("TCPPUNCH_LAN", "yes")
	c = parse("recv", "--peer=typed", "--timeout=2m")
	if r := c.Recv; r.Server != "environment" || r.Peer != "typed" || r.Code != "" || c.Timeout != 2*time.Minute || !r.LAN {
		t.Errorf("the environment does not come before the file: %+v", r)
	}
}
