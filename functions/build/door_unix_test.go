//go:build unix

package build

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wasmill/wasmill/runtime"
)

// postgresCommand finds a program of PostgreSQL, where Debian keeps them too.
func postgresCommand(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return path, nil
		}
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(found) == 0 {
		return "", fs.ErrNotExist
	}
	return found[len(found)-1], nil
}

// postgres runs a server for the test, and returns its port. It wants a password.
func postgres(t *testing.T) (port string) {
	t.Helper()
	initdb, err := postgresCommand("initdb")
	server, err2 := postgresCommand("postgres")
	if err := errors.Join(err, err2); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("no PostgreSQL here (Debian: apt-get install postgresql)")
		}
		t.Skip("no PostgreSQL here (Debian: apt-get install postgresql)")
	}
	dir, err := os.MkdirTemp("", "wasmill-pg-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	attr := new(syscall.SysProcAttr)
	if os.Getuid() == 0 { // it refuses to run as root
		attr.Credential = ordinary(t, dir)
	}
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte("secret\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	cmd := exec.CommandContext(t.Context(), initdb, "-D", data, "-U", "wasmill", "-A", "scram-sha-256", "--pwfile", password, "--no-sync")
	cmd.SysProcAttr, cmd.Dir = attr, dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ = net.SplitHostPort(l.Addr().String())
	l.Close()
	run := exec.Command(server, "-D", data, "-p", port, "-k", dir, "-c", "listen_addresses=127.0.0.1", "-F")
	run.SysProcAttr, run.Dir = attr, dir
	var said strings.Builder
	run.Stderr = &said
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- run.Wait() }()
	t.Cleanup(func() {
		run.Process.Signal(syscall.SIGQUIT)
		<-ended
	})
	for began := time.Now(); ; {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			c.Close()
			return port
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("postgres: %v\n%s", err, said.String())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Since(began) > time.Minute {
			t.Fatal("postgres does not listen")
		}
	}
}

// ordinary gives dir to a user who is not root, and returns who that is.
func ordinary(t *testing.T, dir string) *syscall.Credential {
	t.Helper()
	u, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err, err2, os.Chown(dir, int(uid), int(gid))); err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

func TestHandlersReachPostgreSQL(t *testing.T) {
	port := postgres(t)
	e, _ := reach(t, 20*time.Second, "opensearch:"+port)
	url := fmt.Sprintf("postgres://wasmill:secret@opensearch:%s/postgres", port)
	// A server that has just begun to listen may not be ready yet.
	var res runtime.Result
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(10 * time.Millisecond) {
		if res = do(t, e, 20*time.Second, "postgres", url, ""); !strings.Contains(res.ErrorMessage, "starting up") {
			break
		}
	}
	if res.Outcome != runtime.Done || string(res.Response) != `"500 word 99"` {
		t.Errorf("%v %s %s", res.Outcome, res.Response, res.ErrorMessage)
	}
	res = do(t, e, 20*time.Second, "postgres", strings.Replace(url, "opensearch", "other", 1), "")
	if !strings.Contains(res.ErrorMessage, "other refused: not in the function's allow list; fn update --allow other:PORT") {
		t.Errorf("refused by %s", res.ErrorMessage)
	}
}
