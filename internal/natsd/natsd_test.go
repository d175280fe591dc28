package natsd_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server/ats"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
)

func TestMain(m *testing.M) {
	// A test that needs another process runs this binary again.
	if f, ok := children[os.Getenv("NATSD_TEST_CHILD")]; ok {
		f()
		return
	}
	ats.Register()
	code := m.Run()
	ats.Unregister()
	os.Exit(code)
}

// children are the parts of tests that run in a process of their own.
var children = map[string]func(){
	"publish": publishForEver,
	"start": func() {
		_, err := natsd.Start(context.Background(), natsd.Options{Dir: os.Getenv("NATSD_TEST_DIR")})
		fmt.Print(err)
	},
}

// child is a command that runs children[name] in a new process.
func child(t *testing.T, name string, env ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), append(env, "NATSD_TEST_CHILD="+name)...)
	cmd.Stderr = os.Stderr
	return cmd
}

// makeStream makes a stream of that name with one subject of the same name.
func makeStream(ctx context.Context, s *natsd.Server, name string) error {
	_, err := s.JS().CreateStream(ctx, jetstream.StreamConfig{
		Name: name, Subjects: []string{name}, Storage: s.Storage(), AllowDirect: true,
	})
	return err
}

func mustMakeStream(t *testing.T, s *natsd.Server, name string) {
	t.Helper()
	if err := makeStream(t.Context(), s, name); err != nil {
		t.Fatal(err)
	}
}

func start(t *testing.T, dir string) (*natsd.Server, error) {
	t.Helper()
	s, err := natsd.Start(t.Context(), natsd.Options{Dir: dir})
	if err == nil {
		t.Cleanup(func() { natsdtest.Close(t, s) })
	}
	return s, err
}

// want fails the test unless err is target and its text has every part.
func want(t *testing.T, err, target error, parts ...string) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("error = %v, want %v", err, target)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not say %q", err, p)
		}
	}
}

