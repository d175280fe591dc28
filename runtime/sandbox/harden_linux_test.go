package sandbox

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/runtime"
)

func seenBy(t *testing.T, change ...func(*Options)) loadReport {
	t.Helper()
	t.Setenv("SECRET", "of the server")
	open, err := os.Open("/etc/passwd") // descriptors of ours are not the child's
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	p := loaded(t, newEngine(t, change...), recursion())
	e := start(t, p, version(), nil)
	return e.process.report
}

func TestChildIsGivenNothingButItsConnections(t *testing.T) {
	everywhere(t, func(t *testing.T, with func(*Options)) {
		for _, s := range seenBy(t, with).Probe {
			if strings.HasPrefix(s, "started: ") {
				t.Error(s)
			}
		}
	})
}

func sealed(t *testing.T, r loadReport) {
	t.Helper()
	for _, s := range r.Probe {
		if strings.HasPrefix(s, "sealed: ") {
			t.Errorf("the child can %s", strings.TrimPrefix(s, "sealed: "))
		}
	}
	if _, err := os.Stat("/tmp/wasmill-remove-me"); err != nil {
		t.Error("the child can remove files")
	}
}

func TestChildCanDoNothingButCompute(t *testing.T) {
	if err := os.WriteFile("/tmp/wasmill-remove-me", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove("/tmp/wasmill-remove-me") })
	t.Run("without Landlock", func(t *testing.T) { sealed(t, seenBy(t, noLandlock)) })
	t.Run("with all", func(t *testing.T) {
		r := seenBy(t, withAll(t))
		sealed(t, r)
		if len(r.Missing) > 0 {
			t.Errorf("missing: %v", r.Missing)
		}
	})
}

// withAll has children be programs without cgo, as those that are released are: only they can
// have Landlock.
func withAll(t *testing.T) func(*Options) {
	t.Helper()
	if abi, err := landlockABI(); err != nil {
		t.Skipf("this kernel has no Landlock (%d, %v)", abi, err)
	}
	if allThreads() == nil {
		return func(*Options) {}
	}
	program := filepath.Join(t.TempDir(), "child.test")
	cmd := exec.Command("go", "test", "-c", "-o", program, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return func(o *Options) { o.Command = []string{program} }
}

func TestMissingNamesWhatCannotBeHad(t *testing.T) {
	if got := newEngine(t, noLandlock).Missing(); !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "Landlock") }) {
		t.Errorf("%v", got)
	}
	if got := newEngine(t, portable).Missing(); len(got) < 5 {
		t.Errorf("%v", got)
	}
}

func TestLandlockedChildRunsFunctions(t *testing.T) {
	p := loaded(t, newEngine(t, withAll(t)), writes(3))
	r := invoke(t, start(t, p, version(), nil), say(""), patient)
	if r.Outcome != runtime.Done {
		t.Errorf("%v %s %s", r.Outcome, r.ErrorType, r.ErrorMessage)
	}
}

// The limit follows the environments that a process holds.
func TestChildMayMapNoMoreThanItsEnvironmentsNeed(t *testing.T) {
	p := loaded(t, newEngine(t), recursion())
	for n := range 2 {
		e := start(t, p, version(), nil)
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", e.process.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		if line := fmt.Sprintf("Max data size             %d ", e.process.mapped()); !strings.Contains(string(b), line) {
			t.Errorf("with %d environments: want %s in\n%s", n+1, line, b)
		}
	}
}
