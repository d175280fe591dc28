package natsd

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/windows"
)

// diskSpace is what this user may still write to the disk of dir, and its
// size, in bytes.
func diskSpace(dir string) (free, total int64, err error) {
	p, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, 0, err
	}
	var avail, all uint64
	if err := windows.GetDiskFreeSpaceEx(p, &avail, &all, nil); err != nil {
		return 0, 0, err
	}
	return int64(avail), int64(all), nil
}

// noSpace says whether err is that of a full disk.
func noSpace(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}

// tooWide is always false: access is by lists there, which a new directory
// takes over from the user's own folder.
func tooWide(fs.FileMode) bool { return false }

// gone is always false: a lock ends with its process there.
func gone(int) bool { return false }
