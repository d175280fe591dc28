package samples

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/functions/build"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/runtime/door"
	"github.com/wasmill/wasmill/runtime/wasm"
)

// log collects what a function writes.
type log struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *log) Line(_ string, line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(&l.text, "%s\n", strings.TrimSuffix(string(line), "\n"))
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// made builds a sample. Where its compiler is missing the test is skipped with what
// the build says to install, but never in CI.
func made(t testing.TB, dir string) (string, build.Result) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "sample.wasm")
	res, err := build.Project(t.Context(), build.Options{Dir: dir, Out: out, CacheDir: os.Getenv("WASMILL_BUILD_CACHE"), Progress: func(l string) { t.Log(l) }})
	if errors.Is(err, build.ErrToolchain) && os.Getenv("CI") == "" {
		t.Skipf("%s cannot be built on this machine: %v", dir, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out, res
}

// started makes an environment of a built module.
func started(t testing.TB, file string, l runtime.LogWriter, env map[string]string, allow ...string) runtime.Environment {
	t.Helper()
	code, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	engine, err := wasm.NewEngine(ctx, wasm.Options{Dialer: door.New(door.Options{})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	program, info, err := engine.Load(t.Context(), code, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := program.Close(); err != nil {
			t.Error(err)
		}
	})
	starting, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	e, err := program.New(starting, functions.Version{Function: "readings", Version: functions.Unpublished, Code: info,
		Config: functions.Config{Timeout: 20 * time.Second, Memory: 128, Environment: env, Allow: allow}}, l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func batch(data ...string) *runtime.Batch {
	b := &runtime.Batch{Kind: runtime.KindKinesis, Shard: "shardId-000000000000", ARN: "arn:aws:kinesis:us-east-1:000000000000:stream/readings", Region: "us-east-1"}
	for i, d := range data {
		key, text, _ := strings.Cut(d, " ")
		b.Records = append(b.Records, record(i, key, []byte(text)))
	}
	return b
}

// TestSamplesTakeBatches: each sample names the reading that is no number, gives the
// one over the limit out, and serves the JSON of the same event with the same answer.
func TestSamplesTakeBatches(t *testing.T) {
	for _, language := range Languages() {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			file, res := made(t, language)
			if string(res.Language) != language {
				t.Errorf("the build says it is %s", res.Language)
			}
			var l log
			e := started(t, file, &l, map[string]string{"LIMIT": "40.5"})
			for range 3 { // the second call finds what the first one left
				r := e.Invoke(t.Context(), &runtime.Invocation{ID: "8f4a7c0e-1c9b-4a57-9f2e-0a5d3a4f6b11", PartialReplies: true,
					Batch: batch("kitchen 21.5", "öfen 184", "cellar broken", "attic -3", "oven 41")})
				if r.Outcome != runtime.Done {
					t.Fatalf("%s %s %s; log: %s", r.Outcome, r.ErrorType, r.ErrorMessage, &l)
				}
				reply := read(t, r.Response)
				if len(reply.BatchItemFailures) != 1 || reply.BatchItemFailures[0].ItemIdentifier != sequence(2) {
					t.Errorf("failures %v, want the third record", reply.BatchItemFailures)
				}
				if language == "javascript" { // its emits are JSON, which the pool reads
					if len(reply.Emit) != 2 || reply.Emit[0].PartitionKey != "öfen" || reply.Emit[1].Data != "NDE=" {
						t.Errorf("emits %+v", reply.Emit)
					}
					continue
				}
				want := []runtime.Emit{{Stream: "alerts", PartitionKey: "öfen", Data: []byte("184"), Item: 1}, {Stream: "alerts", PartitionKey: "oven", Data: []byte("41"), Item: 4}}
				if !slices.EqualFunc(r.Emits, want, sameEmit) {
					t.Errorf("emits %+v, want %+v", r.Emits, want)
				}
			}
			if !strings.Contains(l.String(), "cellar sent") {
				t.Errorf("the log is %q", l.String())
			}

			r := e.Invoke(t.Context(), &runtime.Invocation{ID: "1", Payload: []byte(Event())})
			if r.Outcome != runtime.Done {
				t.Fatalf("%s %s %s; log: %s", r.Outcome, r.ErrorType, r.ErrorMessage, &l)
			}
			reply := read(t, r.Response)
			if len(reply.BatchItemFailures) != 1 || !strings.HasSuffix(reply.BatchItemFailures[0].ItemIdentifier, "900") {
				t.Errorf("failures %v", reply.BatchItemFailures)
			}
			if len(reply.Emit) != 1 || reply.Emit[0].PartitionKey != "oven" || reply.Emit[0].Data != "MTg0" || !strings.HasSuffix(reply.Emit[0].ItemIdentifier, "899") {
				t.Errorf("emit %v", reply.Emit)
			}
		})
	}
}

// reply is what functions return for a batch, in JSON.
type reply struct {
	BatchItemFailures []struct{ ItemIdentifier string }
	Emit              []struct{ Stream, PartitionKey, Data, ItemIdentifier string }
}

func read(t *testing.T, response []byte) (r reply) {
	t.Helper()
	if err := json.Unmarshal(response, &r); err != nil {
		t.Fatalf("%s: %v", response, err)
	}
	return r
}

func sameEmit(a, b runtime.Emit) bool {
	return a.Stream == b.Stream && a.PartitionKey == b.PartitionKey && string(a.Data) == string(b.Data) && a.Item == b.Item
}

func sequence(i int) string {
	return fmt.Sprintf("4959033827149025660855969253836157109592157598913658889%d", i)
}

func record(i int, key string, data []byte) runtime.Record {
	return runtime.Record{Sequence: sequence(i), PartitionKey: key, Data: data, Arrival: 1700000000123 + int64(i)}
}

// TestHTTPGoesThroughTheDoor: in each language a function posts what it got to a
// server that it may dial, and is told why it may not dial another.
func TestHTTPGoesThroughTheDoor(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, "%s %s %s\n\n%s", r.Method, r.URL.Path, r.Header.Get("X-Key"), body)
	}))
	t.Cleanup(server.Close)
	at := server.Listener.Addr().String()
	handlers := map[string]struct{ file, text string }{
		"c": {"handler.c", `#define WASMILL_IMPLEMENTATION
#include "wasmill.h"
void wm_handle(const wm_batch *b) {
	wm_bytes answer;
	char url[100], header[100];
	wm_record r = wm_get(b, 0);
	snprintf(url, sizeof url, "http://%s/in", getenv("AT"));
	snprintf(header, sizeof header, "X-Key: %.*s\n", WM_ARG(r.key));
	int status = wm_http("POST", url, header, r.data, &answer);
	printf("%d %.*s\n", status, WM_ARG(answer));
	status = wm_http("GET", "http://127.0.0.1:1/", "", wm_text(""), &answer);
	printf("%d %.*s\n", status, WM_ARG(answer));
}`},
		"rust": {"src/lib.rs", `mod wasmill;
use wasmill::{Batch, Error, Reply};
wasmill::function!(handle);
fn handle(batch: &Batch, _: &mut Reply) -> Result<(), Error> {
    let r = batch.get(0);
    let (status, body) = wasmill::http("POST", &format!("http://{}/in", std::env::var("AT")?), &[("X-Key", r.key)], r.data)?;
    println!("{} {}", status, String::from_utf8_lossy(&body));
    if let Err(e) = wasmill::http("GET", "http://127.0.0.1:1/", &[], b"") {
        println!("-1 {}", e.message);
    }
    Ok(())
}`},
		"assemblyscript": {"assembly/index.ts", `import { Batch, Reply, env, http, log, serve } from "./wasmill";
export { wm_abi_version, wm_alloc, wm_batch, wm_json } from "./wasmill";
serve((batch: Batch, reply: Reply): void => {
  const r = batch.get(0);
  const a = http("POST", "http://" + env("AT")! + "/in", "X-Key: " + r.key + "\n", r.data.buffer);
  log(a.status.toString() + " " + a.text);
  const b = http("GET", "http://127.0.0.1:1/");
  log(b.status.toString() + " " + b.text);
});`},
		"javascript": {"index.mjs", `export const handler = async ({ Records: [{ kinesis: r }] }) => {
  const a = await fetch('http://' + process.env.AT + '/in', { method: 'post', headers: { 'X-Key': r.partitionKey }, body: Buffer.from(r.data, 'base64') });
  console.log(a.status, await a.text());
  try { await fetch('http://127.0.0.1:1/'); } catch (e) { console.log(-1, e.cause.message); }
};`},
	}
	for _, language := range Languages() {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			files, _ := Template(language, "caller")
			h := handlers[language]
			files[h.file] = h.text
			dir := t.TempDir()
			for name, text := range files {
				path := filepath.Join(dir, filepath.FromSlash(name))
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			file, _ := made(t, dir)
			var l log
			e := started(t, file, &l, map[string]string{"AT": at}, at)
			r := e.Invoke(t.Context(), &runtime.Invocation{ID: "1", Batch: batch("kö 21.5")})
			if r.Outcome != runtime.Done {
				t.Fatalf("%s %s %s; log: %s", r.Outcome, r.ErrorType, r.ErrorMessage, &l)
			}
			for _, want := range []string{"202 POST /in kö\n", "21.5\n", "-1 ", "not in the function's allow list", "fn update --allow 127.0.0.1:1"} {
				if !strings.Contains(l.String(), want) {
					t.Errorf("the log has no %q:\n%s", want, &l)
				}
			}
		})
	}
}

// BenchmarkBatch is a batch of 100 readings through one environment, without a line
// of log.
func BenchmarkBatch(b *testing.B) {
	data := make([]string, 100)
	for i := range data {
		data[i] = "key 21.5"
	}
	for _, language := range Languages() {
		b.Run(language, func(b *testing.B) {
			file, _ := made(b, language)
			e := started(b, file, &log{}, nil)
			in := batch(data...)
			for b.Loop() {
				if r := e.Invoke(b.Context(), &runtime.Invocation{ID: "1", Batch: in, PartialReplies: true}); r.Outcome != runtime.Done {
					b.Fatal(r.ErrorMessage)
				}
			}
		})
	}
}
