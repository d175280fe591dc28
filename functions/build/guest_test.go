package build

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/runtime/wasm"
)

// The functions of testdata/handlers, compiled once for all tests.
var guests struct {
	once   sync.Once
	err    error
	dir    string
	engine *wasm.Engine
	code   []byte
	result Result
}

func TestMain(m *testing.M) {
	code := m.Run()
	if guests.engine != nil {
		_ = guests.engine.Close(context.Background())
	}
	if guests.dir != "" {
		_ = os.RemoveAll(guests.dir)
	}
	os.Exit(code)
}

func engine(t testing.TB) *wasm.Engine {
	t.Helper()
	guests.once.Do(func() {
		guests.err = func() (err error) {
			ctx := context.Background()
			if guests.dir, err = os.MkdirTemp("", "wasmill-build-test-*"); err != nil {
				return err
			}
			if guests.engine, err = wasm.NewEngine(ctx, wasm.Options{}); err != nil {
				return err
			}
			out := filepath.Join(guests.dir, "handlers.wasm")
			if guests.result, err = Go(ctx, Options{Dir: filepath.Join("testdata", "handlers"), Out: out, CacheDir: guests.dir}); err != nil {
				return err
			}
			guests.code, err = os.ReadFile(out)
			return err
		}()
	})
	if guests.err != nil {
		t.Fatal(guests.err)
	}
	return guests.engine
}

const requestID = "11111111-2222-3333-4444-555555555555"

// patience only ends what hangs.
const patience = 10 * time.Minute

// lines keeps a function's log.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) Line(_ string, line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, string(line))
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.all, "\n")
}

// environment starts code, which was built from a guest.
func environment(t testing.TB, code []byte, env map[string]string) (runtime.Environment, *lines, error) {
	t.Helper()
	return environmentOf(t, code, functions.Config{Memory: 256, Timeout: time.Minute, Environment: env})
}

func environmentOf(t testing.TB, code []byte, c functions.Config) (runtime.Environment, *lines, error) {
	t.Helper()
	program, info, err := engine(t).Load(t.Context(), code, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = program.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	log := &lines{}
	e, err := program.New(ctx, functions.Version{
		Function: "fn", Version: "7", Code: info, Config: c,
	}, log)
	if err == nil {
		t.Cleanup(func() { _ = e.Close() })
	}
	return e, log, err
}

func start(t testing.TB, name string) (runtime.Environment, *lines) {
	t.Helper()
	engine(t)
	e, log, err := environment(t, guests.code, map[string]string{"CASE": name})
	if err != nil {
		t.Fatalf("%s does not start: %v", name, err)
	}
	return e, log
}

func invoke(t testing.TB, e runtime.Environment, inv runtime.Invocation) runtime.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	inv.ID = requestID
	return e.Invoke(ctx, &inv)
}

// batch makes records p0, p1, … of these data.
func batch(data ...string) *runtime.Batch {
	b := &runtime.Batch{Shard: "shardId-000000000003", ARN: "arn:aws:kinesis:eu-west-1:000000000000:stream/s", Region: "eu-west-1", Identity: "arn:aws:iam::000000000000:role/r"}
	for i, d := range data {
		b.Records = append(b.Records, runtime.Record{Sequence: sequence(i), PartitionKey: fmt.Sprint("p", i), Data: []byte(d), Arrival: 1700000000123 + int64(i)})
	}
	return b
}

func sequence(i int) string {
	return fmt.Sprintf("4959%052d", i)
}

func failures(indexes ...int) string {
	items := []map[string]string{}
	for _, i := range indexes {
		items = append(items, map[string]string{"itemIdentifier": sequence(i)})
	}
	b, _ := json.Marshal(map[string]any{"batchItemFailures": items})
	return string(b)
}

