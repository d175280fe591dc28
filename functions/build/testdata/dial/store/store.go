// Package store has nothing to do with networks itself, but for its driver.
package store

import (
	"database/sql"
	"io"
)

// Keep keeps.
func Keep(r io.ReadCloser) error {
	if _, err := sql.Open("none", ""); err != nil {
		return err
	}
	return r.Close()
}
