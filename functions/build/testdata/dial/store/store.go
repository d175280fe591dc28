// Package store has nothing to do with networks itself, but for its driver.
package store

import (
	"database/sql"
	"io"

	"example.org/driver"
)

// Keep keeps.
func Keep(r io.ReadCloser) error {
	if _, err := sql.Open("none", ""); err != nil {
		return err
	}
	if err := driver.Open("db:5432"); err != nil {
		return err
	}
	return r.Close()
}