func TestKinesisHandlers(t *testing.T) {
	tests := []struct {
		name     string
		guest    string
		data     []string
		partial  bool
		response string
		failure  string // type: message
	}{
		{"an event handler that returns nil answers null", "kinesis-error", []string{"a", "b"}, false, `null`, ""},
		{"an error is a function error with the Go type's name", "kinesis-error", []string{"a", "bad"}, false, "", "errorString: record p1: bad"},
		{"a pointer to an event works", "kinesis-pointer", []string{"a", "b", "c"}, false, `3`, ""},
		{"a handler without context and results works", "kinesis-nothing", []string{"a"}, false, `null`, ""},
		{"a named handler type works", "kinesis-named", []string{"a"}, false, `"p0"`, ""},
		{"a generic handler works", "kinesis-generic", []string{"a"}, false, `"shardId-000000000003:` + sequence(0) + `"`, ""},
		{"a Handler around an event handler works", "new-handler", []string{"a", "b"}, false, `2`, ""},
		{"a type of its own gets the batch as JSON", "kinesis-window", []string{"a", "b"}, false, `2`, ""},
		{"no failure is null, as aws-lambda-go has it", "kinesis-reply", []string{"a"}, false, `{"batchItemFailures":null}`, ""},
		{"no failure in an empty list is an empty list", "kinesis-reply", []string{"empty"}, false, `{"batchItemFailures":[]}`, ""},
		{"failures are named though nobody asked", "kinesis-reply", []string{"a", "bad", "bad"}, false, failures(1, 2), ""},
		{"no failure of a partial reply", "kinesis-reply", []string{"a"}, true, `{"batchItemFailures":null}`, ""},
		{"failures of a partial reply", "kinesis-reply", []string{"a", "bad", "b", "bad"}, true, failures(1, 3), ""},
		{"an unknown failure is passed on", "kinesis-reply", []string{"unknown"}, true, `{"batchItemFailures":[{"itemIdentifier":"no such"}]}`, ""},
		{"sorting the records changes no identifier", "kinesis-sorted", []string{"bad", "a", "b", "bad", "c"}, true, failures(3, 0), ""},
		{"an empty data blob is one", "kinesis-json", []string{""}, false, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, _ := start(t, tt.guest)
			res := invoke(t, e, runtime.Invocation{Batch: batch(tt.data...), PartialReplies: tt.partial})
			if tt.failure != "" {
				if got := res.ErrorType + ": " + res.ErrorMessage; res.Outcome != runtime.FunctionError || got != tt.failure {
					t.Errorf("got %v %q, want %q", res.Outcome, got, tt.failure)
				}
				return
			}
			if res.Outcome != runtime.Done {
				t.Fatalf("got %v: %s: %s", res.Outcome, res.ErrorType, res.ErrorMessage)
			}
			if tt.response != "" && string(res.Response) != tt.response {
				t.Errorf("response %s, want %s", res.Response, tt.response)
			}
		})
	}
}

// What the handler sees must not depend on which way the batch took. Only the
// time does: aws-lambda-go reads it by way of a float64 and loses up to a
// microsecond, which the binary batch does not.
func TestBinaryBatchIsTheSameEventAsJSON(t *testing.T) {
	e, _ := start(t, "kinesis-json")
	b := batch("a", "", "\x00\xff", strings.Repeat("x", 300))
	b.Records[2].PartitionKey = "schlüssel"
	original := runtime.AppendJSON(nil, b)
	byBatch := invoke(t, e, runtime.Invocation{Batch: b})
	byJSON := invoke(t, e, runtime.Invocation{Payload: original})
	want := event(t, original)
	for name, got := range map[string]any{"wm_batch": event(t, byBatch.Response), "wm_json": event(t, byJSON.Response)} {
		if !reflect.DeepEqual(got, want) {
			t.Errorf("by %s %v\nwant %v", name, got, want)
		}
	}
}

// event decodes a Kinesis event with its times rounded to milliseconds.
func event(t *testing.T, b []byte) any {
	t.Helper()
	var e struct{ Records []map[string]any }
	if err := json.Unmarshal(b, &e); err != nil {
		t.Fatalf("%v: %.200s", err, b)
	}
	for _, r := range e.Records {
		k := r["kinesis"].(map[string]any)
		k["approximateArrivalTimestamp"] = math.Round(k["approximateArrivalTimestamp"].(float64) * 1000)
	}
	return e.Records
}

func TestRecordsMayBeKeptBetweenBatches(t *testing.T) {
	e, _ := start(t, "kinesis-keep")
	for i, want := range []string{`"a0,b0"`, `"a0,b0,a1,b1"`, `"a0,b0,a1,b1,a2,b2"`} {
		res := invoke(t, e, runtime.Invocation{Batch: batch(fmt.Sprint("a", i), fmt.Sprint("b", i))})
		if string(res.Response) != want {
			t.Errorf("after batch %d: %s, want %s", i, res.Response, want)
		}
	}
}

