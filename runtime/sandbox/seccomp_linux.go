//go:build linux && (amd64 || arm64)

package sandbox

import (
	"os"

	"golang.org/x/sys/unix"
)

// Offsets of struct seccomp_data; both processors are little endian.
const (
	dataNumber = 0
	dataArch   = 4
	dataArgs   = 16
)

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

// ifEqual goes on behind the next skip instructions unless the value is k.
func ifEqual(k uint32, skip uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jf: skip}
}

func answer(action uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
}

const refuse = uint32(unix.SECCOMP_RET_ERRNO) | uint32(unix.EPERM)

func begin() []unix.SockFilter {
	return []unix.SockFilter{
		load(dataArch),
		ifEqual(auditArch, 1),
		{Code: unix.BPF_JMP | unix.BPF_JA, K: 1},
		answer(unix.SECCOMP_RET_KILL_PROCESS),
		load(dataNumber),
	}
}

// allowIf lets a system call pass when masked bits of an argument are as wanted.
func allowIf(filter []unix.SockFilter, number uintptr, arg uint32, mask, want uint32) []unix.SockFilter {
	return append(filter,
		ifEqual(uint32(number), 5),
		load(dataArgs+8*arg),
		unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask},
		ifEqual(want, 1),
		answer(unix.SECCOMP_RET_ALLOW),
		answer(refuse),
	)
}

// allowThese lets a system call pass when an argument is one of some values.
func allowThese(filter []unix.SockFilter, number uintptr, arg uint32, values ...uint32) []unix.SockFilter {
	filter = append(filter, ifEqual(uint32(number), uint8(2+2*len(values))), load(dataArgs+8*arg))
	for _, v := range values {
		filter = append(filter, ifEqual(v, 1), answer(unix.SECCOMP_RET_ALLOW))
	}
	return append(filter, answer(refuse))
}

// writing are the bits of open's flags that do more than read.
const writing = unix.O_ACCMODE | unix.O_CREAT | unix.O_TRUNC | unix.O_APPEND | (unix.O_TMPFILE &^ unix.O_DIRECTORY)

// firstFilter lets pass what the Go runtime, memory, and connections that are
// there already need, and refuses all else: no process is begun, traced or
// signalled, no socket made or connected, no file opened but to read.
func firstFilter(compile bool) []unix.SockFilter {
	f := begin()
	for _, n := range append(common[:len(common):len(common)], ofProcessor...) {
		f = append(f, ifEqual(uint32(n), 1), answer(unix.SECCOMP_RET_ALLOW))
	}
	if compile {
		for _, n := range filesOfCompiler {
			f = append(f, ifEqual(uint32(n), 1), answer(unix.SECCOMP_RET_ALLOW))
		}
		f = append(f, ifEqual(unix.SYS_OPENAT, 1), answer(unix.SECCOMP_RET_ALLOW))
	}
	f = allowIf(f, unix.SYS_OPENAT, 2, writing, 0)
	// Threads, not processes. Without clone3 the C library takes clone.
	f = allowIf(f, unix.SYS_CLONE, 0, unix.CLONE_THREAD, unix.CLONE_THREAD)
	f = append(f, ifEqual(unix.SYS_CLONE3, 1), answer(uint32(unix.SECCOMP_RET_ERRNO)|uint32(unix.ENOSYS)))
	f = allowIf(f, unix.SYS_TGKILL, 0, ^uint32(0), uint32(os.Getpid())) // the runtime's preemption
	// Its own limit on memory, by orders of the server, which knows how many guests it has.
	f = append(f,
		ifEqual(unix.SYS_PRLIMIT64, 6),
		load(dataArgs), // whose
		ifEqual(0, 3),
		load(dataArgs+8),
		ifEqual(unix.RLIMIT_DATA, 1), answer(unix.SECCOMP_RET_ALLOW),
		answer(refuse))
	// Not F_SETOWN and F_SETSIG, by which a connection sends signals to whoever has the
	// same user, other children or the server.
	f = allowThese(f, unix.SYS_FCNTL, 1, unix.F_DUPFD, unix.F_DUPFD_CLOEXEC, unix.F_GETFD, unix.F_SETFD, unix.F_GETFL, unix.F_SETFL, unix.F_ADD_SEALS, unix.F_GET_SEALS)
	// The runtime names its memory; becoming nobody costs the death signal.
	f = allowThese(f, unix.SYS_PRCTL, 0, unix.PR_SET_VMA, unix.PR_SET_PDEATHSIG)
	return append(f, answer(refuse))
}

