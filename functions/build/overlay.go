package build

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// The Go distribution's own packages net and crypto/x509 know no network on WASI:
// every dial fails, no name resolves, no authority is trusted. So that code which
// reaches out works unchanged, a build reads copies of some of their files, made
// from those of the toolchain that builds, in which calls of a file of ours were put
// in. The toolchain itself stays as it is.

// overlay are the files that are added to packages of the distribution.
//
//go:embed overlay/*.go.txt
var overlay embed.FS

// hook is a place in a file of the distribution where something is put in.
type hook struct {
	file string // in the package's directory
	at   string // text that must be there: exactly once, or if many is set, at least once
	then string // what is put behind it; or in its place, if many is set
	many bool
}

// hooked is a package of the distribution that gets hooks and a file of ours.
type hooked struct {
	path  string // import path
	ours  string // in overlay
	as    string // what ours is called there
	hooks []hook
}

// distribution is what is changed. The texts are the same in Go 1.24 to 1.26; a
// toolchain that has others is refused, since a module in which half of this is
// missing would fail only when it runs.
var distribution = []hooked{
	{path: "net", ours: "net.go.txt", as: "wasmill_door_wasip1.go", hooks: []hook{
		{file: "dial.go",
			at:   "func (d *Dialer) DialContext(ctx context.Context, network, address string) (Conn, error) {\n",
			then: "\tif c, err, done := doorDialContext(ctx, d, network, address); done {\n\t\treturn c, err\n\t}\n"},
		{file: "net_fake.go",
			at:   "func socket(ctx context.Context, net string, family, sotype, proto int, ipv6only bool, laddr, raddr sockaddr, ctrlCtxFn func(context.Context, string, string, syscall.RawConn) error) (*netFD, error) {\n",
			then: "\tif fd, err, done := doorSocket(ctx, net, raddr, ctrlCtxFn); done {\n\t\treturn fd, err\n\t}\n"},
		{file: "lookup_unix.go",
			at:   "func (r *Resolver) lookupHost(ctx context.Context, host string) (addrs []string, err error) {\n",
			then: "\tif doorResolver(r) {\n\t\treturn doorLookupHost(ctx, host)\n\t}\n"},
		{file: "lookup_unix.go",
			at:   "func (r *Resolver) lookupIP(ctx context.Context, network, host string) (addrs []IPAddr, err error) {\n",
			then: "\tif doorResolver(r) {\n\t\treturn doorLookupIP(ctx, network, host)\n\t}\n"},
		{file: "lookup_unix.go",
			at:   "func (r *Resolver) lookupCNAME(ctx context.Context, name string) (string, error) {\n",
			then: "\tif doorResolver(r) {\n\t\treturn \"\", doorLookupOther(\"CNAME\", name)\n\t}\n"},
		{file: "lookup_unix.go",
			at:   "func (r *Resolver) lookupSRV(ctx context.Context, service, proto, name string) (string, []*SRV, error) {\n",
			then: "\tif doorResolver(r) {\n\t\treturn \"\", nil, doorLookupOther(\"SRV\", name)\n\t}\n"},
		{file: "lookup_unix.go",
			at:   "func (r *Resolver) lookupMX(ctx context.Context, name string) ([]*MX, error) {\n",
			then: "\tif doorResolver(r) {\n\t\treturn nil, doorLookupOther(\"MX\", name)\n\t}\n"},
		{file: "lookup_unix.go",
			at:   "func (r *Resolver) lookupNS(ctx context.Context, name string) ([]*NS, error) {\n",
			then: "\tif doorResolver(r) {\n\t\treturn nil, doorLookupOther(\"NS\", name)\n\t}\n"},
		{file: "lookup_unix.go",
			at:   "func (r *Resolver) lookupTXT(ctx context.Context, name string) ([]string, error) {\n",
			then: "\tif doorResolver(r) {\n\t\treturn nil, doorLookupOther(\"TXT\", name)\n\t}\n"},
		{file: "lookup_unix.go",
			at:   "func (r *Resolver) lookupAddr(ctx context.Context, addr string) ([]string, error) {\n",
			then: "\tif doorResolver(r) {\n\t\treturn nil, doorLookupOther(\"PTR\", addr)\n\t}\n"},
		{file: "sockopt_fake.go", at: "return syscall.ENOPROTOOPT", then: "return doorOption(syscall.ENOPROTOOPT)", many: true},
		{file: "tcpsockopt_stub.go", at: "return syscall.ENOPROTOOPT", then: "return doorOption(syscall.ENOPROTOOPT)", many: true},
	}},
	{path: "crypto/x509", ours: "x509.go.txt", as: "wasmill_door_wasip1.go", hooks: []hook{
		{file: "root_unix.go",
			at:   "func loadSystemRoots() (*CertPool, error) {\n",
			then: "\tif roots := doorRoots(); roots != nil {\n\t\treturn roots, nil\n\t}\n"},
	}},
}

