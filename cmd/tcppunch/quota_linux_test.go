package main

import (
	"os"
	"runtime"
	"testing"
	"unsafe"

	"github.com/tcppunch/tcppunch/tcppunch/natlab"
	"golang.org/x/sys/unix"
)

// execOverQuota answers each write at a place in a file with EDQUOT: few file systems have
// quotas, and few kernels have all that they need.
func execOverQuota() {
	os.Unsetenv(overQuota)
	runtime.LockOSThread()
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the system call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.SYS_PWRITE64},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EDQUOT)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	if err == nil {
		err = unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0)
	}
	if err == nil {
		err = unix.Exec(os.Args[1], os.Args[1:], os.Environ())
	}
	panic(err)
}

// TestQuota: the receiver's user may not store more, though the disk has room.
func TestQuota(t *testing.T) {
	t.Parallel()
	h := newHomes(t, natlab.NAT{}, natlab.NAT{})
	send := h.send(h.a.file("big.bin", 3<<20))
	cmd := h.b.command("recv", "--timeout=60s", "--out=out", "--peer", h.toA+words)
	cmd.Args = append([]string{os.Args[0]}, append([]string{cmd.Path}, cmd.Args[1:]...)...)
	cmd.Path = os.Args[0]
	cmd.Env = append(cmd.Env, overQuota+"=1")
	cmd.SysProcAttr = noTerminal()
	recv := h.b.run(cmd)
	recv.wantFailure(statusFailed, "no-space", "quota")
	send.wantFailure(statusFailed, "no-space", "the other side says")
	wantOnly(t, h.b.dir)
}
