// Command demo sends a week of real earthquakes through the Go Lambda handler
// in samples/quakes, on a server of its own, and shows what became of them.
//
// Usage: demo path/to/wasmill [path/to/samples/quakes]
//
// It drives the wasmill command only, as a user would. What it says goes to
// standard error; the last line on standard output is one JSON object with what
// was counted. It leaves no process behind, and no file but those of Go's caches.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// demo is one run: a server, and the folder it lives in.
type demo struct {
	bin, dir string
	env      []string
}

func run(ctx context.Context, args []string) (err error) {
	if len(args) < 1 || len(args) > 2 {
		return errors.New("usage: demo path/to/wasmill [path/to/samples/quakes]")
	}
	quakes := "samples/quakes"
	if len(args) == 2 {
		quakes = args[1]
	}
	bin, err := filepath.Abs(args[0])
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "wasmill-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d := &demo{bin: bin, dir: dir, env: append(os.Environ(), "WASMILL_BUILD_CACHE="+filepath.Join(dir, "build"))}

	d.say("A server of its own, on a temporary folder:")
	stop, err := d.serve(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()

	steps := []struct {
		text string
		args []string
	}{
		{"An ordinary Go Lambda handler becomes a WebAssembly module; its source and go.mod stay as they are:",
			[]string{"build", quakes, "-o", filepath.Join(dir, "quakes.wasm")}},
		{"It is checked and compiled when it is deployed, never at the first call:",
			[]string{"fn", "create", "quakes", filepath.Join(dir, "quakes.wasm")}},
		{"A stream of four shards:",
			[]string{"stream", "create", "quakes", "--shards", "4"}},
		{"A trigger: batches of 100, 2 retries, failing batches are halved:",
			[]string{"trigger", "create", "quakes", "--stream", "quakes", "--fn", "quakes", "--from", "trim-horizon",
				"--batch-size", "100", "--retries", "2", "--bisect", "--backoff", "50ms"}},
		{"A week of earthquakes, keyed by the network that reported them:",
			[]string{"stream", "put", "quakes", "--file", filepath.Join(quakes, "earthquakes.ndjson"), "--key", "$.properties.net"}},
		{"Until every one of them is resolved:",
			[]string{"trigger", "wait", "quakes", "--drained", "--timeout", "3m"}},
		{"What the handler could not digest stands alone, with its error:",
			[]string{"dlq", "ls"}},
	}
	for _, s := range steps {
		d.say("\n%s\n$ wasmill %s", s.text, strings.Join(s.args, " "))
		if err := d.talk(ctx, s.args...); err != nil {
			return fmt.Errorf("wasmill %s: %w", s.args[0], err)
		}
	}
	return d.sum(ctx)
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func (d *demo) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, d.bin, args...)
	cmd.Env = d.env
	return cmd
}

// talk runs a command for people to read.
func (d *demo) talk(ctx context.Context, args ...string) error {
	cmd := d.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}

// ask runs a command for its data.
func (d *demo) ask(ctx context.Context, into any, args ...string) error {
	var stderr bytes.Buffer
	cmd := d.command(ctx, append(args, "--json")...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("wasmill %s: %w\n%s%s", strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return json.Unmarshal(out, &struct {
		Data any `json:"data"`
	}{into})
}

var endpoint = regexp.MustCompile(`http://[0-9.:]+`)

// serve starts the server on a free port; what it returns stops it.
func (d *demo) serve(ctx context.Context) (stop func() error, err error) {
	cmd := d.command(context.WithoutCancel(ctx), "up", "--data", filepath.Join(d.dir, "data"), "--listen", "127.0.0.1:0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() error {
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			_ = cmd.Process.Kill()
		}
		timer := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		defer timer.Stop()
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("the server did not stop well: %w\n%s", err, stderr.Bytes())
		}
		return nil
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if url := endpoint.FindString(lines.Text()); url != "" {
			d.env = append(d.env, "WASMILL_ENDPOINT="+url)
			d.say("  %s", url)
			go func() { _, _ = io.Copy(io.Discard, out) }() // ends with the server
			return stop, nil
		}
	}
	return nil, errors.Join(errors.New("the server did not come up"), stop())
}

// sum counts what became of the records, from what the server knows.
func (d *demo) sum(ctx context.Context) error {
	var stream struct {
		Records int `json:"records"`
	}
	var trigger struct {
		Shards []struct {
			Done int `json:"done"`
		} `json:"shards"`
	}
	var letters struct {
		DeadLetters []struct {
			ID  string `json:"id"`
			Key string `json:"key"`
		} `json:"deadLetters"`
	}
	if err := errors.Join(
		d.ask(ctx, &stream, "stream", "get", "quakes"),
		d.ask(ctx, &trigger, "trigger", "get", "quakes"),
		d.ask(ctx, &letters, "dlq", "ls", "--limit", "100000"),
	); err != nil {
		return err
	}
	result := struct {
		Records      int            `json:"records"`
		Succeeded    int            `json:"succeeded"`
		DeadLettered int            `json:"dead_lettered"`
		Invocations  int            `json:"invocations"`
		DeadByNet    map[string]int `json:"dead_by_net"`
	}{Records: stream.Records, DeadLettered: len(letters.DeadLetters), DeadByNet: map[string]int{}}
	for _, s := range trigger.Shards {
		result.Succeeded += s.Done
	}
	for _, l := range letters.DeadLetters {
		result.DeadByNet[l.Key]++
	}
	if len(letters.DeadLetters) > 0 {
		id := letters.DeadLetters[0].ID
		d.say("\nEach keeps its record as it came, and what it went through:\n$ wasmill dlq show %s", id)
		if err := d.talk(ctx, "dlq", "show", id); err != nil {
			return err
		}
	}
	var err error
	if result.Invocations, err = d.invocations(ctx); err != nil {
		return err
	}
	d.say("\nIn sum:")
	return json.NewEncoder(os.Stdout).Encode(result)
}

// invocations reads the function's own metric.
func (d *demo) invocations(ctx context.Context) (int, error) {
	url := strings.TrimPrefix(d.env[len(d.env)-1], "WASMILL_ENDPOINT=")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/_wasmill/metrics", nil)
	if err != nil {
		return 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), `aws_lambda_Invocations_total{FunctionName="quakes"} `); ok {
			n, err := strconv.ParseFloat(rest, 64)
			return int(n), err
		}
	}
	return 0, errors.Join(errors.New("no metric Invocations of the function"), lines.Err())
}
