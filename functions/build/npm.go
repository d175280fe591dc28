package build

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Versions of npm packages that are fetched where a project has none of its own.
const (
	esbuildVersion        = "0.28.2"
	assemblyScriptVersion = "0.28.20"
)

const installNode = "install Node.js 18 or newer with npm from https://nodejs.org (`apt-get install nodejs npm` on Debian and Ubuntu), then open a new terminal"

// cacheFolder keeps over builds what is slow to fetch or to make.
func (o Options) cacheFolder() (string, error) {
	dir := o.CacheDir
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("there is no folder to keep compilers in: %w; name one in WASMILL_BUILD_CACHE", err)
		}
		dir = filepath.Join(user, "wasmill")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o700)
}

// npmPackage finds the folder of a package: the project's own, of the version
// that it asks for, or the one of ours, which is fetched by npm once.
func (o Options) npmPackage(ctx context.Context, name, version string) (string, error) {
	for dir := o.Dir; ; dir = filepath.Dir(dir) {
		if found := filepath.Join(dir, "node_modules", name); isFolder(found) {
			return found, nil
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	cache, err := o.cacheFolder()
	if err != nil {
		return "", err
	}
	home := filepath.Join(cache, "npm-"+name+"-"+version)
	found := filepath.Join(home, "node_modules", name)
	if isFolder(found) {
		return found, nil
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return "", fmt.Errorf("%w: the command npm was not found, which fetches the package %s: %s", ErrToolchain, name, installNode)
	}
	o.Progress(fmt.Sprintf("fetching %s %s with npm, once", name, version))
	tmp, err := os.MkdirTemp(cache, "fetching-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if err := os.WriteFile(filepath.Join(tmp, "package.json"), []byte("{\"private\":true}\n"), 0o600); err != nil {
		return "", err
	}
	if _, err := tool(ctx, tmp, nil, npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-update-notifier", name+"@"+version); err != nil {
		if ctx.Err() != nil {
			return "", err
		}
		return "", fmt.Errorf("%w: npm cannot fetch %s %s; mend that, or `npm install --save-dev %s` in the project\n%w", ErrToolchain, name, version, name, err)
	}
	// Whoever was quicker has fetched the same.
	if err := os.Rename(tmp, home); err != nil && !isFolder(found) {
		return "", err
	}
	return found, nil
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// npmCommand is a command of a package.
func npmCommand(folder, command string) (string, error) {
	if runtime.GOOS == "windows" {
		command += ".cmd"
	}
	path := filepath.Join(filepath.Dir(folder), ".bin", command)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%w: %w; run npm install anew", ErrToolchain, err)
	}
	if _, err := exec.LookPath("node"); err != nil {
		return "", fmt.Errorf("%w: the command node was not found, which %s runs on: %s", ErrToolchain, command, installNode)
	}
	return path, nil
}

// fetched says of a project with dependencies whether npm has put them there.
func fetched(dir string, p packageJSON) error {
	for name := range p.Dependencies {
		for at := dir; ; at = filepath.Dir(at) {
			if _, err := os.Stat(filepath.Join(at, "node_modules", filepath.FromSlash(name))); err == nil {
				break
			} else if !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if at == filepath.Dir(at) {
				return fmt.Errorf("%w: package.json asks for %s, which is not there: run npm install in %s", ErrProject, name, dir)
			}
		}
	}
	return nil
}

// versionOf reads the version of a package in a folder.
func versionOf(folder string) string {
	p, err := readPackage(folder)
	if err != nil {
		return "of unknown version"
	}
	return cmp.Or(strings.TrimSpace(p.Version), "of unknown version")
}
