package wasm

import (
	"crypto/rand"
	"encoding/binary"
	goruntime "runtime"
	"time"

	"github.com/tetratelabs/wazero/sys"
)

const (
	wasiModule = "wasi_snapshot_preview1"
	exitName   = "proc_exit"
)

// errno is an error number of WASI preview 1.
type errno uint16

const (
	ok             errno = 0
	errBadf        errno = 8
	errFault       errno = 21
	errInval       errno = 28
	errNameTooLong errno = 37
	errNoBufs      errno = 42
	errNoSys       errno = 52
	errNotDir      errno = 54
	errNotSup      errno = 58
	errSPipe       errno = 70
)

const (
	maxIOV = 1024    // buffers of one read or write, as IOV_MAX of Linux
	maxIO  = 1 << 20 // bytes of one; a short count is the caller's to go on from
)

// Types and rights of descriptors.
const (
	typeBlockDevice     = 1
	typeCharacterDevice = 2
	typeSocket          = 6

	flagNonBlock = 1 << 2

	rightRead      = 1 << 1
	rightWrite     = 1 << 6
	rightPoll      = 1 << 27
	rightShutdown  = 1 << 28
	rightsOfSocket = rightRead | rightWrite | rightPoll | rightShutdown
)

// wasiFunctions are all of WASI preview 1. A guest has no files: it has its
// standard streams, descriptors 0 to 2, and what it opened through us.
func wasiFunctions() []offered {
	call := func(name, types string, f func(e *environment, s []uint64) errno) offered {
		return offered{name, types, func(e *environment, s []uint64) { s[0] = uint64(f(e, s)) }, true}
	}
	// none is for what there are no files for: it says so of the descriptor that
	// argument fd is.
	none := func(name, types string, fd int, open errno) offered {
		return call(name, types, func(e *environment, s []uint64) errno {
			if !e.isOpen(s[fd]) {
				return errBadf
			}
			return open
		})
	}
	return []offered{
		call("args_get", "ii", func(e *environment, s []uint64) errno { return e.strings(e.args, s[0], s[1]) }),
		call("args_sizes_get", "ii", func(e *environment, s []uint64) errno { return e.sizes(e.args, s[0], s[1]) }),
		call("environ_get", "ii", func(e *environment, s []uint64) errno { return e.strings(e.environ, s[0], s[1]) }),
		call("environ_sizes_get", "ii", func(e *environment, s []uint64) errno { return e.sizes(e.environ, s[0], s[1]) }),
		call("clock_res_get", "ii", (*environment).clockRes),
		call("clock_time_get", "iIi", (*environment).clockTime),

		call("fd_close", "i", (*environment).fdClose),
		call("fd_read", "iiii", (*environment).fdRead),
		call("fd_write", "iiii", (*environment).fdWrite),
		call("fd_fdstat_get", "ii", (*environment).fdstat),
		none("fd_fdstat_set_flags", "ii", 0, ok), // nothing blocks, whatever they are
		none("fd_fdstat_set_rights", "iII", 0, errNotSup),
		call("fd_filestat_get", "ii", (*environment).filestat),
		none("fd_filestat_set_size", "iI", 0, errInval),
		none("fd_filestat_set_times", "iIIi", 0, errNotSup),
		none("fd_advise", "iIIi", 0, errSPipe),
		none("fd_allocate", "iII", 0, errNotSup),
		none("fd_datasync", "i", 0, errInval),
		none("fd_pread", "iiiIi", 0, errSPipe),
		none("fd_pwrite", "iiiIi", 0, errSPipe),
		none("fd_readdir", "iiiIi", 0, errNotDir),
		none("fd_renumber", "ii", 0, errNotSup),
		none("fd_seek", "iIii", 0, errSPipe),
		none("fd_sync", "i", 0, errInval),
		none("fd_tell", "ii", 0, errSPipe),
		call("fd_prestat_get", "ii", func(*environment, []uint64) errno { return errBadf }),
		call("fd_prestat_dir_name", "iii", func(*environment, []uint64) errno { return errBadf }),

		none("path_create_directory", "iii", 0, errNotDir),
		none("path_filestat_get", "iiiii", 0, errNotDir),
		none("path_filestat_set_times", "iiiiIIi", 0, errNotDir),
		none("path_link", "iiiiiii", 0, errNotDir),
		none("path_open", "iiiiiIIii", 0, errNotDir),
		none("path_readlink", "iiiiii", 0, errNotDir),
		none("path_remove_directory", "iii", 0, errNotDir),
		none("path_rename", "iiiiii", 0, errNotDir),
		none("path_symlink", "iiiii", 2, errNotDir),
		none("path_unlink_file", "iii", 0, errNotDir),

		call("poll_oneoff", "iiii", (*environment).poll),
		{exitName, "i", func(_ *environment, s []uint64) { panic(sys.NewExitError(uint32(s[0]))) }, false},
		call("proc_raise", "i", func(*environment, []uint64) errno { return errNoSys }),
		call("random_get", "ii", (*environment).random),
		{"sched_yield", "", func(e *environment, s []uint64) { goruntime.Gosched(); s[0] = uint64(ok) }, true},

		none("sock_accept", "iii", 0, errNotSup),
		call("sock_recv", "iiiiii", (*environment).sockRecv),
		call("sock_send", "iiiii", (*environment).sockSend),
		call("sock_shutdown", "ii", (*environment).sockShutdown),
	}
}

