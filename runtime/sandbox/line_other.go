//go:build !linux

package sandbox

import (
	"io"
	"os"
)

func newLine(*os.File) (io.ReadWriteCloser, error) { return nil, errNoLink }
