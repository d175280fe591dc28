package sandbox

import (
	"fmt"
	"math"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// nobody is who a child of root becomes.
const nobody = 65534

// armour puts on what protects the machine from what runs in this process, before it
// reads a byte of a module, and tells what it could not have. read and write are
// folders it needs.
func armour(h harden, compile bool, read, write string) (missing []string) {
	if h.Portable {
		return nil // the parent knows
	}
	lack := func(what string, err error) {
		if err != nil {
			missing = append(missing, fmt.Sprintf("%s (%v)", what, err))
		}
	}
	lack("no core dumps", unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}))
	lack("limit on descriptors", unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 8192, Max: 8192}))
	if compile {
		lack("limit on compile time", unix.Setrlimit(unix.RLIMIT_CPU, &unix.Rlimit{Cur: compileCPU, Max: compileCPU + 2}))
		lack("limit on compile memory", unix.Setrlimit(unix.RLIMIT_AS, &unix.Rlimit{Cur: uint64(h.Memory), Max: uint64(h.Memory)}))
	}
	// A group of its own with all threads it has.
	lack("low priority", unix.Setpriority(unix.PRIO_PGRP, 0, 5))
	if h.NoLandlock {
		missing = append(missing, "Landlock (switched off)")
	} else {
		lack("Landlock", landlock(read, write))
	}
	lack("no new privileges", unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) // the filter takes it to all threads
	lack("seccomp", seccomp(firstFilter(compile)))
	return missing
}

// seal is armour's second half, when the module is loaded and before the guest runs:
// no file can be opened any more, and root becomes nobody.
func seal(h harden) (missing []string) {
	if h.Portable {
		return nil
	}
	if os.Geteuid() == 0 {
		if err := becomeNobody(); err != nil {
			missing = append(missing, fmt.Sprintf("another user than root (%v)", err))
		}
	}
	if err := seccomp(secondFilter()); err != nil {
		missing = append(missing, fmt.Sprintf("seccomp's second filter (%v)", err))
	}
	return missing
}

func becomeNobody() error {
	if err := syscall.Setgroups(nil); err != nil {
		return err
	}
	if err := syscall.Setresgid(nobody, nobody, nobody); err != nil {
		return err
	}
	if err := syscall.Setresuid(nobody, nobody, nobody); err != nil {
		return err
	}
	// The kernel forgot this with the change.
	return unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
}

// landlockABI is the version of Landlock that the kernel has.
func landlockABI() (int, error) {
	v, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if e != 0 {
		return 0, e
	}
	return int(v), nil
}

// allThreads says whether a system call can be made in all threads at once, which
// the Go runtime does not offer to programs with cgo.
func allThreads() error {
	if _, _, e := syscall.AllThreadsSyscall(unix.SYS_GETPID, 0, 0, 0); e != 0 {
		return fmt.Errorf("a program built with cgo cannot: %w", e)
	}
	return nil
}

// landlock denies all of the file system but for reading below read, and reading and writing
// below write, and all of TCP that is not handed over.
func landlock(read, write string) error {
	abi, err := landlockABI()
	if err != nil {
		return err
	}
	if err := allThreads(); err != nil {
		return err
	}
	// Version 1 has 13 rights, each of the next a few more.
	files := uint64(1<<13 - 1)
	if abi >= 2 {
		files |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= 3 {
		files |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 5 {
		files |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	attr := unix.LandlockRulesetAttr{Handled_access_fs: files}
	if abi >= 4 {
		attr.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	ruleset, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if e != 0 {
		return e
	}
	defer unix.Close(int(ruleset))
	const look = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	const change = look | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_DIR |
		unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	for dir, rights := range map[string]uint64{read: look, write: change & files} {
		if dir == "" {
			continue
		}
		if err := landlockRule(int(ruleset), dir, rights); err != nil {
			return err
		}
	}
	if _, _, e := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); e != 0 {
		return e
	}
	if _, _, e := syscall.AllThreadsSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0, 0); e != 0 {
		return e
	}
	return nil
}

func landlockRule(ruleset int, dir string, rights uint64) error {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// The kernel's structure is packed: 12 bytes, which ours begins with.
	rule := unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(fd)}
	if _, _, e := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0); e != 0 {
		return e
	}
	return nil
}

// seccomp installs a filter in all threads; a thread made later has it too.
func seccomp(filter []unix.SockFilter) error {
	if len(filter) == 0 {
		return fmt.Errorf("no filter for this processor")
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	thread, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if e != 0 {
		return e
	}
	if thread != 0 {
		return fmt.Errorf("thread %d did not take it", thread)
	}
	return nil
}

// absent tells what this system lacks, without putting anything on.
func absent(noLandlock bool) (missing []string) {
	if noLandlock {
		missing = append(missing, "Landlock (switched off)")
	} else if _, err := landlockABI(); err != nil {
		missing = append(missing, fmt.Sprintf("Landlock (%v)", err))
	} else if err := allThreads(); err != nil {
		missing = append(missing, fmt.Sprintf("Landlock (%v)", err))
	}
	action := uint32(unix.SECCOMP_RET_ERRNO)
	if _, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action))); e != 0 {
		missing = append(missing, fmt.Sprintf("seccomp (%v)", e))
	} else if len(firstFilter(false)) == 0 {
		missing = append(missing, "seccomp (no filter for this processor)")
	}
	return missing
}

// bound sets what this process may map writable for itself, clones of an image included
// in full.
func bound(bytes int64) error {
	limit := unix.Rlimit{Cur: uint64(bytes), Max: math.MaxUint64}
	return unix.Prlimit(0, unix.RLIMIT_DATA, &limit, nil)
}
