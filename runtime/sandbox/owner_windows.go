package sandbox

import "io/fs"

// ours: whose a file is its access list says, which is not looked at.
func ours(fs.FileInfo) bool { return true }
