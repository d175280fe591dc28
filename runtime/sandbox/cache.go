package sandbox

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	goruntime "runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/cpu"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime/module"
)

// cache keeps compiled modules. An entry is a folder of its own, so that a child can
// be shown one module and no other:
//
//	key                    32 random bytes; who has them may write entries
//	v1-<what compiled it>/
//	  <digest of module>/
//	    code.wasm          the module
//	    wazero-…/          native code, as the engine keeps it
//	    manifest           what is there, and its HMAC
//
// Native code is executed, so an entry that is not exactly what we wrote is thrown away.
type cache struct {
	dir  string // of this version's entries
	own  string // to be removed at the end, empty for a lasting one
	key  []byte
	gmac cipher.AEAD // by a key made of key
	mu   sync.Mutex
	seen map[string]string // what a verified entry's files looked like, by digest
}

const (
	codeFile     = "code.wasm"
	manifestFile = "manifest"
	cacheFormat  = "2"
	// maxFiles of an entry; there are three.
	maxFiles = 16
	// stale is how long an entry that nobody loads stays.
	stale = 60 * 24 * time.Hour
	// mostCached is what the entries may take together, in bytes: a hundred handlers
	// and more. An entry that has gone is made again when its module is loaded.
	mostCached = 4 << 30
)

// manifest is what an entry says of itself.
type manifest struct {
	Code  functions.Code `json:"code"`
	Files []cachedFile   `json:"files"`
}

// openCache makes dir, which nobody else may have had a hand in. Empty: a folder that
// goes with the cache.
func openCache(dir string) (*cache, error) {
	c := &cache{seen: map[string]string{}}
	if dir == "" {
		tmp, err := os.MkdirTemp("", "wasmill-cache-")
		if err != nil {
			return nil, fmt.Errorf("sandbox: cache: %w", err)
		}
		dir, c.own = tmp, tmp
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("sandbox: cache: %w", err)
	}
	if err := private(dir); err != nil {
		return nil, fmt.Errorf("sandbox: cache: %w", err)
	}
	if c.key, err = cacheKey(filepath.Join(dir, "key")); err != nil {
		return nil, fmt.Errorf("sandbox: cache: %w", err)
	}
	block, err := aes.NewCipher(c.mac([]byte("GMAC of files")))
	if err == nil {
		c.gmac, err = cipher.NewGCM(block)
	}
	if err != nil {
		return nil, fmt.Errorf("sandbox: cache: %w", err)
	}
	c.dir = filepath.Join(dir, "v1-"+compiler())
	if err := private(c.dir); err != nil {
		return nil, fmt.Errorf("sandbox: cache: %w", err)
	}
	now := time.Now()
	_ = os.Chtimes(c.dir, now, now) // only for whoever sweeps
	sweep(dir, c.dir, now)
	return c, nil
}

// private makes a folder that only we can read and write.
func private(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Lstat(dir)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is no folder", dir)
	case !ours(info):
		return fmt.Errorf("%s belongs to somebody else; compiled code is kept only where nobody else can write", dir)
	case info.Mode().Perm()&0o077 != 0 && goruntime.GOOS != "windows":
		return os.Chmod(dir, 0o700)
	}
	return nil
}

