package main

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/mod/modfile"

	"github.com/wasmill/wasmill/functions/build"
	"github.com/wasmill/wasmill/internal/project"
)

const (
	// settle is how long nothing may happen until a change is told: editors
	// write a file in several steps, and tools write many files.
	settle = 30 * time.Millisecond
	// maxFolders bounds what is watched; systems bound it too.
	maxFolders = 4096
)

// change is what was written since the last one was told.
type change struct {
	since time.Time // of the first write
	files []string  // sorted
}

// watcher tells when the sources of a project change.
type watcher struct {
	changes chan change // to whoever asks; never closed
	fs      *fsnotify.Watcher
	done    chan struct{} // closed when run has returned

	mu      sync.Mutex                // guards what follows
	roots   []string                  // folders of modules
	written map[string]build.Language // by root
	single  map[string]bool           // files that matter wherever they are
	folders map[string]bool           // watched
	embeds  map[string][]string       // by Go file: patterns of paths below its root
	crowded bool                      // there are more folders than are watched
}

func newWatcher() (*watcher, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	out := &watcher{changes: make(chan change), fs: w, done: make(chan struct{}), single: map[string]bool{}, folders: map[string]bool{}, written: map[string]build.Language{}, embeds: map[string][]string{}}
	go out.run()
	return out, nil
}

// Close ends the watch; when it has returned nothing of it is left.
func (w *watcher) Close() error {
	err := w.fs.Close()
	<-w.done
	return err
}

// Follow has the modules at roots watched, with all below them, and single
// files. What was followed before and is not named is left be.
func (w *watcher) Follow(roots, files []string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range files {
		w.single[f] = true
		if err := w.add(filepath.Dir(f)); err != nil {
			return err
		}
	}
	for _, root := range roots {
		if l, err := build.Detect(root); err == nil {
			w.written[root] = l
		}
		if slices.Contains(w.roots, root) {
			continue
		}
		if _, err := w.tree(root, root); err != nil {
			return err
		}
		w.roots = append(w.roots, root)
	}
	return nil
}

// Crowded says that there were too many folders to watch them all.
func (w *watcher) Crowded() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.crowded
}

func (w *watcher) add(dir string) error {
	if w.folders[dir] {
		return nil
	}
	if len(w.folders) >= maxFolders {
		w.crowded = true
		return nil
	}
	if err := w.fs.Add(dir); err != nil {
		return err
	}
	w.folders[dir] = true
	return nil
}