// isOpen says whether the guest has a descriptor.
func (e *environment) isOpen(fd uint64) bool { return uint32(fd) <= 2 || e.sockets.Is(int32(fd)) }

// sizes writes how many strings there are, and how many bytes with their zeros.
func (e *environment) sizes(list []string, count, size uint64) errno {
	n := 0
	for _, s := range list {
		n += len(s) + 1
	}
	if !e.put32(count, uint32(len(list))) || !e.put32(size, uint32(n)) {
		return errFault
	}
	return ok
}

// strings writes strings that end with a zero to buf, and where they begin to at.
func (e *environment) strings(list []string, at, buf uint64) errno {
	at, buf = uint64(uint32(at)), uint64(uint32(buf))
	for i, s := range list {
		room, in := e.bytes(buf, uint64(len(s)+1))
		if !in || at+4*uint64(i) > 1<<32-4 || !e.put32(at+4*uint64(i), uint32(buf)) {
			return errFault
		}
		room[copy(room, s)] = 0
		if buf += uint64(len(s) + 1); buf >= 1<<32 {
			return errFault
		}
	}
	return ok
}

const (
	clockReal      = 0
	clockMonotonic = 1
)

func (e *environment) clockRes(s []uint64) errno {
	if uint32(s[0]) > clockMonotonic {
		return errInval
	}
	if !e.put64(s[1], uint64(time.Microsecond)) {
		return errFault
	}
	return ok
}

func (e *environment) clockTime(s []uint64) errno {
	var t int64
	switch uint32(s[0]) {
	case clockReal:
		t = time.Now().UnixNano()
	case clockMonotonic:
		t = int64(now())
	default:
		return errInval
	}
	if !e.put64(s[2], uint64(t)) {
		return errFault
	}
	return ok
}

// random fills as much as is asked for, looking at the deadline now and then: the
// standard library of Go takes it in one piece whatever the size.
func (e *environment) random(s []uint64) errno {
	b, in := e.bytes(s[0], s[1])
	if !in {
		return errFault
	}
	for len(b) > 0 {
		e.check()
		n := min(len(b), 64<<10)
		rand.Read(b[:n])
		b = b[n:]
	}
	return ok
}

// buffers calls f for each buffer of a list in the guest's memory until it takes
// less than a buffer, and answers how many bytes were taken in all. An error counts only if
// nothing was taken before it.
func (e *environment) buffers(list, count uint64, f func([]byte) (int, errno)) (total int, err errno) {
	if uint32(count) > maxIOV {
		return 0, errInval
	}
	iovs, in := e.bytes(list, uint64(uint32(count))*8)
	if !in {
		return 0, errFault
	}
	for i := 0; i < len(iovs) && total < maxIO; i += 8 {
		// Read anew each time: a buffer may overlap the list.
		p, n := binary.LittleEndian.Uint32(iovs[i:]), binary.LittleEndian.Uint32(iovs[i+4:])
		b, in := e.in.mem.at(p, n)
		if !in {
			err = errFault
			break
		}
		if len(b) == 0 {
			continue
		}
		b = b[:min(len(b), maxIO-total)]
		var c int
		c, err = f(b)
		total += c
		if err != ok || c < len(b) {
			break
		}
	}
	if total > 0 {
		err = ok
	}
	return total, err
}

