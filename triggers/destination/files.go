package destination

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"github.com/wasmill/wasmill/triggers"
)

// files writes notices into directories that the server's owner allows.
type files struct {
	allowed []string // clean

	mu   *sync.Mutex // guards sure
	sure map[string]bool
}

// forgetful is how many directories are known to be on disk before they are all
// forgotten: there is a new one each day for each shard.
const forgetful = 4096

func openFiles(allowed []string) (files, error) {
	f := files{mu: new(sync.Mutex), sure: map[string]bool{}}
	for _, dir := range allowed {
		if !filepath.IsAbs(dir) {
			return f, fmt.Errorf("directory for destinations %s: want an absolute path", dir)
		}
		if info, err := os.Stat(dir); err != nil {
			return f, fmt.Errorf("directory for destinations: %w", err)
		} else if !info.IsDir() {
			return f, fmt.Errorf("directory for destinations %s: it is none", dir)
		}
		f.allowed = append(f.allowed, filepath.Clean(dir))
	}
	return f, nil
}

// place finds the allowed directory that the path of a file:// destination is in, and
// the way from there.
func (f *files) place(at string) (root, below string, err error) {
	const how = "start the server with `wasmill up --file-destinations DIR`, DIR being that directory or one above it"
	if len(f.allowed) == 0 {
		return "", "", fmt.Errorf("%w: destination file://%s: this server writes no files for destinations; %s", triggers.ErrInvalid, at, how)
	}
	local, ok := localPath(at)
	if !ok {
		return "", "", fmt.Errorf("%w: destination file://%s: want file:// and an absolute path: file:///var/notices", triggers.ErrInvalid, at)
	}
	for _, root := range f.allowed {
		below, err := filepath.Rel(root, local)
		if err != nil || !filepath.IsLocal(below) {
			continue
		}
		// Links out of there are found by looking.
		r, err := os.OpenRoot(root)
		if err != nil {
			return "", "", err
		}
		info, err := r.Stat(below)
		_ = r.Close()
		switch {
		case errors.Is(err, fs.ErrNotExist): // it is made by the first notice
		case err != nil:
			return "", "", fmt.Errorf("%w: destination file://%s: %w", triggers.ErrInvalid, at, err)
		case !info.IsDir():
			return "", "", fmt.Errorf("%w: destination file://%s: it is no directory", triggers.ErrInvalid, at)
		}
		return root, below, nil
	}
	return "", "", fmt.Errorf("%w: destination file://%s: this server writes only below %s; %s", triggers.ErrInvalid, at, strings.Join(f.allowed, ", "), how)
}

// write stores an object as a file. It is whole or not there, and on disk when write
// returns.
func (f *files) write(at, key string, object []byte) error {
	dir, below, err := f.place(at)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	name := path.Join(filepath.ToSlash(below), key)
	folder := path.Dir(name)
	if err := f.folder(dir, root, folder); err != nil {
		return err
	}
	// The same name each time: what a crash leaves behind, the next try removes.
	temp := path.Join(folder, "."+path.Base(name)+".part")
	if err := root.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := store(root, temp, object); err != nil {
		_ = root.Remove(temp)
		return err
	}
	if err := root.Rename(temp, name); err != nil {
		_ = root.Remove(temp)
		return err
	}
	return syncDir(root, folder)
}

func store(root *os.Root, name string, object []byte) error {
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	_, err = file.Write(object)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// folder makes a directory below root, and those above it, and sees to it that they
// are on disk.
func (f *files) folder(dir string, root *os.Root, folder string) error {
	id := dir + "\x00" + folder
	f.mu.Lock()
	sure := f.sure[id]
	f.mu.Unlock()
	if sure {
		if _, err := root.Stat(folder); err == nil {
			return nil
		}
	}
	if err := root.MkdirAll(folder, 0o750); err != nil {
		return err
	}
	for at := folder; at != "."; at = path.Dir(at) {
		if err := syncDir(root, path.Dir(at)); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.sure) >= forgetful {
		clear(f.sure)
	}
	f.sure[id] = true
	return nil
}
