package build

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/runtime"
)

// Whichever way a reply takes, the host must read the same of it: outcome,
// failures, what is emitted, what is left of the response, and every message.
func TestEmitsComeToTheSameByBothWays(t *testing.T) {
	batches := map[string][]string{
		"nothing":                      {"", ""},
		"empty lists":                  {"none"},
		"records in order":             {"a/k0/x", "a/k1/y,b/k1/z", "a/k0"},
		"no items":                     {"-a/k/x", "-b/k/y"},
		"failures":                     {"a/k/x", "fail,a/k/y", "fail"},
		"failures and no items":        {"-a/k/x", "fail"},
		"failures alone":               {"fail"},
		"an unknown failure":           {"a/k/x", "fail-unknown"},
		"a failure without a name":     {"-fail"},
		"an item of another batch":     {"a/k/x/4711"},
		"items backwards":              {"a/k/x/" + sequence(2), "a/k/y/" + sequence(1), "a/k/z/" + sequence(0)},
		"a stream that is not allowed": {"a/k/x", "secret/k/y"},
		"no key":                       {"a//x"},
		"a key that is no UTF-8":       {"a/\xff/x"},
		"a stream that is no UTF-8":    {"\xff/k/x"},
		"a key that is too long":       {"a/" + strings.Repeat("k", 257) + "/x"},
		"bytes that are no text":       {"a/ü/\x00\xff"},
		"HTML":                         {"a/<&>/<&>"},
	}
	// Without JSON where that is possible, and only there.
	guests := map[string]bool{"reply": true, "pointer": true, "interface": true, "alone": true, "counted": true, "embedded": true, "reasoned": true,
		"pointers": false, "omitting": false, "written": false, "raw": false, "whole": false, "twice": false, "untagged": false, "indented": false}
	for guest, binary := range guests {
		t.Run(guest, func(t *testing.T) {
			e, _ := start(t, "emit-"+guest)
			for name, data := range batches {
				if guest == "raw" && name != "nothing" {
					continue // panics for data that are no JSON
				}
				for _, partial := range []bool{false, true} {
					b := batch(data...)
					byBatch := invoke(t, e, runtime.Invocation{Batch: b, PartialReplies: partial})
					byJSON := invoke(t, e, runtime.Invocation{Payload: runtime.AppendJSON(nil, b)})
					if name == "records in order" && (byBatch.Emits != nil) != binary {
						t.Errorf("without JSON: %v, want %v", byBatch.Emits != nil, binary)
					}
					for _, r := range []*runtime.Result{&byBatch, &byJSON} {
						if r.Outcome != runtime.Done {
							t.Fatalf("%s: %v %s: %s", name, r.Outcome, r.ErrorType, r.ErrorMessage)
						}
						runtime.Classify(&runtime.Invocation{Batch: b, PartialReplies: partial}, []string{"a", "b"}, r)
						r.Duration, r.MaxMemory, r.Work = 0, 0, 0
					}
					if !reflect.DeepEqual(byBatch, byJSON) {
						t.Errorf("%s, partial %v\nby wm_batch %+v %s\nby wm_json  %+v %s", name, partial, byBatch, byBatch.Response, byJSON, byJSON.Response)
					}
				}
			}
		})
	}
}

func TestEmitsAreWhatTheHandlerReturned(t *testing.T) {
	e, _ := start(t, "emit-reply")
	b := batch("a/k0/x", "-b/schlüssel", "fail,a/k0/\x00\xff", "a/late/y")
	r := invoke(t, e, runtime.Invocation{Batch: b, PartialReplies: true})
	runtime.Classify(&runtime.Invocation{Batch: batch("a/k0/x"), PartialReplies: true}, []string{"a", "b"}, &r)
	if r.Outcome != runtime.FunctionError {
		t.Errorf("items of another batch: %v", r.Outcome)
	}
	r = invoke(t, e, runtime.Invocation{Batch: b})
	want := []runtime.Emit{{Stream: "a", PartitionKey: "k0", Data: []byte("x"), Item: 0}, {Stream: "b", PartitionKey: "schlüssel", Data: []byte{}, Item: -1},
		{Stream: "a", PartitionKey: "k0", Data: []byte("\x00\xff"), Item: 2}, {Stream: "a", PartitionKey: "late", Data: []byte("y"), Item: 3}}
	if !reflect.DeepEqual(r.Emits, want) {
		t.Errorf("got  %+v\nwant %+v", r.Emits, want)
	}
}