func (e *environment) fdRead(s []uint64) errno {
	from := func(b []byte) (int, errno) { return 0, errBadf }
	switch fd := uint32(s[0]); {
	case fd == 0:
		from = func(b []byte) (int, errno) {
			n := copy(b, e.stdin)
			e.stdin = e.stdin[n:]
			return n, ok
		}
	case fd > 2:
		if !e.sockets.Is(int32(fd)) {
			return errBadf
		}
		from = func(b []byte) (int, errno) {
			n, err := e.sockets.Read(int32(fd), b)
			return n, errno(err)
		}
	}
	n, err := e.buffers(s[1], s[2], from)
	if err == ok && !e.put32(s[3], uint32(n)) {
		return errFault
	}
	return err
}

func (e *environment) fdWrite(s []uint64) errno {
	to := func(b []byte) (int, errno) { return 0, errBadf }
	switch fd := uint32(s[0]); {
	case fd == 1 && e.stdout != nil:
		to = func(b []byte) (int, errno) {
			e.stdout.Write(b)
			return len(b), ok
		}
	case fd == 1:
		to = func(b []byte) (int, errno) {
			e.print(&e.console.out, b)
			return len(b), ok
		}
	case fd == 2:
		to = func(b []byte) (int, errno) {
			e.print(&e.console.err, b)
			return len(b), ok
		}
	case fd > 2:
		if !e.sockets.Is(int32(fd)) {
			return errBadf
		}
		to = func(b []byte) (int, errno) {
			n, err := e.sockets.Write(int32(fd), b)
			return n, errno(err)
		}
	}
	n, err := e.buffers(s[1], s[2], to)
	if err == ok && !e.put32(s[3], uint32(n)) {
		return errFault
	}
	return err
}

// print writes to the log, looking at the deadline now and then: a line may be one
// byte, and costs what a long one does.
func (e *environment) print(l *line, b []byte) {
	for len(b) > 0 {
		n := min(len(b), 4<<10)
		l.Write(b[:n])
		if b = b[n:]; len(b) > 0 {
			e.check()
		}
	}
}

func (e *environment) fdClose(s []uint64) errno {
	if fd := uint32(s[0]); fd > 2 {
		return errno(e.sockets.Close(int32(fd)))
	}
	return ok // the standard streams are never anybody else's
}

// kind is the type of a descriptor that is open. Standard output counts as a
// terminal's, so that C's library writes it by line, unless it is a response.
func (e *environment) kind(fd uint64) byte {
	switch {
	case uint32(fd) > 2:
		return typeSocket
	case uint32(fd) == 1 && e.stdout == nil:
		return typeCharacterDevice
	}
	return typeBlockDevice
}

func (e *environment) fdstat(s []uint64) errno {
	if !e.isOpen(s[0]) {
		return errBadf
	}
	b, in := e.bytes(s[1], 24)
	if !in {
		return errFault
	}
	clear(b)
	rights := uint64(rightWrite | rightPoll)
	switch b[0] = e.kind(s[0]); {
	case uint32(s[0]) == 0:
		rights = rightRead | rightPoll
	case b[0] == typeSocket:
		rights = rightsOfSocket
		b[2] = flagNonBlock
	}
	binary.LittleEndian.PutUint64(b[8:], rights)
	return ok
}

func (e *environment) filestat(s []uint64) errno {
	if !e.isOpen(s[0]) {
		return errBadf
	}
	b, in := e.bytes(s[1], 64)
	if !in {
		return errFault
	}
	clear(b)
	b[16] = e.kind(s[0])
	b[24] = 1 // links
	return ok
}

func (e *environment) sockRecv(s []uint64) errno {
	if uint32(s[0]) <= 2 || uint32(s[3]) != 0 {
		return errNotSup
	}
	if err := e.fdRead([]uint64{s[0], s[1], s[2], s[4]}); err != ok {
		return err
	}
	b, in := e.bytes(s[5], 2)
	if !in {
		return errFault
	}
	clear(b)
	return ok
}

func (e *environment) sockSend(s []uint64) errno {
	if uint32(s[0]) <= 2 || uint32(s[3]) != 0 {
		return errNotSup
	}
	return e.fdWrite([]uint64{s[0], s[1], s[2], s[4]})
}

func (e *environment) sockShutdown(s []uint64) errno {
	if !e.sockets.Is(int32(s[0])) {
		return errBadf
	}
	return errno(e.sockets.Shutdown(int32(s[0]), uint32(s[1])))
}