func TestJSONHandlers(t *testing.T) {
	const sqs = `{"Records":[{"messageId":"m1","body":"good"},{"messageId":"m2","body":"bad"}]}`
	const dynamodb = `{"Records":[{"eventID":"1","eventName":"INSERT","dynamodb":{"Keys":{"n":{"N":"101"}},"NewImage":{"id":{"S":"new"}}}}]}`
	tests := []struct {
		guest, payload, response, failure string
	}{
		{"sqs", sqs, `{"batchItemFailures":[{"itemIdentifier":"m2"}]}`, ""},
		{"dynamodb", dynamodb, `"new 101"`, ""},
		{"plain", `{"name":"n","n":1}`, `{"greeting":"<n>"}`, ""},
		{"plain", `{"name":1}`, "", "UnmarshalTypeError: json: cannot unmarshal number into Go struct field in.name of type string"},
		{"escaped", `{"name":"n"}`, `{"greeting":"\u003cn\u003e"}`, ""},
		{"indented", `{"name":"n"}`, "{\n \"greeting\": \"n\"\n}\n", ""},
		{"strict", `{"other":1}`, "", `errorString: json: unknown field "other"`},
		{"number", `{"n":1}`, `"json.Number"`, ""},
		{"any", `[1,"two",null]`, `[1,"two",null]`, ""},
		{"any", `null`, `null`, ""},
		{"nothing", `{}`, `null`, ""},
		{"context-only", `{}`, `{"greeting":"true"}`, ""},
		{"raw", `"abc"`, `"ABC"`, ""},
		{"reader", `{}`, `<html>`, ""},
		{"middleware", `{"name":"n"}`, `["in {n 0}","out {n}"]`, ""},
		{"error", `{}`, "", "errorString: no"},
		{"error-own", `{}`, "", "ownError: code 7"},
		{"error-message", `{}`, "", "Payment.Refused: no money"},
		{"panic", `{"name":"sea"}`, "", "string: at sea"},
		{"panic-error", `{}`, "", "ownError: code 8"},
		{"deadline", `{}`, `"context deadline exceeded <nil>"`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.guest, func(t *testing.T) {
			e, log := start(t, tt.guest)
			res := invoke(t, e, runtime.Invocation{Payload: []byte(tt.payload)})
			if tt.failure == "" {
				if res.Outcome != runtime.Done || string(res.Response) != tt.response {
					t.Errorf("got %v %q %s: %s, want %q\n%s", res.Outcome, res.Response, res.ErrorType, res.ErrorMessage, tt.response, log)
				}
				return
			}
			if got := res.ErrorType + ": " + res.ErrorMessage; res.Outcome != runtime.FunctionError || got != tt.failure {
				t.Errorf("got %v %q, want %q", res.Outcome, got, tt.failure)
			}
			if !e.Reusable() {
				t.Error("a function error used up the environment")
			}
			_, message, _ := strings.Cut(tt.failure, ": ")
			quoted, _ := json.Marshal(message)
			if !strings.Contains(log.String(), string(quoted)) {
				t.Errorf("the log does not tell: %s", log)
			}
		})
	}
}

func TestPanicTellsWhereAndTheNextInvocationRuns(t *testing.T) {
	e, _ := start(t, "kinesis-panic")
	for range 2 {
		res := invoke(t, e, runtime.Invocation{Batch: batch("a")})
		if res.ErrorType != "boundsError" || !strings.Contains(res.ErrorMessage, "index out of range [1] with length 1") {
			t.Fatalf("got %v %s: %s", res.Outcome, res.ErrorType, res.ErrorMessage)
		}
		var stack []struct {
			Path, Label string
			Line        int
		}
		if err := json.Unmarshal(res.StackTrace, &stack); err != nil {
			t.Fatalf("%v: %s", err, res.StackTrace)
		}
		if len(stack) < 3 || !strings.HasPrefix(stack[0].Path, "runtime/") {
			t.Errorf("stack begins with %+v", stack[0])
		}
		var own bool
		for _, f := range stack {
			own = own || f.Path == "example.com/handlers/main.go" && strings.HasPrefix(f.Label, "main.func") && f.Line > 100
		}
		if !own {
			t.Errorf("the handler's line is not in %s", res.StackTrace)
		}
	}
}

