//go:build unix

package sandbox

import (
	"io/fs"
	"os"
	"syscall"
)

// ours says whether a file belongs to who we are.
func ours(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}
