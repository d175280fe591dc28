package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/wasmill/wasmill/api/admin"
)

// state is what a running server leaves in its data directory for commands
// that look for it.
type state struct {
	PID      int       `json:"pid"`
	Endpoint string    `json:"endpoint"`
	Version  string    `json:"version"`
	Started  time.Time `json:"started"`
}

func stateFile(dir string) string { return filepath.Join(dir, "server.json") }
func logFile(dir string) string   { return filepath.Join(dir, "server.log") }

func readState(dir string) (state, error) {
	var s state
	b, err := os.ReadFile(stateFile(dir))
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(b, &s)
}

// answers says whether it is the server of that state that answers at its endpoint.
func (s state) answers(ctx context.Context) bool {
	if !alive(s.PID) {
		return false
	}
	ctx, cancel := quick(ctx)
	defer cancel()
	client := admin.NewClient(s.Endpoint)
	defer client.Close()
	info, err := client.Info(ctx)
	return err == nil && info.PID == s.PID
}

// write puts the file in place whole, so that nobody reads half of it.
func (s state) write(dir string) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	tmp := stateFile(dir) + ".new"
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, stateFile(dir))
}

// dataDir is the data directory where none is named: WASMILL_DATA, else
// wasmill in the user's data folder.
func (c *cli) dataDir() (string, error) {
	if dir := c.getenv("WASMILL_DATA"); dir != "" {
		return dir, nil
	}
	home := c.getenv("HOME")
	switch runtime.GOOS {
	case "windows":
		if dir := c.getenv("LOCALAPPDATA"); dir != "" {
			return filepath.Join(dir, "wasmill"), nil
		}
		home = c.getenv("USERPROFILE")
	case "darwin":
		if home != "" {
			return filepath.Join(home, "Library", "Application Support", "wasmill"), nil
		}
	default:
		if dir := c.getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
			return filepath.Join(dir, "wasmill"), nil
		}
	}
	if home == "" {
		return "", errors.New("the user has no home directory; name a data directory with --data")
	}
	return filepath.Join(home, ".local", "share", "wasmill"), nil
}