// A struct without tags compiles, and its output must not vanish.
func TestEmitsWithoutTagsAreAnErrorThatSaysSo(t *testing.T) {
	e, _ := start(t, "emit-untagged")
	b := batch("a/k0/x")
	for _, allowed := range [][]string{nil, {"a"}} {
		r := invoke(t, e, runtime.Invocation{Batch: b})
		runtime.Classify(&runtime.Invocation{Batch: b}, allowed, &r)
		if r.Outcome != runtime.FunctionError || r.ErrorType != runtime.TypeBadEmits || !strings.Contains(r.ErrorMessage, "tag the field `json:\"stream\"`") {
			t.Errorf("allowed %q: %v %s %s", allowed, r.Outcome, r.ErrorMessage, r.Response)
		}
	}
}

func TestReplyIsTheHandlersToKeep(t *testing.T) {
	e, _ := start(t, "emit-kept")
	for range 3 {
		if r := invoke(t, e, runtime.Invocation{Batch: batch("a/k/x")}); len(r.Emits) != 1 {
			t.Fatalf("%v %s, emits %v", r.Outcome, r.ErrorMessage, r.Emits)
		}
	}
}

func TestManyItemsInAnyOrderAreFound(t *testing.T) {
	e, _ := start(t, "emit-reply")
	const n = 5000
	data := make([]string, n)
	for i := range data {
		data[i] = "a/k/x/" + sequence(i*7919%n)
	}
	r := invoke(t, e, runtime.Invocation{Batch: batch(data...)})
	if len(r.Emits) != n {
		t.Fatalf("%d emits without JSON", len(r.Emits))
	}
	for i, emit := range r.Emits {
		if emit.Item != i*7919%n {
			t.Fatalf("emit %d comes from %d, want %d", i, emit.Item, i*7919%n)
		}
	}
}

// A project outside of ours uses package functions/emit, as it is.
func TestPackageEmitGoesWithoutJSON(t *testing.T) {
	engine(t) // its environments
	dir := t.TempDir()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile("testdata/handlers/go.sum")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile("testdata/handlers/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	lambda := regexp.MustCompile(`github.com/aws/aws-lambda-go v\S+`).FindString(string(mod))
	write(t, filepath.Join(dir, "go.sum"), string(sums))
	write(t, filepath.Join(dir, "go.mod"), fmt.Sprintf("module example.com/emitter\n\ngo 1.26.0\n\nrequire (\n\t%s\n\tgithub.com/wasmill/wasmill v0.0.0\n)\n\nreplace github.com/wasmill/wasmill => %s\n", lambda, root))
	write(t, filepath.Join(dir, "main.go"), `package main

import (
	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/wasmill/wasmill/functions/emit"
)

func main() {
	lambda.Start(func(e events.KinesisEvent) (reply emit.Reply, err error) {
		for _, r := range e.Records {
			id := r.Kinesis.SequenceNumber
			if string(r.Kinesis.Data) == "bad" {
				reply.Fail(id)
				continue
			}
			reply.Add(emit.Record{Stream: "out", PartitionKey: r.Kinesis.PartitionKey, Data: r.Kinesis.Data, ItemIdentifier: id})
		}
		return reply, nil
	})
}
`)
	out := filepath.Join(dir, "out.wasm")
	if _, err := Go(t.Context(), Options{Dir: dir, Out: out, CacheDir: guests.dir}); err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	e, _, err := environment(t, code, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := batch("a", "bad", "c")
	r := invoke(t, e, runtime.Invocation{Batch: b, PartialReplies: true})
	if r.Emits == nil || string(r.Response) != failures(1) {
		t.Errorf("by JSON: %s", r.Response)
	}
	runtime.Classify(&runtime.Invocation{Batch: b, PartialReplies: true}, []string{"out"}, &r)
	want := []runtime.Emit{{Stream: "out", PartitionKey: "p0", Data: []byte("a"), Item: 0}, {Stream: "out", PartitionKey: "p2", Data: []byte("c"), Item: 2}}
	if r.Outcome != runtime.Partial || !reflect.DeepEqual(r.Emits, want) || !slices.Equal(r.Failures, []string{sequence(1)}) {
		t.Errorf("%v %s %q %+v", r.Outcome, r.ErrorMessage, r.Failures, r.Emits)
	}
}

// What it costs to emit 100 records of 1 KB, the reading of the reply included.
func BenchmarkEmit(b *testing.B) {
	for _, guest := range []string{"many", "many-json"} {
		b.Run(guest, func(b *testing.B) {
			e, _ := start(b, "emit-"+guest)
			inv := runtime.Invocation{ID: "i", Batch: batch("x")}
			ctx, cancel := context.WithTimeout(b.Context(), patience)
			defer cancel()
			b.SetBytes(100 << 10)
			for b.Loop() {
				r := e.Invoke(ctx, &inv)
				runtime.Classify(&inv, []string{"alerts"}, &r)
				if len(r.Emits) != 100 {
					b.Fatalf("%v %s, %d emits", r.Outcome, r.ErrorMessage, len(r.Emits))
				}
			}
		})
	}
}
