package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/functions/build"
	"github.com/wasmill/wasmill/internal/history"
	"github.com/wasmill/wasmill/runtime/sandbox"
)

// kills is how often the server is killed. It is a number of the issue's, not a
// matter of luck: each kill hits another moment.
const kills = 60

// TestMain lets the test binary be the server that gets killed.
func TestMain(m *testing.M) {
	if sandbox.Child(os.Args) {
		return
	}
	if dir := os.Getenv("WASMILL_TEST_SERVE"); dir != "" {
		os.Exit(serve(dir))
	}
	os.Exit(m.Run())
}

// serve runs a server on dir until standard input ends, and says where.
func serve(dir string) int {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	s, err := Start(context.Background(), Config{Data: dir, Listen: "127.0.0.1:0", Logger: log})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("http://" + s.Addr().String())
	_, _ = io.Copy(io.Discard, os.Stdin)
	grace, err := time.ParseDuration(os.Getenv("WASMILL_TEST_GRACE"))
	if err != nil {
		grace = 30 * time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// victim is a server in a process of its own.
type victim struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	stderr *strings.Builder
	client *admin.Client
}

// launch has cmd run this test binary as a server on dir, and waits until it serves.
func launch(t *testing.T, cmd *exec.Cmd, dir string, env ...string) *victim {
	t.Helper()
	v := &victim{cmd: cmd, stderr: &strings.Builder{}}
	v.cmd.Env = append(append(os.Environ(), "WASMILL_TEST_SERVE="+dir), env...)
	v.cmd.Stderr = v.stderr
	var err error
	if v.stdin, err = v.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		_ = v.cmd.Wait()
		t.Fatalf("the server did not come up: %v\n%s", err, v.stderr)
	}
	v.client = admin.NewClient(strings.TrimSpace(line))
	return v
}

// kill is SIGKILL: no deferred call runs, no buffer is flushed.
func (v *victim) kill() {
	_ = v.cmd.Process.Kill()
	_ = v.cmd.Wait()
	v.client.Close()
}

