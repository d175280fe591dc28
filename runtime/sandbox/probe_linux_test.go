package sandbox

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"unsafe"

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
	// What the filter does not refuse fails in another way, or does not.
	b, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return append(seen, stage+": not be probed")
	}
	at := uintptr(unsafe.Pointer(&b[0]))
	self, server := uintptr(os.Getpid()), uintptr(os.Getppid())
	for _, c := range []struct {
		what string
		call uintptr
		args [6]uintptr
	}{
		{"make memory executable", unix.SYS_MPROTECT, [6]uintptr{at, 4096, unix.PROT_READ | unix.PROT_EXEC}},
		{"map executable memory", unix.SYS_MMAP, [6]uintptr{0, 4096, unix.PROT_READ | unix.PROT_EXEC, unix.MAP_ANON | unix.MAP_PRIVATE, ^uintptr(0)}},
		{"make memory executable by a key", unix.SYS_PKEY_MPROTECT, [6]uintptr{at, 4096, unix.PROT_EXEC, ^uintptr(0)}},
		{"have a connection signal the server", unix.SYS_FCNTL, [6]uintptr{3, unix.F_SETOWN, server}},
		{"choose the signal", unix.SYS_FCNTL, [6]uintptr{3, unix.F_SETSIG, uintptr(unix.SIGKILL)}},
		{"signal a thread of the server", unix.SYS_TGKILL, [6]uintptr{server, server, 0}},
		{"queue a signal", unix.SYS_RT_SIGQUEUEINFO, [6]uintptr{server, 0, at}},
		{"send a signal by a descriptor", unix.SYS_PIDFD_SEND_SIGNAL, [6]uintptr{3, 0, 0, 0}},
		{"have a descriptor of the server", unix.SYS_PIDFD_OPEN, [6]uintptr{server}},
		{"take a descriptor of the server's", unix.SYS_PIDFD_GETFD, [6]uintptr{3, 1, 0}},
		{"read the server's memory", unix.SYS_PROCESS_VM_READV, [6]uintptr{server, at, 1, at, 1}},
		{"write the server's memory", unix.SYS_PROCESS_VM_WRITEV, [6]uintptr{server, at, 1, at, 1}},
		{"compare with the server", unix.SYS_KCMP, [6]uintptr{self, server, 0, 0, 0}},
		{"make a namespace by clone", unix.SYS_CLONE, [6]uintptr{unix.CLONE_NEWUSER | unix.CLONE_VM}},
		{"start by clone3", unix.SYS_CLONE3, [6]uintptr{at, 0}},
		{"start a program by descriptor", unix.SYS_EXECVEAT, [6]uintptr{3, at, 0, 0, unix.AT_EMPTY_PATH}},
		{"have io_uring", unix.SYS_IO_URING_SETUP, [6]uintptr{1, at}},
		{"have bpf", unix.SYS_BPF, [6]uintptr{0, at, 0}},
		{"have perf", unix.SYS_PERF_EVENT_OPEN, [6]uintptr{at, 0, 0, ^uintptr(0)}},
		{"have userfaultfd", unix.SYS_USERFAULTFD, [6]uintptr{^uintptr(0)}},
		{"have keys", unix.SYS_KEYCTL, [6]uintptr{0, 0, 0}},
		{"open by handle", unix.SYS_OPEN_BY_HANDLE_AT, [6]uintptr{3, at, 0}},
		{"open by openat2", unix.SYS_OPENAT2, [6]uintptr{3, at, at, 0}},
		{"open a tree", unix.SYS_OPEN_TREE, [6]uintptr{3, at, 0}},
		{"make a link", unix.SYS_SYMLINKAT, [6]uintptr{at, 3, at}},
		{"connect what is connected anew", unix.SYS_CONNECT, [6]uintptr{3, at, 2}},
		{"bind", unix.SYS_BIND, [6]uintptr{3, at, 2}},
		{"accept", unix.SYS_ACCEPT4, [6]uintptr{3, 0, 0, 0}},
		{"make a pair of sockets", unix.SYS_SOCKETPAIR, [6]uintptr{^uintptr(0), 0, 0, 0}},
		{"change the priority", unix.SYS_SETPRIORITY, [6]uintptr{^uintptr(0), 0, 0}},
		{"change the root", unix.SYS_CHROOT, [6]uintptr{at}},
		{"change the personality", unix.SYS_PERSONALITY, [6]uintptr{0xffffffff}},
		{"say another filter", unix.SYS_SECCOMP, [6]uintptr{unix.SECCOMP_SET_MODE_FILTER, ^uintptr(0), at}},
		{"be dumped", unix.SYS_PRCTL, [6]uintptr{unix.PR_SET_DUMPABLE, 5}},
		{"call as x32", x32Getpid, [6]uintptr{}},
	} {
		_, _, e := unix.RawSyscall6(c.call, c.args[0], c.args[1], c.args[2], c.args[3], c.args[4], c.args[5])
		if e != unix.EPERM && e != unix.ENOSYS {
			note(fmt.Sprintf("%s (%v)", c.what, e), nil)
		}
	}
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

// x32Getpid is a system call of the other calling convention that amd64 kernels have.
const x32Getpid = 0x40000000 + 39
