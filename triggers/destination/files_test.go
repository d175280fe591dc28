package destination

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/triggers"
)

// found are the files below dir, by their ways from there.
func found(t *testing.T, dir string) string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			path, err = filepath.Rel(dir, path)
			all = append(all, filepath.ToSlash(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

// filing is a sender that may write below dir, and a notice to a destination there.
func filing(t *testing.T, dir, below string) (*Sender, triggers.Notice) {
	t.Helper()
	s, err := New(Options{Directories: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	return s, Notice(mappingTo("file://"+filepath.ToSlash(dir)+below), source0, discarded(dlq.RetryAttemptsExhausted, 1, 3))
}

func TestAFileForEachNotice(t *testing.T) {
	for _, below := range []string{"", "/", "/a/b"} {
		dir := t.TempDir()
		s, n := filing(t, dir, below)
		for range 3 { // the same file
			if err := s.Send(context.Background(), n); err != nil {
				t.Fatal(err)
			}
		}
		want := strings.TrimPrefix(strings.TrimSuffix(below, "/")+"/"+Key(n), "/")
		if got := found(t, dir); got != want {
			t.Errorf("files: %s, want %s", got, want)
		}
		if got, err := os.ReadFile(filepath.Join(dir, want)); err != nil || string(got) != string(Object(n)) {
			t.Errorf("%s: %s, %v", want, got, err)
		}
		// Somebody clears up.
		if err := os.RemoveAll(filepath.Join(dir, strings.Split(want, "/")[0])); err != nil {
			t.Fatal(err)
		}
		if err := s.Send(context.Background(), n); err != nil || found(t, dir) != want {
			t.Errorf("after clearing up: %v, %s", err, found(t, dir))
		}
	}
}

func TestWhatACrashLeavesBehindIsReplaced(t *testing.T) {
	dir := t.TempDir()
	s, n := filing(t, dir, "")
	part := filepath.Join(dir, filepath.Dir(Key(n)), "."+filepath.Base(Key(n))+".part")
	if err := os.MkdirAll(filepath.Dir(part), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(part, []byte("half of i"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Send(context.Background(), n); err != nil {
		t.Fatal(err)
	}
	if got := found(t, dir); got != Key(n) {
		t.Errorf("files: %s, want %s", got, Key(n))
	}
}

func TestNoLinkLeadsOutOfTheDirectory(t *testing.T) {
	for name, link := range map[string]func(dir string, n triggers.Notice) string{
		"the destination":        func(dir string, _ triggers.Notice) string { return filepath.Join(dir, "to") },
		"a directory of the key": func(dir string, n triggers.Notice) string { return filepath.Join(dir, "to", "aws", "lambda") },
	} {
		t.Run(name, func(t *testing.T) {
			dir, outside := t.TempDir(), t.TempDir()
			s, n := filing(t, dir, "/to")
			at := link(dir, n)
			if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(outside, at); err != nil {
				t.Skipf("links cannot be made here: %v", err)
			}
			if err := s.Send(context.Background(), n); err == nil {
				t.Error("the notice was written")
			}
			if err := s.Check(context.Background(), n.Destination); name == "the destination" && err == nil {
				t.Error("the destination was accepted")
			}
			if got := found(t, outside); got != "" {
				t.Errorf("outside: %s", got)
			}
		})
	}
}

func TestALinkInPlaceOfTheFileIsNotFollowed(t *testing.T) {
	dir := t.TempDir()
	s, n := filing(t, dir, "")
	precious := filepath.Join(dir, "precious")
	if err := os.WriteFile(precious, []byte("keep"), 0o600); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, Key(n))
	part := filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+".part")
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, link := range []string{name, part} {
		if err := os.Symlink(precious, link); err != nil {
			t.Skipf("links cannot be made here: %v", err)
		}
	}
	if err := s.Send(context.Background(), n); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(precious); string(got) != "keep" || err != nil {
		t.Errorf("precious = %s, %v", got, err)
	}
	if got, err := os.ReadFile(name); string(got) != string(Object(n)) || err != nil {
		t.Errorf("notice = %s, %v", got, err)
	}
}

func TestDirectoriesThatAreNoneAreRefusedAtTheStart(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{file, filepath.Join(dir, "gone"), "relative", ""} {
		if _, err := New(Options{Directories: []string{d}}); err == nil {
			t.Errorf("%q was taken", d)
		}
	}
}

func TestSendersShareADirectory(t *testing.T) {
	dir := t.TempDir()
	s, _ := filing(t, dir, "")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for k := range 5 {
				d := discarded(dlq.RetryAttemptsExhausted, 10*i+k, 10*i+k)
				if err := s.Send(context.Background(), Notice(mappingTo("file://"+filepath.ToSlash(dir)), source0, d)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(strings.Fields(found(t, dir))); n != 40 {
		t.Errorf("%d files, want 40", n)
	}
}
