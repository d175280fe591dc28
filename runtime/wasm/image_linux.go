package wasm

import (
	"os"

	"golang.org/x/sys/unix"
)

// imageFile is a memfd, sealed once it is written: neither we nor whoever we
// share a machine with can change under a guest what it maps.
type imageFile struct{ f *os.File }

// write keeps b, but for the pages that are zeros.
func (i *imageFile) write(b []byte, zeros []bool) (err error) {
	fd, err := unix.MemfdCreate("wasmill-image", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "image")
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if err := f.Truncate(int64(len(b))); err != nil {
		return err
	}
	if err := written(zeros, func(from, to int) error {
		_, err := f.WriteAt(b[from:to], int64(from))
		return err
	}); err != nil {
		return err
	}
	const seals = unix.F_SEAL_WRITE | unix.F_SEAL_GROW | unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return err
	}
	i.f = f
	return nil
}

func (i *imageFile) mapTo(b []byte) bool {
	return i.f != nil && len(b) > 0 && mapAt(b, int(i.f.Fd())) == nil
}

// read is for a memory that nothing can be mapped into. Holes are zeros; a file
// in memory has no errors to read.
func (i *imageFile) read(b []byte) { _, _ = i.f.ReadAt(b, 0) }

func (i *imageFile) close() {
	if i.f != nil {
		i.f.Close()
	}
}
