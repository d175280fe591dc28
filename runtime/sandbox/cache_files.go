package sandbox

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// cachedFile is what a manifest says of a file.
type cachedFile struct {
	Name  string `json:"name"` // relative, with slashes
	Size  int64  `json:"size"`
	Nonce []byte `json:"nonce"` // of the MAC, new for each file
	MAC   []byte `json:"mac"`
}

// walk calls f for each file of an entry but the manifest. Anything but files and folders
// is an error.
func walk(dir string, f func(path, name string, info fs.FileInfo) error) error {
	n := 0
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil || name == manifestFile {
			return err
		}
		if n++; n > maxFiles {
			return errors.New("too many files")
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is no file", name)
		}
		return f(path, filepath.ToSlash(name), info)
	})
}

// sign makes the MACs of an entry's files, with the nonces that they have in a manifest,
// or new ones.
func (c *cache) sign(dir string, known []cachedFile) (files []cachedFile, look string, err error) {
	// The look is taken before the bytes: a change meanwhile makes it differ the next time.
	if look, err = lookOf(dir); err != nil {
		return nil, "", err
	}
	err = walk(dir, func(path, name string, info fs.FileInfo) error {
		f := cachedFile{Name: name}
		if n := len(files); n < len(known) {
			f.Nonce = known[n].Nonce
		} else {
			f.Nonce = make([]byte, c.gmac.NonceSize()-4)
			rand.Read(f.Nonce)
		}
		err := c.signFile(&f, path)
		files = append(files, f)
		return err
	})
	return files, look, err
}

// signFile gives f its size and MAC: the hash of the GMACs of its pieces, which goes
// through memory five times as fast as a hash, and tens of megabytes wait for it at a
// cold start. The nonce of a piece is that of the file and its number.
func (c *cache) signFile(f *cachedFile, path string) error {
	if len(f.Nonce) != c.gmac.NonceSize()-4 {
		return errors.New("the manifest has a nonce that is none")
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	const piece = 256 << 10
	buf, all := make([]byte, piece), sha256.New()
	nonce := append(slices.Clip(f.Nonce), 0, 0, 0, 0)
	for i := uint32(0); ; i++ {
		n, err := io.ReadFull(file, buf)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return err
		}
		binary.LittleEndian.PutUint32(nonce[len(nonce)-4:], i)
		all.Write(c.gmac.Seal(nil, nonce, nil, buf[:n]))
		f.Size += int64(n)
		if err != nil {
			f.MAC = all.Sum(nil)
			return nil
		}
	}
}

// is compares what is with what should be.
func (f cachedFile) is(g cachedFile) bool {
	return f.Name == g.Name && f.Size == g.Size && hmac.Equal(f.MAC, g.MAC)
}

// lookOf is what the files of an entry look like from outside.
func lookOf(dir string) (string, error) {
	var b strings.Builder
	err := walk(dir, func(_, name string, info fs.FileInfo) error {
		id := identity(info)
		if id == "" {
			return nil
		}
		fmt.Fprintf(&b, "%s %d %d %s\n", name, info.Size(), info.ModTime().UnixNano(), id)
		return nil
	})
	return b.String(), err
}

func readSmall(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}