// cacheKey reads the key, or makes one.
func cacheKey(path string) ([]byte, error) {
	for range 2 {
		info, err := os.Lstat(path)
		if err == nil && (!info.Mode().IsRegular() || !ours(info) || info.Mode().Perm()&0o077 != 0 && goruntime.GOOS != "windows") {
			return nil, fmt.Errorf("%s is not a file that only we can read; remove it", path)
		}
		key, err := os.ReadFile(path)
		if err == nil && len(key) == 32 {
			return key, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		// Made under another name, so that whoever else starts now sees all of it.
		key = make([]byte, 32)
		rand.Read(key)
		tmp, err := os.CreateTemp(filepath.Dir(path), "key-*")
		if err != nil {
			return nil, err
		}
		_, err = tmp.Write(key)
		err = errors.Join(err, tmp.Close())
		if err == nil && len(key) != 0 {
			if err = os.Link(tmp.Name(), path); err != nil {
				if _, missing := os.Lstat(path); missing != nil || !errors.Is(err, fs.ErrExist) {
					err = os.Rename(tmp.Name(), path) // no links on this file system
				} else if old, _ := os.ReadFile(path); len(old) != 32 {
					err = os.Rename(tmp.Name(), path) // cut short
				} else {
					err = nil
				}
			}
		}
		_ = os.Remove(tmp.Name())
		if err != nil {
			return nil, err
		}
	}
	return os.ReadFile(path)
}

// compiler names everything that native code depends on but the module.
func compiler() string {
	h := sha256.New()
	fmt.Fprintln(h, cacheFormat, module.Version, goruntime.GOOS, goruntime.GOARCH, wazeroVersion())
	fmt.Fprintf(h, "%+v %+v", cpu.X86, cpu.ARM64)
	return hex.EncodeToString(h.Sum(nil))[:16]
}

func wazeroVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, d := range info.Deps {
		if d.Path == "github.com/tetratelabs/wazero" {
			return d.Version + d.Sum
		}
	}
	return ""
}

var versionDir = regexp.MustCompile(`^v1-[0-9a-f]{16}$`)

// sweep removes what other versions of us left, what nobody has loaded for long, and what
// was begun and not ended. Another server may be running on an older one of today.
func sweep(dir, own string, now time.Time) {
	older := func(e os.DirEntry, than time.Duration) bool {
		info, err := e.Info()
		return err == nil && now.Sub(info.ModTime()) > than
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if versionDir.MatchString(e.Name()) && filepath.Join(dir, e.Name()) != own && older(e, 24*time.Hour) {
			_ = os.RemoveAll(filepath.Join(dir, e.Name())) // tried again at the next start
		}
	}
	entries, _ = os.ReadDir(own)
	for _, e := range entries {
		limit := stale
		if strings.HasPrefix(e.Name(), "tmp-") {
			limit = time.Hour
		}
		if older(e, limit) {
			_ = os.RemoveAll(filepath.Join(own, e.Name()))
		}
	}
}

func (c *cache) path(digest string) string { return filepath.Join(c.dir, digest) }

// begin makes a folder to compile into, with the module in it.
func (c *cache) begin(code []byte) (dir string, err error) {
	if err := private(c.dir); err != nil { // somebody may have cleared up
		return "", fmt.Errorf("sandbox: cache: %w", err)
	}
	dir, err = os.MkdirTemp(c.dir, "tmp-")
	if err != nil {
		return "", fmt.Errorf("sandbox: cache: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, codeFile), code, 0o600); err != nil {
		_ = os.RemoveAll(dir)
		return "", fmt.Errorf("sandbox: cache: %w", err)
	}
	return dir, nil
}

// commit makes an entry of a folder that was compiled into.
func (c *cache) commit(dir string, code functions.Code) error {
	files, look, err := c.sign(dir, nil)
	if err != nil {
		return fmt.Errorf("sandbox: cache: %w", err)
	}
	b, err := json.Marshal(manifest{Code: code, Files: files})
	if err != nil {
		return err
	}
	b = append(b, '\n')
	b = append(b, hex.EncodeToString(c.mac(b))...)
	if err := os.WriteFile(filepath.Join(dir, manifestFile), b, 0o600); err != nil {
		return fmt.Errorf("sandbox: cache: %w", err)
	}
	to := c.path(code.SHA256)
	// What stands there is not good, or we had not compiled; who has it open keeps it.
	if err := os.RemoveAll(to); err != nil {
		return fmt.Errorf("sandbox: cache: %w", err)
	}
	if err := os.Rename(dir, to); err != nil {
		return fmt.Errorf("sandbox: cache: %w", err)
	}
	c.mu.Lock()
	c.seen[code.SHA256] = look
	c.mu.Unlock()
	c.trim(mostCached, code.SHA256)
	return nil
}

// trim removes the entries that were not loaded for longest, until the others take
// no more than most bytes. That of keep stays. Whoever has one open keeps it.
func (c *cache) trim(most int64, keep string) {
	type entry struct {
		digest string
		loaded time.Time
		size   int64
	}
	var all []entry
	total := int64(0)
	dirs, _ := os.ReadDir(c.dir) // what cannot be seen cannot be removed either
	for _, d := range dirs {
		info, err := d.Info()
		if err != nil || !d.IsDir() || strings.HasPrefix(d.Name(), "tmp-") {
			continue
		}
		e := entry{digest: d.Name(), loaded: info.ModTime()}
		_ = walk(c.path(d.Name()), func(_, _ string, info fs.FileInfo) error {
			e.size += info.Size()
			return nil
		})
		total += e.size
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b entry) int { return a.loaded.Compare(b.loaded) })
	for _, e := range all {
		if total <= most {
			return
		}
		if e.digest == keep || os.RemoveAll(c.path(e.digest)) != nil {
			continue
		}
		total -= e.size
		c.mu.Lock()
		delete(c.seen, e.digest)
		c.mu.Unlock()
	}
}

