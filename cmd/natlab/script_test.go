package main

import (
	"os"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/tcppunch/tcppunch/tcppunch/natlab"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"natlab": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Condition: func(cond string) (bool, error) {
			return cond == "lab" && natlab.Support() == nil, nil
		},
		Setup: func(e *testscript.Env) error {
			e.Setenv("XDG_RUNTIME_DIR", e.WorkDir)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"waitlab": waitlab, "waitfile": waitfile},
	})
}

// waitlab waits until the lab with that name is up.
func waitlab(ts *testscript.TestScript, _ bool, args []string) {
	for range 500 {
		if ts.Exec("natlab", "exec", "--name", args[0], args[1], "true") == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("lab %s did not come up", args[0])
}

// waitfile waits until the file is there.
func waitfile(ts *testscript.TestScript, _ bool, args []string) {
	for range 500 {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("%s did not appear", args[0])
}
