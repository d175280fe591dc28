package door

import (
	"errors"
	"syscall"

	"github.com/wasmill/wasmill/runtime"
)

// Windows' own numbers (WSAECONNREFUSED and so on); package syscall has other
// ones under the names that the rest of the world uses.
const (
	wsaAddrNotAvail = syscall.Errno(10049)
	wsaNetDown      = syscall.Errno(10050)
	wsaNetUnreach   = syscall.Errno(10051)
	wsaConnRefused  = syscall.Errno(10061)
	wsaHostUnreach  = syscall.Errno(10065)
)

// systemFault sorts what the system says of a dial.
func systemFault(err error) (runtime.DialFault, bool) {
	switch {
	case errors.Is(err, wsaConnRefused):
		return runtime.DialRefused, true
	case errors.Is(err, wsaHostUnreach), errors.Is(err, wsaNetUnreach), errors.Is(err, wsaNetDown), errors.Is(err, wsaAddrNotAvail):
		return runtime.DialUnreachable, true
	}
	return 0, false
}
