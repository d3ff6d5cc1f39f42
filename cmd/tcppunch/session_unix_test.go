//go:build unix

package main

import "syscall"

// noTerminal gives a program a session of its own, so that it does not ask the
// person who runs the tests.
func noTerminal() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
