//go:build !linux

package main

import "testing"

func execOverQuota() { panic("Linux only") }

func mountTmpfs(t *testing.T, dir, options string) { t.Skip("no tmpfs here") }
