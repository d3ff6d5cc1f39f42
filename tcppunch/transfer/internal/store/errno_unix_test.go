//go:build unix

package store

import "syscall"

const errPipe = syscall.EPIPE
