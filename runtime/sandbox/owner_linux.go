package sandbox

import (
	"fmt"
	"io/fs"
	"syscall"
)

// identity tells a file from another in its place, and from itself before a change.
func identity(info fs.FileInfo) string {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%d %d %d.%09d", st.Dev, st.Ino, st.Ctim.Sec, st.Ctim.Nsec)
}
