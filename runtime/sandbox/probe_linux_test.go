package sandbox

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// lookAround runs in the child: what it can see and do that it must not.
func lookAround(stage string) (seen []string) {
	note := func(what string, err error) {
		if err == nil {
			seen = append(seen, stage+": "+what)
		}
	}
	if stage == "started" {
		for _, kv := range os.Environ() {
			note("environment "+kv, nil)
		}
		// The directory itself is open while it is read; 0 to 2 are the null device and a pipe, one socket is
		// the connection, and the Go runtime has files of its own.
		dir, _ := os.Open("/proc/self/fd")
		names, _ := dir.Readdirnames(-1)
		own, sockets := fmt.Sprint(dir.Fd()), 0
		dir.Close()
		for _, n := range names {
			to, err := os.Readlink("/proc/self/fd/" + n)
			if strings.HasPrefix(to, "socket:") {
				sockets++
			} else if err == nil && n != own && n != "0" && n != "1" && n != "2" && !strings.HasPrefix(to, "anon_inode:") && !strings.HasPrefix(to, "/sys/fs/cgroup/") {
				note("descriptor "+n+" "+to, nil)
			}
		}
		if sockets > 1 {
			note(fmt.Sprint(sockets, " sockets"), nil)
		}
		return seen
	}
	_, err := os.ReadFile("/etc/passwd")
	note("read /etc/passwd", err)
	_, err = os.ReadFile(fmt.Sprintf("/proc/%d/environ", os.Getppid()))
	note("read the server's environment", err)
	_, err = os.ReadDir("/")
	note("list /", err)
	note("write a file", os.WriteFile(filepath.Join(os.TempDir(), "wasmill-probe"), nil, 0o600))
	note("make a folder", os.Mkdir(filepath.Join(os.TempDir(), "wasmill-probe-dir"), 0o700))
	note("remove a file", os.Remove("/tmp/wasmill-remove-me"))
	_, err = net.Dial("tcp", "127.0.0.1:1")
	if err != nil && strings.Contains(err.Error(), "refused") {
		err = nil // it got as far as that
	}
	note("connect", err)
	for _, family := range []int{unix.AF_INET, unix.AF_UNIX, unix.AF_NETLINK, unix.AF_PACKET} {
		_, err = unix.Socket(family, unix.SOCK_DGRAM, 0)
		note(fmt.Sprint("socket of family ", family), err)
	}
	_, err = net.Listen("tcp", "127.0.0.1:0")
	note("listen", err)
	note("start a program", exec.Command("/bin/true").Run())
	note("become another program", firstOf(syscall.Exec("/bin/nothing-there", nil, nil), syscall.ENOENT))
	err = unix.PtraceAttach(os.Getppid())
	note("trace the server", err)
	if err == nil {
		_ = unix.PtraceDetach(os.Getppid()) // it stands still else
	}
	note("signal the server", syscall.Kill(os.Getppid(), 0))
	note("mount", unix.Mount("none", "/mnt", "tmpfs", 0, ""))
	note("make a namespace", unix.Unshare(unix.CLONE_NEWUSER))
	note("become root", syscall.Setuid(0))
	var limit unix.Rlimit
	note("see the server's limits", unix.Prlimit(os.Getppid(), unix.RLIMIT_DATA, nil, &limit))
	note("open more files", unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1 << 20, Max: 1 << 20}))
	if os.Geteuid() == 0 {
		note("root", nil)
	}
	return seen
}

// firstOf takes an error for success: what was tried got that far.
func firstOf(err, success error) error {
	if err == success {
		return nil
	}
	return err
}
