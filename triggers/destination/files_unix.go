//go:build !windows

package destination

import (
	"os"
	"path/filepath"
	"strings"
)

// localPath is the path that a file:// URL names here.
func localPath(at string) (string, bool) {
	return filepath.Clean(at), strings.HasPrefix(at, "/")
}

// syncDir brings the names in a directory to disk.
func syncDir(root *os.Root, dir string) error {
	d, err := root.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if closed := d.Close(); err == nil {
		err = closed
	}
	return err
}
