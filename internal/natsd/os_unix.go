//go:build !windows

package natsd

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// diskSpace is what an ordinary user may still write to the disk of dir, and
// its size, in bytes.
func diskSpace(dir string) (free, total int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, err
	}
	block := uint64(st.Bsize)
	return int64(uint64(st.Bavail) * block), int64(uint64(st.Blocks) * block), nil
}

// noSpace says whether err is that of a full disk or quota.
func noSpace(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// tooWide says whether others than the owner may enter.
func tooWide(m fs.FileMode) bool { return m.Perm()&0o077 != 0 }

// gone says whether there is no process pid that this one can see.
func gone(pid int) bool { return errors.Is(unix.Kill(pid, 0), unix.ESRCH) }