func TestWhatWasStoredIsThereAfterClose(t *testing.T) {
	dir := t.TempDir()
	s, err := start(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	mustMakeStream(t, s, "S")
	if _, err := s.JS().Publish(t.Context(), "S", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	natsdtest.Close(t, s)
	want(t, s.Admit(natsd.Data, 1), natsd.ErrClosed)
	want(t, s.Healthy(t.Context()), natsd.ErrClosed)

	if s, err = start(t, dir); err != nil {
		t.Fatal(err)
	}
	st, err := s.JS().Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	m, err := st.GetMsg(t.Context(), 1)
	if err != nil || string(m.Data) != "kept" {
		t.Fatalf("message 1 = %v, %v", m, err)
	}
}

func TestASecondServerOnTheDirectoryIsRefused(t *testing.T) {
	dir := t.TempDir()
	first, err := start(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = start(t, dir)
	want(t, err, natsd.ErrLocked)
	// From another process too, and after that one has ended.
	out, err := child(t, "start", "NATSD_TEST_DIR="+dir).Output()
	if err != nil || string(out) != fmt.Sprintf("%v: %s is open in the wasmill process %d; stop that one first, or give another directory", natsd.ErrLocked, dir, os.Getpid()) {
		t.Errorf("another process: %s, %v", out, err)
	}
	natsdtest.Close(t, first)
	if _, err = start(t, dir); err != nil {
		t.Errorf("after the first was closed: %v", err)
	}
}

func TestCloseWithoutPatienceStillFreesTheDirectory(t *testing.T) {
	dir := t.TempDir()
	s, err := start(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	mustMakeStream(t, s, "S")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Close(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("close = %v", err)
	}
	natsdtest.Close(t, s) // waits for the first
	if _, err := start(t, dir); err != nil {
		t.Error(err)
	}
}

func TestADirectoryThatIsNotOursIsRefusedAndLeftAlone(t *testing.T) {
	tests := []struct {
		name  string
		file  string
		text  string
		parts []string
	}{
		{"newer format", "version", "wasmill data format 2\n", []string{"format 2", "format 1", "newer release"}},
		{"much newer format", "version", "wasmill data format 1000\n", []string{"format 1000"}},
		{"garbage mark", "version", "\x00\x01ELF", []string{"backup"}},
		{"empty mark", "version", "", []string{"backup"}},
		{"format 0", "version", "wasmill data format 0\n", []string{"backup"}},
		{"a mark without its words", "version", "1\n", []string{"backup"}},
		{"somebody's files", "thesis.txt", "chapter 1", []string{"thesis.txt", "empty or new directory"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, tt.file), []byte(tt.text), 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := start(t, dir)
			want(t, err, natsd.ErrFormat, append(tt.parts, dir)...)
			entries, err := os.ReadDir(dir)
			if err != nil || len(entries) != 1 {
				t.Errorf("directory holds %v, %v: want only %s", entries, err, tt.file)
			}
			if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o755 && os.PathSeparator == '/' {
				t.Errorf("mode changed: %v, %v", st.Mode(), err)
			}
		})
	}
}

func TestAStartThatWasKilledBeforeTheMarkIsRepeated(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{"lock", "version.tmp"} {
		if err := os.WriteFile(filepath.Join(dir, f), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := start(t, dir); err != nil {
		t.Error(err)
	}
}

func TestTheDataDirectoryIsForItsOwnerOnly(t *testing.T) {
	if os.PathSeparator != '/' {
		t.Skip("access is not by mode bits on this system")
	}
	for _, name := range []string{"new", "made by somebody with mode 755"} {
		dir := filepath.Join(t.TempDir(), "data")
		if name != "new" {
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := start(t, dir); err != nil {
			t.Fatal(err)
		}
		if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
			t.Errorf("%s: mode %v, %v: want 0700", name, st.Mode(), err)
		}
	}
}

func TestADamagedStreamIsNamedAndNotPassedOver(t *testing.T) {
	dir := t.TempDir()
	s, err := start(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	mustMakeStream(t, s, "WHOLE")
	mustMakeStream(t, s, "TORN")
	natsdtest.Close(t, s)
	streams := filepath.Join(dir, "jetstream", "$G", "streams")
	if err := os.WriteFile(filepath.Join(streams, "TORN", "meta.inf"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err = start(t, dir); err == nil || !strings.Contains(err.Error(), "TORN") || strings.Contains(err.Error(), "WHOLE") {
		t.Errorf("start on a torn stream: %v", err)
	}
}

func TestAKillWhileAStreamIsMadeOrDeletedIsNoDamage(t *testing.T) {
	for _, missing := range []string{"meta.inf", "meta.sum"} {
		dir := t.TempDir()
		s, err := start(t, dir)
		if err != nil {
			t.Fatal(err)
		}
		mustMakeStream(t, s, "S")
		natsdtest.Close(t, s)
		if err := os.Remove(filepath.Join(dir, "jetstream", "$G", "streams", "S", missing)); err != nil {
			t.Fatal(err)
		}
		if s, err = start(t, dir); err != nil {
			t.Fatalf("without %s: %v", missing, err)
		}
		mustMakeStream(t, s, "S") // over what is left
		if _, err := s.JS().Publish(t.Context(), "S", []byte("x")); err != nil {
			t.Fatal(err)
		}
		natsdtest.Close(t, s)
		if _, err = start(t, dir); err != nil {
			t.Errorf("without %s, made again: %v", missing, err)
		}
	}
}

func TestAKillWhileAStreamsSettingsChangeIsMended(t *testing.T) {
	dir := t.TempDir()
	s, err := start(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	mustMakeStream(t, s, "S")
	if _, err := s.JS().Publish(t.Context(), "S", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "jetstream", "$G", "streams", "S", "meta.sum")
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.JS().UpdateStream(t.Context(), jetstream.StreamConfig{
		Name: "S", Subjects: []string{"S", "T"}, Storage: s.Storage(), AllowDirect: true,
	}); err != nil {
		t.Fatal(err)
	}
	natsdtest.Close(t, s)
	// The kill came between description and checksum.
	old := time.Now().Add(-time.Hour)
	if err := errors.Join(os.WriteFile(path, before, 0o600), os.Chtimes(path, old, old)); err != nil {
		t.Fatal(err)
	}
	if s, err = start(t, dir); err != nil {
		t.Fatal(err)
	}
	st, err := s.JS().Stream(t.Context(), "S")
	if err != nil {
		t.Fatal(err)
	}
	if i := st.CachedInfo(); i.State.Msgs != 1 || len(i.Config.Subjects) != 2 {
		t.Errorf("stream = %+v, want its message and the new settings", i)
	}
}

func TestJetStreamThatCannotStartIsAnError(t *testing.T) {
	dir := t.TempDir()
	s, err := start(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	natsdtest.Close(t, s)
	if err := os.RemoveAll(filepath.Join(dir, "jetstream")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "jetstream"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := start(t, dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Fatalf("error = %v, want one that names %s", err, dir)
	}
	// And the directory is free again.
	if err := os.Remove(filepath.Join(dir, "jetstream")); err != nil {
		t.Fatal(err)
	}
	if _, err := start(t, dir); err != nil {
		t.Error(err)
	}
}

func TestOptionsNameEveryFault(t *testing.T) {
	_, err := natsd.Start(t.Context(), natsd.Options{Dir: "x", Memory: true, MaxMemory: -1, Reserve: -1})
	if err == nil || strings.Count(err.Error(), "want") != 3 {
		t.Errorf("error = %v, want three faults", err)
	}
}

func TestMemoryLeavesNothingBehind(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	s := natsdtest.Memory(t)
	mustMakeStream(t, s, "S")
	if _, err := s.JS().Publish(t.Context(), "S", make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if used, _ := s.Usage(); used < 1<<20 {
		t.Errorf("used = %d, want what was published", used)
	}
	natsdtest.Close(t, s)
	if entries, err := os.ReadDir(os.TempDir()); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestTheServerRunsInABubble(t *testing.T) {
	for _, memory := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			o := natsd.Options{Memory: memory}
			if !memory {
				o.Dir = t.TempDir()
			}
			s := natsdtest.Start(t, o)
			_, err := s.JS().CreateStream(t.Context(), jetstream.StreamConfig{
				Name: "S", Subjects: []string{"S"}, Storage: s.Storage(), MaxAge: time.Hour,
			})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.JS().Publish(t.Context(), "S", []byte("x")); err != nil {
				t.Fatal(err)
			}
			count := func() uint64 {
				st, err := s.JS().Stream(t.Context(), "S")
				if err != nil {
					t.Fatal(err)
				}
				return st.CachedInfo().State.Msgs
			}
			time.Sleep(59 * time.Minute)
			if n := count(); n != 1 {
				t.Errorf("memory=%v: %d messages before MaxAge, want 1", memory, n)
			}
			time.Sleep(3 * time.Minute)
			if n := count(); n != 0 {
				t.Errorf("memory=%v: %d messages after MaxAge, want 0", memory, n)
			}
		})
	}
}

func TestAnAlarmThatIsNoneCostsNothing(t *testing.T) {
	s := natsdtest.New(t)
	for range 100 {
		s.Failed(context.DeadlineExceeded)
		if err := s.Healthy(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.Restarts(); n != 0 {
		t.Errorf("restarts = %d, want 0", n)
	}
}

// A server that is killed while it starts a child leaves the lock to that one
// for a moment.
func TestALockThatOutlivesItsProcessIsWaitedFor(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a lock ends with its process on Windows")
	}
	dir := t.TempDir()
	gone := exec.Command(os.Args[0], "-test.run=^$")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "lock")
	heir := flock.New(path)
	if err := heir.Lock(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, fmt.Appendln(nil, gone.Process.Pid), 0o600); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(time.Second, func() { _ = heir.Unlock() })
	if _, err := start(t, dir); err != nil {
		t.Error(err)
	}
}
