//go:build !linux

package wasm

import "errors"

// imageFile is not to be had here: images are copied.
type imageFile struct{}

func (*imageFile) write([]byte, []bool) error { return errors.ErrUnsupported }
func (*imageFile) mapTo([]byte) bool          { return false }
func (*imageFile) read([]byte)                {}
func (*imageFile) mapView(uint64) []byte      { return nil }
func (*imageFile) close()                     {}
