package server

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/runtime/wasm/wasmtest"
)

// coded checks that err is of the API, with that code, and says what to do.
func coded(t *testing.T, what string, err error, code, says string) {
	t.Helper()
	e, ok := errors.AsType[*admin.Error](err)
	if !ok || e.Code != code || !strings.Contains(e.Message, says) || len(e.Actions) == 0 {
		t.Errorf("%s: %v, want %s with %q and what to do next", what, err, code, says)
	}
}

func client(t *testing.T, s *Server) *admin.Client {
	t.Helper()
	c := admin.NewClient(s.Endpoint())
	t.Cleanup(c.Close)
	return c
}

func TestWhatIsNoFunctionIsRefusedAtDeploy(t *testing.T) {
	c := client(t, start(t, Config{Memory: true}))
	for _, tt := range []struct{ name, code, says string }{
		{"text", "package main\n", "not a WebAssembly module"},
		{"component", "\x00asm\x0d\x00\x01\x00\x00", "component"},
		{"none of the ABI grades", "\x00asm\x01\x00\x00\x00", "wasmill build"},
		{"cut off", string(wasmtest.Command(t)[:5000]), "again"},
	} {
		_, _, err := c.CreateFunction(t.Context(), "f", []byte(tt.code), admin.FunctionSpec{}, nil)
		coded(t, tt.name, err, admin.CodeCodeRefused, tt.says)
		_, err = c.Function(t.Context(), "f", "")
		coded(t, tt.name+", afterwards", err, admin.CodeFunctionNotFound, "f")
	}
	// Nor does it replace what runs.
	fn, _, err := c.CreateFunction(t.Context(), "f", wasmtest.Command(t), admin.FunctionSpec{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = c.UpdateCode(t.Context(), "f", []byte("\x00asm\x01\x00\x00\x00"), nil)
	coded(t, "update", err, admin.CodeCodeRefused, "")
	if now, err := c.Function(t.Context(), "f", ""); err != nil || now.SHA256 != fn.SHA256 {
		t.Errorf("after a refused update: %+v, %v", now, err)
	}
}

func TestATriggerNeedsItsStreamAndItsFunction(t *testing.T) {
	c := client(t, start(t, Config{Memory: true}))
	if _, err := c.CreateStream(t.Context(), admin.StreamSpec{Name: "s"}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.CreateFunction(t.Context(), "f", wasmtest.Command(t), admin.FunctionSpec{}, nil); err != nil {
		t.Fatal(err)
	}
	spec := func(stream, fn string) admin.TriggerSpec {
		return admin.TriggerSpec{Name: "t", Stream: stream, Function: &fn}
	}
	_, err := c.CreateTrigger(t.Context(), spec("missing", "f"))
	coded(t, "missing stream", err, admin.CodeStreamNotFound, "missing")
	_, err = c.CreateTrigger(t.Context(), spec("s", "missing"))
	coded(t, "missing function", err, admin.CodeFunctionNotFound, "missing")
	unpublished := spec("s", "f")
	unpublished.Qualifier = ptr("7")
	_, err = c.CreateTrigger(t.Context(), unpublished)
	coded(t, "missing version", err, admin.CodeFunctionNotFound, "7")
	if all, err := c.Triggers(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("triggers: %+v, %v; want none", all, err)
	}
}

// TestWrongFunctionsBehindATrigger has functions misbehave in every way. Each
// attempt is a failed one with AWS's name for it, the batch is buried with it,
// and the shard goes on.
func TestWrongFunctionsBehindATrigger(t *testing.T) {
	c := client(t, start(t, Config{Memory: true}))
	ctx := t.Context()
	code := wasmtest.Guest(t)
	tests := []struct{ name, word, errorType, message string }{
		{"exits", "exit 3", "Runtime.ExitError", "exit status 3"},
		{"traps", "panic boom", "Runtime.ExitError", "boom"},
		{"returns-garbage", "return garbage", "Runtime.MalformedResponse", ""},
		{"names-an-unknown-failure", `return {"batchItemFailures":[{"itemIdentifier":"4711"}]}`, "BatchItemFailures.Wrong", "4711"},
		{"names-a-failure-beyond-the-batch", "failures 99", "", "99"},
		{"exceeds-its-memory", "hog", "Runtime.OutOfMemory", "128 MB"},
		{"loops-for-ever", "loop", "Sandbox.Timedout", "timed out after 1"},
	}
	timeout := admin.Duration(time.Second)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := c.CreateStream(ctx, admin.StreamSpec{Name: tt.name}); err != nil {
				t.Fatal(err)
			}
			if _, _, err := c.CreateFunction(ctx, tt.name, code, admin.FunctionSpec{Timeout: &timeout}, nil); err != nil {
				t.Fatal(err)
			}
			// Two batches of two: the first goes wrong, the second is a good one.
			put, err := c.Put(ctx, tt.name, []admin.Entry{
				{Key: "k", Text: tt.word + ";"}, {Key: "k", Text: "beside it"}, {Key: "k", Text: "noop;"}, {Key: "k", Text: "good"}})
			if err != nil || put.Failed != 0 {
				t.Fatal(put, err)
			}
			if _, err := c.CreateTrigger(ctx, admin.TriggerSpec{
				Name: tt.name, Stream: tt.name, Function: &tt.name, From: "trim-horizon", BatchSize: ptr(2), Retries: ptr(1),
				PartialReplies: ptr(true), Backoff: ptr(admin.Duration(time.Millisecond)),
			}); err != nil {
				t.Fatal(err)
			}
			tr, err := c.WaitDrained(ctx, tt.name, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if s := tr.Shards[0]; s.Done != 2 || s.Buried != 2 {
				t.Errorf("%d done, %d buried; want 2 and 2", s.Done, s.Buried)
			}
			letters, _, err := c.Letters(ctx, admin.LetterFilter{Trigger: tt.name})
			if err != nil || len(letters) != 2 {
				t.Fatalf("%d dead letters, %v; want the two of the bad batch", len(letters), err)
			}
			for _, l := range letters {
				if l.Reason != dlq.RetryAttemptsExhausted || l.Attempts != 2 || l.BatchSize != 2 ||
					tt.errorType != "" && l.ErrorType != tt.errorType || !strings.Contains(l.ErrorMessage, tt.message) {
					t.Errorf("dead letter %s after %d attempts: %s %q; want %s with %q after 2", l.Reason, l.Attempts, l.ErrorType, l.ErrorMessage, tt.errorType, tt.message)
				}
			}
		})
	}
}

// TestTheDiskReserveRefusesWritesAndNothingElse starts a server on a disk that is
// below its reserve.
func TestTheDiskReserveRefusesWritesAndNothingElse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := start(t, Config{Data: dir})
	c := client(t, s)
	if _, err := c.CreateStream(t.Context(), admin.StreamSpec{Name: "s"}); err != nil {
		t.Fatal(err)
	}
	if put, err := c.Put(t.Context(), "s", []admin.Entry{{Key: "k", Text: "kept"}}); err != nil || put.Failed != 0 {
		t.Fatal(put, err)
	}
	c.Close()
	closeIt(t, s)

	s = start(t, Config{Data: dir, Reserve: 1 << 60})
	c = client(t, s)
	put, err := c.Put(t.Context(), "s", []admin.Entry{{Key: "k", Text: "refused"}, {Key: "k", Text: "too"}})
	if err == nil {
		if put.Failed != 2 {
			t.Fatalf("put %+v, want both refused", put)
		}
		for _, r := range put.Results {
			err = errors.Join(err, fmt.Errorf("%w", r.Error))
			if r.Error.Code != admin.CodeUnavailable || !r.Error.Retryable {
				t.Errorf("put: %+v, want %s, to be repeated", r.Error, admin.CodeUnavailable)
			}
		}
	} else if e, ok := errors.AsType[*admin.Error](err); !ok || e.Code != admin.CodeUnavailable || !e.Retryable {
		t.Errorf("put: %v, want %s, to be repeated", err, admin.CodeUnavailable)
	}
	if !strings.Contains(fmt.Sprint(err), "reserve") {
		t.Errorf("put: %v does not name the reserve", err)
	}
	_, err = c.CreateStream(t.Context(), admin.StreamSpec{Name: "another"})
	coded(t, "create", err, admin.CodeUnavailable, "reserve")
	got := ""
	err = c.Tail(t.Context(), "s", admin.TailOptions{}, func(l admin.TailLine) error {
		if l.Record != nil {
			got += string(l.Record.Payload())
		}
		return nil
	})
	if err != nil || got != "kept" {
		t.Errorf("read %q, %v; want what was put before", got, err)
	}
	if err := c.DeleteStream(t.Context(), "s", false); err != nil {
		t.Errorf("delete: %v; it makes room", err)
	}
}
