//go:build !unix

package wasm

import "errors"

// reserve is not to be had here: memory grows by copying.
func reserve(uint64) []byte { return nil }

func commit([]byte) error { return nil }

func release([]byte) {}

// discard is for mappings of images, which there are none of.
func discard([]byte) error { return errors.ErrUnsupported }
