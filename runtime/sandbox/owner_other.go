//go:build !linux

package sandbox

import "io/fs"

// ours: whose a file is is not looked at here.
func ours(fs.FileInfo) bool { return true }

// identity is not to be had: files are hashed each time.
func identity(fs.FileInfo) string { return "" }