// source opens the module of an entry. Whoever has it open keeps it when the entry goes.
func (c *cache) source(digest string) (*os.File, error) {
	f, err := os.Open(filepath.Join(c.path(digest), codeFile))
	if err != nil {
		return nil, fmt.Errorf("sandbox: cache: %w", err)
	}
	return f, nil
}

// readSource reads the module again, which may have been changed since.
func readSource(f *os.File, digest string) ([]byte, error) {
	code, err := io.ReadAll(io.NewSectionReader(f, 0, functions.MaxCode+1))
	if err != nil {
		return nil, fmt.Errorf("sandbox: cache: %w", err)
	}
	if sum := sha256.Sum256(code); hex.EncodeToString(sum[:]) != digest {
		return nil, errors.New("sandbox: the module in the cache was changed while it was in use; restart the server, or deploy the function again")
	}
	return code, nil
}

func (c *cache) mac(b []byte) []byte {
	m := hmac.New(sha256.New, c.key)
	m.Write(b)
	return m.Sum(nil)
}

// lookup verifies an entry and tells what it holds. An error says why it must not
// be used; it is removed then.
func (c *cache) lookup(digest string) (functions.Code, error) {
	code, err := c.verify(digest)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		_ = os.RemoveAll(c.path(digest)) // it is made anew in any case
	}
	return code, err
}

// manifest reads that of an entry, and sees that it is ours.
func (c *cache) manifest(digest string) (m manifest, err error) {
	b, err := readSmall(filepath.Join(c.path(digest), manifestFile), 64<<10)
	if err != nil {
		return m, err
	}
	at := len(b) - hex.EncodedLen(sha256.Size)
	if at < 0 {
		return m, errors.New("the manifest is cut off")
	}
	sum, err := hex.DecodeString(string(b[at:]))
	if err != nil || !hmac.Equal(sum, c.mac(b[:at])) {
		return m, errors.New("the manifest is not ours")
	}
	if err := json.Unmarshal(b[:at], &m); err != nil {
		return m, err
	}
	if m.Code.SHA256 != digest {
		return m, errors.New("the manifest is of another module")
	}
	return m, nil
}

func (c *cache) verify(digest string) (functions.Code, error) {
	m, err := c.manifest(digest)
	if err != nil {
		return functions.Code{}, err
	}
	dir := c.path(digest)
	// Not again for files that nobody has touched, which the kernel's change time shows.
	look, err := lookOf(dir)
	if err != nil {
		return functions.Code{}, err
	}
	c.mu.Lock()
	known := look != "" && c.seen[digest] == look
	c.mu.Unlock()
	if !known {
		files, look, err := c.sign(dir, m.Files)
		if err != nil {
			return functions.Code{}, err
		}
		if !slices.EqualFunc(files, m.Files, cachedFile.is) {
			return functions.Code{}, errors.New("the files are not those of the manifest")
		}
		c.mu.Lock()
		c.seen[digest] = look
		c.mu.Unlock()
	}
	now := time.Now()
	_ = os.Chtimes(dir, now, now) // for the sweep
	return m.Code, nil
}

func (c *cache) close() error {
	if c.own == "" {
		return nil
	}
	return os.RemoveAll(c.own)
}
