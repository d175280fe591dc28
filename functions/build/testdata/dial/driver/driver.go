// Package driver stands for a database driver: far down it dials.
package driver

import "example.org/driver/internal/wire"

// Open opens.
func Open(address string) error { return wire.Dial(address) }