// tree watches a folder with all below it that belongs to the root's module,
// and returns the sources in there.
func (w *watcher) tree(root, dir string) (sources []string, err error) {
	var files []string
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // gone meanwhile
		case err != nil:
			return err
		case !d.IsDir():
			files = append(files, path)
			if filepath.Ext(path) == ".go" {
				w.scan(root, path)
			}
			return nil
		case path != root && (!w.folder(root, d.Name()) || isFile(filepath.Join(path, "go.mod"))):
			return fs.SkipDir
		}
		err = w.add(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	for _, f := range files { // now that all embeds are known
		if w.source(f, root) {
			sources = append(sources, f)
		}
	}
	return sources, err
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// scan notes what a Go file embeds.
func (w *watcher) scan(root, file string) {
	delete(w.embeds, file)
	rel, err := filepath.Rel(root, filepath.Dir(file))
	if err != nil {
		return
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return // gone already
	}
	if e := project.Embeds(filepath.ToSlash(rel), string(text)); e != nil {
		w.embeds[file] = e
	}
}

// source says whether a file below root may change what is built.
func (w *watcher) source(file, root string) bool {
	rel, err := filepath.Rel(root, file)
	if err != nil || !filepath.IsLocal(rel) {
		return false
	}
	if l := w.written[root]; l != "" && l != build.LanguageGo {
		return project.Plain(rel) && (l.Source(filepath.Base(rel)) || filepath.Base(rel) == project.FileName)
	}
	return project.Source(filepath.ToSlash(rel), slices.Concat(slices.Collect(maps.Values(w.embeds))...))
}

// folder says whether a folder of that name may hold sources.
func (w *watcher) folder(root, name string) bool {
	return project.Folder(name) && (w.written[root] != build.LanguageRust || name != "target")
}

// matters takes an event and returns the sources that changed.
func (w *watcher) matters(e fsnotify.Event) (sources []string) {
	if !e.Has(fsnotify.Create) && !e.Has(fsnotify.Write) && !e.Has(fsnotify.Remove) && !e.Has(fsnotify.Rename) {
		return nil // somebody else's look at it
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.single[e.Name] {
		return []string{e.Name}
	}
	if (e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename)) && w.folders[e.Name] {
		delete(w.folders, e.Name)
		sources = append(sources, e.Name) // with all there was in it
	}
	info, err := os.Stat(e.Name)
	for _, root := range w.roots {
		switch rel, outside := filepath.Rel(root, e.Name); {
		case outside != nil || !filepath.IsLocal(rel):
			continue
		case err == nil && info.IsDir():
			if w.folder(root, filepath.Base(e.Name)) && !isFile(filepath.Join(e.Name, "go.mod")) {
				found, _ := w.tree(root, e.Name) // what cannot be read is no source
				sources = append(sources, found...)
			}
			continue
		case filepath.Ext(e.Name) == ".go":
			w.scan(root, e.Name)
		}
		if w.source(e.Name, root) {
			sources = append(sources, e.Name)
		}
	}
	return sources
}

// run gathers events until the watch is closed.
func (w *watcher) run() {
	defer close(w.done)
	var pending *change
	var ready chan<- change // nil until nothing happened for a while
	quiet := time.NewTimer(0)
	<-quiet.C
	note := func(files ...string) {
		if pending == nil {
			pending = &change{since: time.Now()}
		}
		pending.files = append(pending.files, files...)
		slices.Sort(pending.files)
		pending.files = slices.Compact(pending.files)
		ready = nil
		quiet.Reset(settle)
	}
	for {
		var next change
		if pending != nil {
			next = *pending
		}
		select {
		case e, ok := <-w.fs.Events:
			if !ok {
				return
			}
			if files := w.matters(e); len(files) > 0 {
				note(files...)
			}
		case err, ok := <-w.fs.Errors:
			if !ok {
				return
			}
			if errors.Is(err, fsnotify.ErrEventOverflow) {
				note() // whatever it was
			}
		case <-quiet.C:
			ready = w.changes
		case ready <- next:
			pending, ready = nil, nil
		}
	}
}

// sources are the folders of modules whose Go files a program in dir may be
// built of, its own, those it is replaced by and those of its workspace, and
// files beside them that matter.
func sources(dir string) (roots, files []string) {
	if l, err := build.Detect(dir); err == nil && l != build.LanguageGo {
		return []string{dir}, nil
	}
	root := above(dir, "go.mod")
	if root == "" {
		return []string{dir}, nil
	}
	roots = []string{root}
	local := func(base, path string) {
		if !modfile.IsDirectoryPath(path) {
			return
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(base, filepath.FromSlash(path))
		}
		if info, err := os.Stat(path); err == nil && info.IsDir() && !slices.Contains(roots, path) {
			roots = append(roots, path)
		}
	}
	if data, err := os.ReadFile(filepath.Join(root, "go.mod")); err == nil {
		if m, err := modfile.Parse("go.mod", data, nil); err == nil {
			for _, r := range m.Replace {
				local(root, r.New.Path)
			}
		}
	}
	if base := above(root, "go.work"); base != "" {
		files = append(files, filepath.Join(base, "go.work"))
		if data, err := os.ReadFile(files[0]); err == nil {
			if m, err := modfile.ParseWork("go.work", data, nil); err == nil {
				for _, u := range m.Use {
					local(base, u.Path)
				}
			}
		}
	}
	return roots, files
}

// above is the nearest folder, dir or above it, with a file of that name.
func above(dir, name string) string {
	for {
		if isFile(filepath.Join(dir, name)) {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			return ""
		}
		dir = up
	}
}