func TestContextTellsOfTheInvocation(t *testing.T) {
	e, _ := start(t, "context")
	res := invoke(t, e, runtime.Invocation{Payload: []byte(`{}`)})
	var got map[string]any
	if err := json.Unmarshal(res.Response, &got); err != nil {
		t.Fatalf("%v: %+v", err, res)
	}
	want := map[string]any{
		"id": "11111111-2222-3333-4444-555555555555", "arn": "arn:aws:lambda:us-east-1:000000000000:function:fn:7", "name": "fn",
		"version": "7", "memory": 256.0, "deadline": true, "value": "mine", "error": true,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

func TestContextEndsWithItsInvocation(t *testing.T) {
	e, _ := start(t, "cancelled")
	invoke(t, e, runtime.Invocation{Payload: []byte(`{}`)})
	res := invoke(t, e, runtime.Invocation{Payload: []byte(`{}`)})
	if string(res.Response) != `"context canceled"` {
		t.Errorf("got %+v", res)
	}
}

func TestReaderIsClosedBeforeTheNextInvocation(t *testing.T) {
	e, _ := start(t, "closer")
	for _, want := range []string{"open", "was closed"} {
		if res := invoke(t, e, runtime.Invocation{Payload: []byte(`{}`)}); string(res.Response) != want {
			t.Errorf("got %q %s, want %q", res.Response, res.ErrorMessage, want)
		}
	}
}

func TestLiveDataMayBeHalfOfTheMemory(t *testing.T) {
	engine(t)
	e, _, err := environmentOf(t, guests.code, functions.Config{Memory: 128, Timeout: time.Minute, Environment: map[string]string{"CASE": "live"}})
	if err != nil {
		t.Fatal(err)
	}
	if res := invoke(t, e, runtime.Invocation{Payload: []byte(`{}`)}); string(res.Response) != "60" {
		t.Errorf("got %v %s: %s", res.Outcome, res.ErrorType, res.ErrorMessage)
	}
}

// What an exit leaves in memory nobody finds: the environment is at its end, or as it
// was after its start.
func TestExitLeavesNothingBehind(t *testing.T) {
	e, _ := start(t, "exit")
	for range 2 {
		res := invoke(t, e, runtime.Invocation{Payload: []byte(`{}`)})
		if res.Outcome != runtime.FunctionError || res.ErrorType != "Runtime.ExitError" || !strings.Contains(res.ErrorMessage, "exit status 3") {
			t.Errorf("got %v %s: %s", res.Outcome, res.ErrorType, res.ErrorMessage)
		}
		if !e.Reusable() {
			return
		}
	}
}

func TestImpossibleHandlersDoNotStartAndSayWhatToChange(t *testing.T) {
	tests := []struct{ guest, says string }{
		{"bad-kind", "handler kind string is not func"},
		{"bad-nil", "handler is nil"},
		{"bad-arguments", "handlers may not take more than two arguments, but handler takes 3"},
		{"bad-first", "handler takes two arguments, but the first is not Context. got int"},
		{"bad-interface", `handler takes an interface, but it is not context.Context: "Reader"`},
		{"bad-result", "handler returns a single value, but it does not implement error"},
		{"bad-results", "handler returns two values, but the second does not implement error"},
		{"bad-event", "takes a chan int, which no JSON event can fill"},
		{"bad-many", "handler may not return more than two values"},
		{"bad-return", "main returned without calling lambda.Start"},
		{"bad-exit", "exit status 1"},
	}
	for _, tt := range tests {
		t.Run(tt.guest, func(t *testing.T) {
			engine(t)
			_, log, err := environment(t, guests.code, map[string]string{"CASE": tt.guest})
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want it to say %q\n%s", err, tt.says, log)
			}
			if strings.Contains(tt.says, "returns") && strings.HasPrefix(tt.guest, "bad-res") && !strings.Contains(err.Error(), "change it to func(") {
				t.Errorf("%v does not say what to change", err)
			}
		})
	}
}