// secondFilter comes on top of the first, the stricter counts: what was needed to get
// ready is over.
func secondFilter() []unix.SockFilter {
	f := begin()
	for _, n := range append([]uintptr{unix.SYS_OPENAT, unix.SYS_SECCOMP, unix.SYS_SETRESUID, unix.SYS_SETRESGID, unix.SYS_SETGROUPS,
		unix.SYS_GETDENTS64, unix.SYS_READLINKAT, unix.SYS_FACCESSAT}, openOfProcessor...) {
		f = append(f, ifEqual(uint32(n), 1), answer(refuse))
	}
	// No more native code comes.
	f = allowIf(f, unix.SYS_MMAP, 2, unix.PROT_EXEC, 0)
	f = allowIf(f, unix.SYS_MPROTECT, 2, unix.PROT_EXEC, 0)
	return append(f, answer(unix.SECCOMP_RET_ALLOW))
}

// common are system calls that are let pass whatever their arguments. Those of
// them that seal needs the second filter refuses.
var common = []uintptr{
	unix.SYS_FUTEX, unix.SYS_READ, unix.SYS_WRITE, unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_CTL,
	unix.SYS_RECVMSG, unix.SYS_SENDMSG, unix.SYS_RECVFROM, unix.SYS_SENDTO, unix.SYS_MADVISE, unix.SYS_MMAP, unix.SYS_MUNMAP,
	unix.SYS_MPROTECT, unix.SYS_MREMAP, unix.SYS_BRK, unix.SYS_MINCORE, unix.SYS_CLOCK_GETTIME, unix.SYS_CLOCK_GETRES, unix.SYS_GETTIMEOFDAY,
	unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY, unix.SYS_GETRANDOM,
	unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK, unix.SYS_RESTART_SYSCALL,
	unix.SYS_CLOSE, unix.SYS_DUP, unix.SYS_DUP3, unix.SYS_FSTAT, unix.SYS_LSEEK, unix.SYS_PREAD64, unix.SYS_PWRITE64,
	unix.SYS_MEMFD_CREATE, unix.SYS_FTRUNCATE, unix.SYS_FALLOCATE, unix.SYS_SPLICE, unix.SYS_SENDFILE,
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_PWAIT2, unix.SYS_EVENTFD2, unix.SYS_PIPE2, unix.SYS_PPOLL,
	unix.SYS_GETSOCKOPT, unix.SYS_SETSOCKOPT, unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME, unix.SYS_SHUTDOWN,
	unix.SYS_TIMER_CREATE, unix.SYS_TIMER_SETTIME, unix.SYS_TIMER_DELETE, unix.SYS_SETITIMER,
	unix.SYS_GETPID, unix.SYS_GETPPID, unix.SYS_GETTID, unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID,
	unix.SYS_GETRUSAGE, unix.SYS_UNAME, unix.SYS_SYSINFO, unix.SYS_MEMBARRIER, unix.SYS_RSEQ, unix.SYS_SET_ROBUST_LIST, unix.SYS_SET_TID_ADDRESS,
	unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
	// Until seal:
	unix.SYS_SECCOMP, unix.SYS_SETRESUID, unix.SYS_SETRESGID, unix.SYS_SETGROUPS, unix.SYS_GETDENTS64, unix.SYS_READLINKAT, unix.SYS_FACCESSAT,
}

// filesOfCompiler are what it takes to write the cache.
var filesOfCompiler = []uintptr{unix.SYS_MKDIRAT, unix.SYS_UNLINKAT, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_FSYNC, unix.SYS_FCHMOD, unix.SYS_COPY_FILE_RANGE}