// addDoor has the packages of the distribution that reach out, of those which the
// project uses, read with our hooks.
func (p *project) addDoor(replace map[string]string, tmp string) error {
	for _, h := range distribution {
		l := p.packages[h.path]
		if l == nil {
			continue // a module that does not need it stays as small as it is
		}
		if err := h.add(replace, l.Dir, filepath.Join(tmp, strings.ReplaceAll(h.path, "/", "-"))); err != nil {
			return fmt.Errorf("%w: %s does not fit: %w; wasmill builds with Go %s to %s",
				ErrToolchain, p.g.version, err, strings.TrimPrefix(oldestGo, "go"), strings.TrimPrefix(newestGo, "go"))
		}
	}
	return nil
}

// add writes the changed files of the package in dir to a folder.
func (h hooked) add(replace map[string]string, dir, folder string) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	changed := make(map[string][]byte)
	for _, k := range h.hooks {
		text, ok := changed[k.file]
		if !ok {
			var err error
			if text, err = os.ReadFile(filepath.Join(dir, k.file)); err != nil {
				return fmt.Errorf("package %s has no file %s: %w", h.path, k.file, err)
			}
			// A checkout on Windows may have its line ends.
			text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
		}
		text, err := k.put(text)
		if err != nil {
			return fmt.Errorf("package %s, file %s: %w", h.path, k.file, err)
		}
		changed[k.file] = text
	}
	ours, err := overlay.ReadFile("overlay/" + h.ours)
	if err != nil {
		return err
	}
	changed[h.as] = ours
	for name, text := range changed {
		to := filepath.Join(folder, name)
		if err := os.WriteFile(to, text, 0o600); err != nil {
			return err
		}
		replace[filepath.Join(dir, name)] = to
	}
	return nil
}

func (k hook) put(text []byte) ([]byte, error) {
	n := bytes.Count(text, []byte(k.at))
	switch {
	case k.many && n > 0:
		return bytes.ReplaceAll(text, []byte(k.at), []byte(k.then)), nil
	case !k.many && n == 1:
		return bytes.Replace(text, []byte(k.at), []byte(k.at+k.then), 1), nil
	}
	return nil, fmt.Errorf("found %q %d times", strings.TrimSpace(k.at), n)
}

// leaveCache has a toolchain that the Go command downloaded for the project seem to be
// elsewhere: files in the module cache must not be replaced, it says, and such a
// toolchain lies there.
func (g *toolchain) leaveCache(root, cache, tmp string) error {
	if rel, err := filepath.Rel(cache, root); err != nil || !filepath.IsLocal(rel) {
		return nil
	}
	link := filepath.Join(tmp, "goroot")
	if err := os.Symlink(root, link); err != nil {
		// On Windows links are a privilege, and junctions are not.
		if runtime.GOOS != "windows" {
			return err
		}
		if out, err := exec.Command("cmd", "/c", "mklink", "/J", link, root).CombinedOutput(); err != nil {
			return fmt.Errorf("mklink: %w: %s", err, bytes.TrimSpace(out))
		}
	}
	g.command = filepath.Join(link, "bin", "go")
	g.env = append(g.env, "GOROOT="+link, "GOTOOLCHAIN=local")
	return nil
}

// doorFlags are the flags for a project of which nothing else is exchanged.
func (p *project) doorFlags(tmp string) ([]string, error) {
	replace := make(map[string]string)
	if err := p.addDoor(replace, tmp); err != nil || len(replace) == 0 {
		return nil, err
	}
	return overlayFlag(replace, tmp)
}

// overlayFlag has the Go command take files for others.
func overlayFlag(replace map[string]string, tmp string) ([]string, error) {
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(tmp, "overlay.json")
	return []string{"-overlay=" + file}, os.WriteFile(file, text, 0o600)
}

// doorless says so if a compiler's complaint is about our part of the distribution:
// then it is of a version that we do not know yet.
func doorless(err error, version string) error {
	if err == nil || !errors.Is(err, ErrCompile) || !strings.Contains(err.Error(), "wasmill_door_wasip1.go") {
		return err
	}
	return fmt.Errorf("%w: the packages of %s are not those that wasmill knows; it builds with Go %s to %s: %w",
		ErrToolchain, version, strings.TrimPrefix(oldestGo, "go"), strings.TrimPrefix(newestGo, "go"), err)
}
