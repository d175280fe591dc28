// Package wire dials.
package wire

import "crypto/tls"

// Dial dials.
func Dial(address string) error {
	_, err := tls.Dial("tcp", address, nil)
	return err
}
