package sandbox

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// tray: see there. The file is the server's alone; the child needs it no more when it has
// mapped it.
type tray struct {
	b    []byte
	file *os.File
}

// newTray makes a tray; its file goes to the child.
func newTray() (t *tray, err error) {
	fd, err := unix.MemfdCreate("wasmill-tray", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, err
	}
	t = &tray{file: os.NewFile(uintptr(fd), "tray")}
	defer func() {
		if err != nil {
			t.file.Close()
		}
	}()
	if err := t.file.Truncate(traySize); err != nil {
		return nil, err
	}
	// Neither shorter, under our feet, nor longer, for the memory, nor less sealed.
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		return nil, err
	}
	t.b, err = mapTray(t.file)
	return t, err
}

func mapTray(f *os.File) ([]byte, error) {
	return unix.Mmap(int(f.Fd()), 0, traySize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

// openTray is the child's: it takes the file.
func openTray(f *os.File) (*tray, error) {
	if f == nil {
		return nil, broken("a frame without its tray")
	}
	defer f.Close()
	b, err := mapTray(f)
	if err != nil {
		return nil, err
	}
	return &tray{b: b}, nil
}

// held is the memory that the tray takes, in bytes, whoever put it there.
func (t *tray) held() int64 {
	var s unix.Stat_t
	if t == nil || t.file == nil || unix.Fstat(int(t.file.Fd()), &s) != nil {
		return 0
	}
	return s.Blocks * 512
}

// empty gives the memory back. What is in the tray is gone.
func (t *tray) empty() {
	if t != nil { // that it cannot be done costs memory, which is counted
		_ = unix.Fallocate(int(t.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, traySize)
	}
}

func (t *tray) close() error {
	if t == nil || t.b == nil {
		return nil
	}
	err := unix.Munmap(t.b)
	t.b = nil
	if t.file != nil {
		err = errors.Join(err, t.file.Close())
	}
	return err
}
