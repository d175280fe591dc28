package natsd

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// What lies in a data directory, beside JetStream's own files.
const (
	versionFile = "version"
	lockFile    = "lock"
	versionTemp = versionFile + ".tmp" // of replaceFile
	versionText = "wasmill data format "
)

// dirLock is the lease on a data directory: whoever holds it is the only one
// who writes there.
type dirLock struct{ f *flock.Flock }

func (l *dirLock) unlock() error { return l.f.Close() }

// openDir makes the data directory if it is not there, and locks it. A
// directory that is not ours is left as it was.
func openDir(dir string, log *slog.Logger) (_ *dirLock, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("natsd: make data directory: %w", err)
	}
	// First without the lock, so that no lock file is made in a foreign directory.
	if _, err := readVersion(dir); err != nil {
		return nil, err
	}
	if err := tighten(dir, log); err != nil {
		return nil, err
	}
	l, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = l.unlock()
		}
	}()
	// Again under the lock: another process may have made it ours meanwhile,
	// or be a newer one.
	marked, err := readVersion(dir)
	if err != nil || marked {
		return l, err
	}
	if err := writeVersion(dir); err != nil {
		return nil, fmt.Errorf("natsd: mark data directory %s: %w", dir, err)
	}
	return l, nil
}

// readVersion says whether the directory bears our mark. Without one it must
// be empty, but for what an earlier start that was killed leaves and what a
// file system makes by itself.
func readVersion(dir string) (marked bool, err error) {
	b, err := os.ReadFile(filepath.Join(dir, versionFile))
	if errors.Is(err, fs.ErrNotExist) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return false, fmt.Errorf("natsd: read data directory: %w", err)
		}
		for _, e := range entries {
			switch e.Name() {
			case lockFile, versionTemp, "lost+found":
			default:
				return false, fmt.Errorf("%w: %s holds other things (%s) and no %q file; give an empty or new directory", ErrFormat, dir, e.Name(), versionFile)
			}
		}
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("natsd: read data directory: %w", err)
	}
	text := strings.TrimSuffix(string(b), "\n")
	n, err := strconv.Atoi(strings.TrimPrefix(text, versionText))
	if err != nil || n < 1 || !strings.HasPrefix(text, versionText) {
		return false, fmt.Errorf("%w: the %q file of %s says %.40q, want %q; restore it from a backup or give another directory", ErrFormat, versionFile, dir, text, versionText+strconv.Itoa(Format))
	}
	if n > Format {
		return false, fmt.Errorf("%w: %s has data format %d, this release reads up to format %d; run the newer release that wrote it, or give another directory", ErrFormat, dir, n, Format)
	}
	return true, nil
}

// writeVersion leaves either no mark or a whole one, whatever happens.
func writeVersion(dir string) error {
	return replaceFile(filepath.Join(dir, versionFile), versionText+strconv.Itoa(Format)+"\n")
}

// replaceFile leaves the old file or the new one, and the new one once it has
// returned.
func replaceFile(path, text string) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	if runtime.GOOS == "windows" {
		return nil // a directory cannot be synced there
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// tighten closes the directory to everybody but its owner.
func tighten(dir string, log *slog.Logger) error {
	st, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("natsd: %w", err)
	}
	if !tooWide(st.Mode()) {
		return nil
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("natsd: data directory %s is open to others (mode %04o) and cannot be closed to them: %w; run chmod 700 on it as its owner, or give another directory", dir, st.Mode().Perm(), err)
	}
	log.Info("data directory was open to others; now only its owner may enter", "dir", dir, "was", fmt.Sprintf("%04o", st.Mode().Perm()))
	return nil
}

// How long a lock is waited for. A process that is being killed holds it until
// its memory is given back; one that was killed while it started another left
// it to that one, until it has become the program it was to be.
const (
	lockHeld = 500 * time.Millisecond // by a process that is there
	lockGone = 5 * time.Second        // by one that is gone
)

func lockDir(dir string) (*dirLock, error) {
	path := filepath.Join(dir, lockFile)
	f := flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o600))
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		got, err := f.TryLock()
		if err != nil {
			return nil, fmt.Errorf("natsd: lock data directory %s: %w; give a directory on a local disk of which you are the owner", dir, err)
		}
		if got {
			break
		}
		pid, patience := holder(path), lockHeld
		if pid > 0 && gone(pid) {
			patience = lockGone
		}
		if time.Since(began) > patience {
			who := "another wasmill process"
			if pid > 0 {
				who = fmt.Sprintf("the wasmill process %d", pid)
			}
			return nil, fmt.Errorf("%w: %s is open in %s; stop that one first, or give another directory", ErrLocked, dir, who)
		}
	}
	// For holder only, so a failure (a locked file cannot be written on
	// Windows) is no matter.
	_ = os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600)
	return &dirLock{f}, nil
}

// holder is the process that last locked the directory, 0 when that cannot be
// told.
func holder(path string) int {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid < 1 {
		return 0
	}
	return pid
}
