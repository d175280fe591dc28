package sandbox

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// thisBinary opens the program that we are, so that a child is of the same version
// even when the file has been replaced.
func thisBinary() (string, *os.File, error) {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		path, err := os.Executable() // no /proc
		return path, nil, err
	}
	defer f.Close()
	// Out of the way of the descriptors that a child is given.
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 64)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd), os.NewFile(uintptr(fd), "wasmill"), nil
}

// keepOurs has no descriptor of ours go to a child by accident: those that we were
// started with are not closed by themselves.
func keepOurs() error {
	err := unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return nil
	}
	all, err := os.ReadDir("/proc/self/fd") // an older kernel
	for _, e := range all {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return err
}

// confine has the child in a process group of its own, and ended with us.
func confine(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// resident is what a process has of memory to itself, in bytes.
func resident(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	var size, all, shared int64
	if _, err := fmt.Sscan(string(b), &size, &all, &shared); err != nil {
		return 0, err
	}
	return (all - shared) * int64(os.Getpagesize()), nil
}

// awaitEnd waits for a child to end and leaves it to be waited for.
func awaitEnd(pid int) {
	for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
}
