package store

import "golang.org/x/sys/windows"

const errPipe = windows.ERROR_NO_DATA
