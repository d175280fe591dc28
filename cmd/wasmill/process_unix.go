//go:build unix

package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// apart makes a process live on when its parent and terminal have gone.
func apart(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

// alive says whether a process of that id runs. One that has ended and that nobody
// has asked after yet (a zombie) takes signals still, and does not run; Linux tells.
func alive(pid int) bool {
	if pid <= 0 {
		return false
	}
	if stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err == nil {
		// proc(5): the state stands behind the name, which may hold anything.
		if _, rest, ok := bytes.Cut(stat[max(0, bytes.LastIndexByte(stat, ')')):], []byte(") ")); ok && len(rest) > 0 && (rest[0] == 'Z' || rest[0] == 'X') {
			return false
		}
	}
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}
