package destination

import (
	"os"
	"path/filepath"
	"strings"
)

// localPath is the path that a file:// URL names here: file:///C:/notices.
func localPath(at string) (string, bool) {
	local := filepath.FromSlash(strings.TrimPrefix(at, "/"))
	return filepath.Clean(local), filepath.IsAbs(local)
}

// syncDir does nothing: the file system keeps names in order by its own log.
func syncDir(*os.Root, string) error { return nil }
