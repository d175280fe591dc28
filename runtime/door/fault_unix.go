//go:build !windows

package door

import (
	"errors"
	"syscall"

	"github.com/wasmill/wasmill/runtime"
)

// systemFault sorts what the system says of a dial.
func systemFault(err error) (runtime.DialFault, bool) {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return runtime.DialRefused, true
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.ENETDOWN), errors.Is(err, syscall.EADDRNOTAVAIL):
		return runtime.DialUnreachable, true
	}
	return 0, false
}
