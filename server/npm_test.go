package server

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// npm runs programs of testdata/npm with the packages that are pinned there.
type npm struct {
	node, modules string
}

// withNPM fetches the packages, once for a machine.
func withNPM(t *testing.T) npm {
	t.Helper()
	if testing.Short() {
		t.Skip("short: clients of npm are left out")
	}
	n, err := fetchNPM(t)
	if err != nil && os.Getenv("CI") == "" {
		t.Skipf("clients of npm cannot run here: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	return n
}

func fetchNPM(t *testing.T) (n npm, err error) {
	if n.node, err = exec.LookPath("node"); err != nil {
		return n, err
	}
	tool, err := exec.LookPath("npm")
	if err != nil {
		return n, err
	}
	wanted, err := os.ReadFile(filepath.Join("testdata", "npm", "package.json"))
	if err != nil {
		t.Fatal(err)
	}
	locked, err := os.ReadFile(filepath.Join("testdata", "npm", "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return n, err
	}
	if err := os.MkdirAll(filepath.Join(cache, "wasmill"), 0o700); err != nil {
		return n, err
	}
	home := filepath.Join(cache, "wasmill", fmt.Sprintf("npm-clients-%x", sha256.Sum256(locked))[:28])
	n.modules = filepath.Join(home, "node_modules")
	if _, err := os.Stat(home); err == nil {
		return n, nil
	}
	tmp, err := os.MkdirTemp(filepath.Join(cache, "wasmill"), "fetching-*")
	if err != nil {
		return n, err
	}
	defer os.RemoveAll(tmp)
	for name, data := range map[string][]byte{"package.json": wanted, "package-lock.json": locked} {
		if err := os.WriteFile(filepath.Join(tmp, name), data, 0o600); err != nil {
			return n, err
		}
	}
	cmd := exec.CommandContext(t.Context(), tool, "ci", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")
	cmd.Dir = tmp
	if out, err := cmd.CombinedOutput(); err != nil {
		return n, fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	// Whoever was quicker has fetched the same.
	if err := os.Rename(tmp, home); err != nil {
		if _, there := os.Stat(home); there != nil {
			return n, err
		}
	}
	return n, nil
}

func (n npm) command(t *testing.T, program string, env ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), n.node, filepath.Join("testdata", "npm", program))
	cmd.Env = append(os.Environ(), "NODE_PATH="+n.modules, "AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE=1", "NODE_NO_WARNINGS=1")
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

// run runs a program that fails if anything is wrong.
func (n npm) run(t *testing.T, program string, env ...string) {
	t.Helper()
	if out, err := n.command(t, program, env...).CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", program, err, out)
	}
}

func TestTheJavaScriptSDKDrivesAStream(t *testing.T) {
	n := withNPM(t)
	s := start(t, Config{Memory: true})
	n.run(t, "kinesis.cjs", "ENDPOINT="+s.Endpoint())
}

func TestLifionKinesisReadsThroughSplitsAndMerges(t *testing.T) {
	n := withNPM(t)
	dynamo := n.command(t, "dynalite.cjs")
	dynamo.Stderr = os.Stderr
	end, err := dynamo.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := dynamo.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := dynamo.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		end.Close()
		_ = dynamo.Wait() // ended by us
	})
	port, err := bufio.NewReader(said).ReadString('\n')
	if err != nil {
		t.Fatalf("dynalite says no port: %v", err)
	}
	s := start(t, Config{Memory: true, Upstream: "http://127.0.0.1:" + strings.TrimSpace(port)})
	for _, mode := range []struct{ name, fanOut string }{{"polling", "0"}, {"enhanced fan-out", "1"}} {
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			n.run(t, "lifion.cjs", "ENDPOINT="+s.Endpoint(), "FANOUT="+mode.fanOut)
		})
	}
}