// TestNothingIsLostWhenTheServerIsKilled kills the server at random moments
// while producers put and two triggers run, one of them with parallel batches,
// and has the history of it all checked: every acknowledged record is there,
// in order per key, resolved once, poison and only poison among the dead letters.
func TestNothingIsLostWhenTheServerIsKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute; not run with -short")
	}
	dir, events := t.TempDir(), filepath.Join(t.TempDir(), "history")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	wasm := filepath.Join(t.TempDir(), "digest.wasm")
	if _, err := build.Go(ctx, build.Options{Dir: "testdata/digest", Out: wasm}); err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile(wasm)
	if err != nil {
		t.Fatal(err)
	}
	w, err := history.Open(events)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()

	const retries, batch = 2, 20
	v := launch(t, exec.Command(os.Args[0]), dir, "WASMILL_HISTORY="+events)
	if _, err := v.client.CreateStream(ctx, admin.StreamSpec{Name: "in", Shards: 3}); err != nil {
		t.Fatal(err)
	}
	for i, fn := range []string{"one", "many"} {
		if _, _, err := v.client.CreateFunction(ctx, fn, code, admin.FunctionSpec{}, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := v.client.CreateTrigger(ctx, admin.TriggerSpec{
			Name: fn, Stream: "in", From: "trim-horizon", Function: &fn, BatchSize: ptr(batch), Retries: ptr(retries),
			Bisect: ptr(true), Parallel: ptr(1 + 3*i), Backoff: ptr(admin.Duration(time.Millisecond)),
		}); err != nil {
			t.Fatal(err)
		}
	}

	var at atomic.Pointer[admin.Client]
	at.Store(v.client)
	var wg sync.WaitGroup
	var acked atomic.Int64
	producing, enough := context.WithCancel(ctx)
	for p := range 3 {
		wg.Go(func() { produce(producing, w, &at, p, &acked) })
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range kills {
		time.Sleep(time.Duration(20+random.IntN(480)) * time.Millisecond)
		v.kill()
		w.Add(history.Event{Kind: history.Fault, Reason: "SIGKILL"})
		v = launch(t, exec.Command(os.Args[0]), dir, "WASMILL_HISTORY="+events)
		at.Store(v.client)
	}
	enough()
	wg.Wait()

	for _, fn := range []string{"one", "many"} {
		if _, err := v.client.WaitDrained(ctx, fn, 2*time.Minute); err != nil {
			tr, _ := v.client.Trigger(ctx, fn)
			t.Fatalf("%s is not drained: %v\n%+v\n%s", fn, err, tr, v.stderr)
		}
	}
	records, letters := readBack(t, ctx, w, v.client)
	_ = v.stdin.Close()
	if err := v.cmd.Wait(); err != nil {
		t.Errorf("the server did not stop well: %v\n%s", err, v.stderr)
	}
	f, err := os.Open(events)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	violations, err := history.Check(f, history.Options{
		Poison: isPoison, Retries: retries, BatchSize: batch, Complete: true, UniquePayloads: true,
		Triggers: []history.Trigger{{Name: "one", Stream: "in"}, {Name: "many", Stream: "in"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range violations {
		if i == 20 {
			t.Errorf("… and %d more", len(violations)-i)
			break
		}
		t.Error(x)
	}
	t.Logf("%d kills, %d records acknowledged, %d read back, %d dead letters, %d violations", kills, acked.Load(), records, letters, len(violations))
	if acked.Load() < kills || letters == 0 {
		t.Errorf("%d records acknowledged and %d dead letters are too few to prove anything", acked.Load(), letters)
	}
	if t.Failed() {
		keep := filepath.Join(os.TempDir(), fmt.Sprint("wasmill-history-", seed))
		if b, err := os.ReadFile(events); err == nil && os.WriteFile(keep, b, 0o600) == nil {
			t.Logf("history kept in %s", keep)
		}
	}
}

func ptr[T any](v T) *T { return &v }

var poisoned sync.Map // hash of a payload -> true

func isPoison(hash string) bool {
	_, ok := poisoned.Load(hash)
	return ok
}

// produce puts small batches until ctx ends, and writes what it did into the
// history. A put whose answer is lost may be stored or not; it is not repeated.
func produce(ctx context.Context, w *history.Writer, at *atomic.Pointer[admin.Client], producer int, acked *atomic.Int64) {
	for i := 0; ctx.Err() == nil; i++ {
		var entries []admin.Entry
		var events []history.Event
		for j := range 1 + i%7 {
			what := "good"
			if (i*7+j)%40 == 11 {
				what = "poison"
			}
			data := fmt.Sprintf("%s %d/%d/%d %s", what, producer, i, j, strings.Repeat("x", i*j%900))
			e := history.Event{Kind: history.Put, Req: fmt.Sprintf("%d/%d/%d", producer, i, j), Stream: "in", Key: fmt.Sprintf("key-%d", (i+j)%23), Hash: history.Hash([]byte(data))}
			if what == "poison" {
				poisoned.Store(e.Hash, true)
			}
			w.Add(e)
			events = append(events, e)
			entries = append(entries, admin.Entry{Key: e.Key, Text: data})
		}
		answer, err := at.Load().Put(ctx, "in", entries)
		if err != nil {
			if ctx.Err() == nil {
				time.Sleep(5 * time.Millisecond) // the server is down
			}
			continue
		}
		for j, res := range answer.Results {
			e := events[j]
			if res.Error != nil {
				w.Add(history.Event{Kind: history.PutFail, Req: e.Req, Reason: res.Error.Message})
				continue
			}
			acked.Add(1)
			w.Add(history.Event{Kind: history.PutOK, Req: e.Req, Stream: "in", Shard: res.Shard, Seq: res.Sequence, Key: e.Key, Hash: e.Hash})
		}
	}
}

// readBack writes what the stream and the morgue hold into the history.
func readBack(t *testing.T, ctx context.Context, w *history.Writer, c *admin.Client) (records, letters int) {
	t.Helper()
	err := c.Tail(ctx, "in", admin.TailOptions{From: "trim-horizon"}, func(l admin.TailLine) error {
		if l.Error != nil {
			return l.Error
		}
		if r := l.Record; r != nil {
			records++
			w.Add(history.Event{Kind: history.Read, Stream: "in", Shard: r.Shard, Seq: r.Sequence, Number: r.Number, Key: r.Key, Hash: history.Hash(r.Payload())})
		}
		if l.Gap != nil {
			return errors.New("a gap in a stream of an hour")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	all, more, err := c.Letters(ctx, admin.LetterFilter{Limit: 100_000})
	if err != nil || more {
		t.Fatalf("dead letters: %v, more: %v", err, more)
	}
	for _, head := range all {
		l, err := c.Letter(ctx, head.ID) // with its payload
		if err != nil {
			t.Fatal(err)
		}
		letters++
		w.Add(history.Event{Kind: history.Letter, ID: l.ID, Trigger: l.Trigger, Gen: l.Generation, Stream: admin.StreamName(l.Stream), Shard: l.Shard, Seq: l.Sequence, Hash: history.Hash(l.Payload())})
	}
	return records, letters
}
