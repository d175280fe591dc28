// Command demo sends a week of real earthquakes through the Go Lambda handler
// in samples/quakes, on a server of its own: it deploys the handler, buries what
// that cannot digest, tries a corrected build on one of the dead letters, deploys
// it, and redrives them. The faulty energy.go is its own, so that a tree in which
// that was corrected does as well.
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
	_ "embed"
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

	// A copy of the handler, since it is faulty now and going to be corrected.
	handler := filepath.Join(dir, "quakes")
	if err := copyHandler(handler, quakes); err != nil {
		return err
	}
	if err := d.steps(ctx, []step{
		{"An ordinary Go Lambda handler, and a file that says what it needs. It is built into a WebAssembly module, its source and go.mod as they are,\nand gets its streams and its trigger: batches of 100, 2 retries, failing batches are halved:",
			[]string{"deploy", handler}},
		{"A week of earthquakes, keyed by the network that reported them:",
			[]string{"stream", "put", "quakes", "--file", filepath.Join(quakes, "earthquakes.ndjson"), "--key", "$.properties.net"}},
		{"Until every one of them is resolved, and what the handler emitted has arrived:",
			[]string{"trigger", "wait", "quakes", "--drained", "--timeout", "3m"}},
		{"What the handler could not digest stands alone, with its error:",
			[]string{"dlq", "ls", "--limit", "5"}},
	}); err != nil {
		return err
	}
	before, err := d.count(ctx)
	if err != nil {
		return err
	}
	if len(before.letters) == 0 {
		return errors.New("there are no dead letters to go on with")
	}
	if err := d.steps(ctx, []step{
		{"Each keeps its record as it came, and what it went through:", []string{"dlq", "show", before.letters[0]}},
	}); err != nil {
		return err
	}
	d.say("\nMagnitudes are logarithms, so those below zero are quakes too. The handler is corrected:\n%s", correction)
	if err := os.Rename(filepath.Join(handler, "fixed", "energy.go.txt"), filepath.Join(handler, "energy.go")); err != nil {
		return err
	}
	if err := d.steps(ctx, []step{
		{"The corrected build is tried on the dead letter, without any effect:", []string{"dlq", "replay", before.letters[0], "--against", handler}},
		{"It does what it should, so it is deployed:", []string{"deploy", handler}},
		{"And the dead letters are delivered again, in order:", []string{"dlq", "redrive", "quakes", "--rate", "1000/s"}},
		{"Until what they emitted has arrived:", []string{"trigger", "wait", "quakes", "--drained", "--timeout", "1m"}},
	}); err != nil {
		return err
	}
	after, err := d.count(ctx)
	if err != nil {
		return err
	}
	return d.sum(ctx, before, after)
}

// correction is what the corrected handler differs by.
const correction = `  energy.go
-   if mag < 0 {
-       return 0, fmt.Errorf("no energy for magnitude %.2f", mag)
-   }
    return math.Pow(10, 1.5*(mag-felt)), nil`

// step is one command, and why.
type step struct {
	text string
	args []string
}

func (d *demo) steps(ctx context.Context, all []step) error {
	for _, s := range all {
		d.say("\n%s\n$ wasmill %s", s.text, strings.Join(s.args, " "))
		if err := d.talk(ctx, s.args...); err != nil {
			return fmt.Errorf("wasmill %s: %w", s.args[0], err)
		}
	}
	return nil
}

// faulty is energy.go as it was before anybody corrected it.
//
//go:embed energy.go.txt
var faulty []byte

// copyHandler copies what the handler is built from, with its fault.
func copyHandler(to, from string) error {
	for _, name := range []string{"main.go", "fixed/energy.go.txt", "go.mod", "go.sum", "wasmill.toml"} {
		b, err := os.ReadFile(filepath.Join(from, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		at := filepath.Join(to, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, b, 0o644)); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(to, "energy.go"), faulty, 0o644)
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

// counted is what there is of records, dead letters and outputs.
type counted struct {
	records, succeeded, emitted int
	letters                     []string // ids
}

// count asks the server.
func (d *demo) count(ctx context.Context) (v counted, err error) {
	type stream struct {
		Records int `json:"records"`
	}
	var quakes, alerts stream
	var trigger struct {
		Shards []struct {
			Done int `json:"done"`
		} `json:"shards"`
	}
	var letters struct {
		DeadLetters []struct {
			ID string `json:"id"`
		} `json:"deadLetters"`
	}
	err = errors.Join(
		d.ask(ctx, &quakes, "stream", "get", "quakes"),
		d.ask(ctx, &alerts, "stream", "get", "alerts"),
		d.ask(ctx, &trigger, "trigger", "get", "quakes"),
		d.ask(ctx, &letters, "dlq", "ls", "--limit", "0"),
	)
	v.records, v.emitted = quakes.Records, alerts.Records
	for _, s := range trigger.Shards {
		v.succeeded += s.Done
	}
	for _, l := range letters.DeadLetters {
		v.letters = append(v.letters, l.ID)
	}
	return v, err
}

// sum says what became of the records: from what the server knows, and by network
// from what the function itself has counted and emitted.
func (d *demo) sum(ctx context.Context, before, after counted) error {
	type outcome struct {
		Succeeded   int `json:"succeeded"`
		DeadLetters int `json:"dead_letters"`
		Emitted     int `json:"emitted"`
	}
	result := struct {
		Records      int            `json:"records"`
		Succeeded    int            `json:"succeeded"`
		DeadLettered int            `json:"dead_lettered"`
		Emitted      int            `json:"emitted"`
		Invocations  int            `json:"invocations"`
		ByNet        map[string]int `json:"by_net"`
		AfterRedrive outcome        `json:"after_redrive"`
	}{before.records, before.succeeded, len(before.letters), before.emitted, 0, map[string]int{},
		outcome{after.succeeded, len(after.letters), after.emitted}}
	var err error
	if result.Invocations, err = d.invocations(ctx); err != nil {
		return err
	}
	if err := d.tallies(ctx, result.ByNet); err != nil {
		return err
	}
	d.say("\nIn sum:")
	return json.NewEncoder(os.Stdout).Encode(result)
}

// tallies adds up what the function emitted to the stream of that name.
func (d *demo) tallies(ctx context.Context, byNet map[string]int) error {
	var stderr bytes.Buffer
	cmd := d.command(ctx, "stream", "tail", "tallies", "--from", "trim-horizon", "--no-follow", "--json")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("wasmill stream tail: %w\n%s", err, stderr.Bytes())
	}
	for line := range bytes.Lines(out) {
		var record struct {
			Text *string `json:"text"`
		}
		if err := json.Unmarshal(line, &record); err != nil {
			return err
		}
		if record.Text == nil {
			continue // the line that ends it
		}
		tally := map[string]int{}
		if err := json.Unmarshal([]byte(*record.Text), &tally); err != nil {
			return fmt.Errorf("a tally that is none: %s: %w", *record.Text, err)
		}
		for net, n := range tally {
			byNet[net] += n
		}
	}
	return nil
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
