package wasm

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/runtime/wasm/wasmtest"
)

// goGuest is an environment of [wasmtest.Guest].
func goGuest(t testing.TB, l runtime.LogWriter, change ...func(*functions.Config)) runtime.Environment {
	return start(t, load(t, wasmtest.Guest(t)), version(change...), l)
}

// want fails unless the guest returns that JSON.
func want(t *testing.T, e runtime.Environment, word, response string) {
	t.Helper()
	if r := invoke(t, e, say(word)); r.Outcome != runtime.Done || string(r.Response) != response {
		t.Errorf("%s: %v %s %s, want %s", word, r.Outcome, r.Response, r.ErrorMessage, response)
	}
}

func TestGuestReadsTheBatchWithoutJSON(t *testing.T) {
	e := goGuest(t, nil)
	b := batchOf("count", 100, 1000)
	b.Records[0].PartitionKey = "Zürich"
	r := invoke(t, e, &runtime.Invocation{ID: "i", Batch: b})
	want := fmt.Sprintf(`{"records":100,"bytes":100000,"eventID":"shardId-000000000000:%s","seq":%[1]q,"key":"Zürich","arrival":1700000000123}`, b.Records[0].Sequence)
	if r.Outcome != runtime.Done || string(r.Response) != want {
		t.Errorf("%v %s %s\nwant %s", r.Outcome, r.Response, r.ErrorMessage, want)
	}
}

func TestEnvironmentKeepsItsMemoryBetweenInvocations(t *testing.T) {
	e := goGuest(t, nil)
	want(t, e, "calls", "1")
	want(t, e, "calls", "2")
	if r := invoke(t, e, say("error it broke")); r.Outcome != runtime.FunctionError || r.ErrorType != "errorString" || r.ErrorMessage != "it broke" || string(r.StackTrace) != `["main.do"]` {
		t.Errorf("%+v", r)
	}
	want(t, e, "calls", "4") // an error that is returned costs nothing
}

func TestGuestSeesItsRequest(t *testing.T) {
	e := goGuest(t, nil)
	ctx, cancel := context.WithDeadline(t.Context(), time.UnixMilli(4102444800123))
	defer cancel()
	if r := e.Invoke(ctx, say("deadline")); string(r.Response) != "4102444800123" {
		t.Errorf("deadline %s", r.Response)
	}
	r := e.Invoke(ctx, &runtime.Invocation{ID: "the-id", Payload: []byte(`"request"`)})
	var h string
	if err := json.Unmarshal(r.Response, &h); err != nil {
		t.Fatal(err)
	}
	b, _ := hex.DecodeString(h)
	for _, s := range []string{"the-id", "arn:aws:lambda:us-east-1:000000000000:function:f", `"request"`} {
		if !strings.Contains(string(b), s) {
			t.Errorf("the request has no %q: %q", s, b)
		}
	}
}

func TestGuestReachesNothingButWhatItIsGiven(t *testing.T) {
	t.Setenv("OURS", "secret")
	e := goGuest(t, nil, func(c *functions.Config) {
		c.Environment = map[string]string{"THEIRS": "public", "AWS_REGION": "mars", "TZ": "UTC-3", "BAD=NAME": "x"}
	})
	want(t, e, "args", `{"args":0,"files":false}`)
	r := invoke(t, e, say("environ"))
	var got string
	if err := json.Unmarshal(r.Response, &got); err != nil {
		t.Fatal(err)
	}
	wantEnv := `AWS_DEFAULT_REGION=us-east-1
AWS_EXECUTION_ENV=wasmill
AWS_LAMBDA_FUNCTION_MEMORY_SIZE=128
AWS_LAMBDA_FUNCTION_NAME=f
AWS_LAMBDA_FUNCTION_VERSION=$LATEST
AWS_LAMBDA_INITIALIZATION_TYPE=on-demand
AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/f
AWS_LAMBDA_LOG_STREAM_NAME=[$LATEST]
AWS_REGION=us-east-1
GOMEMLIMIT=107374176
THEIRS=public
TZ=UTC-3
_HANDLER=bootstrap`
	if got != wantEnv {
		t.Errorf("environment\n%s\nwant\n%s", got, wantEnv)
	}
}

func TestClocksAndRandomNumbersAreReal(t *testing.T) {
	e := goGuest(t, nil)
	before := time.Now().UnixMilli()
	now, _ := strconv.ParseInt(string(invoke(t, e, say("now")).Response), 10, 64)
	if after := time.Now().UnixMilli(); now < before || now > after {
		t.Errorf("guest's time %d is not in %d to %d", now, before, after)
	}
	other := goGuest(t, nil)
	if a, b := invoke(t, e, say("random")).Response, invoke(t, other, say("random")).Response; string(a) == string(b) {
		t.Errorf("two environments draw the same: %s", a)
	}
	began := time.Now()
	want(t, e, "sleep 30", "null")
	if took := time.Since(began); took < 30*time.Millisecond {
		t.Errorf("slept %v", took)
	}
}

func TestLogIsHandedOnByLine(t *testing.T) {
	l := &log{}
	e := goGuest(t, l)
	invoke(t, e, say("say hello"))
	got := strings.Join(l.lines, "\n")
	if wantLines := ": starting f\nid-1: out hello\nid-1: err hello"; got != wantLines {
		t.Errorf("log\n%s\nwant\n%s", got, wantLines)
	}
}

func TestFloodOfOutputIsCut(t *testing.T) {
	l := &log{}
	e := goGuest(t, l)
	want(t, e, "flood 50000", "null") // 5 MB
	if l.bytes > maxLog+1000 {
		t.Errorf("%d bytes were logged, want %d at most", l.bytes, maxLog)
	}
	invoke(t, e, say("say again"))
	if last := l.lines[len(l.lines)-1]; len(l.lines) < 1000 && !strings.Contains(last, "again") {
		t.Errorf("the next invocation logs %q", last)
	}
}

func TestFailuresByIndexBecomeIdentifiers(t *testing.T) {
	e := goGuest(t, nil)
	b := batchOf("failures 2,1", 3, 0)
	inv := &runtime.Invocation{ID: "i", Batch: b, PartialReplies: true}
	r := invoke(t, e, inv)
	runtime.Classify(inv, nil, &r)
	if i, ok := runtime.LowestFailed(b, r.Failures); r.Outcome != runtime.Partial || len(r.Failures) != 2 || i != 1 || !ok {
		t.Errorf("%v %q, lowest %d %v", r.Outcome, r.Failures, i, ok)
	}
	inv.Batch = batchOf("failures 7", 3, 0)
	r = invoke(t, e, inv)
	runtime.Classify(inv, nil, &r)
	if _, ok := runtime.LowestFailed(inv.Batch, r.Failures); r.Outcome != runtime.Partial || ok {
		t.Errorf("an index of no record: %v %q %v", r.Outcome, r.Failures, ok)
	}
}

func TestEmitsOfAGuest(t *testing.T) {
	e := goGuest(t, nil)
	run := func(word string, change ...func(*runtime.Invocation)) runtime.Result {
		inv := &runtime.Invocation{ID: "i", Batch: batchOf(word, 3, 0)}
		for _, f := range change {
			f(inv)
		}
		r := invoke(t, e, inv)
		runtime.Classify(inv, []string{"a", "b"}, &r)
		return r
	}
	r := run("emit 2,a,key,data -1,b,k, 0,b,k,x")
	want := []runtime.Emit{{Stream: "a", PartitionKey: "key", Data: []byte("data"), Item: 2}, {Stream: "b", PartitionKey: "k", Data: []byte{}, Item: -1}, {Stream: "b", PartitionKey: "k", Data: []byte("x"), Item: 0}}
	if r.Outcome != runtime.Done || !reflect.DeepEqual(r.Emits, want) || string(r.Response) != `{"n":1}` {
		t.Errorf("%v %s, response %s, emits %+v", r.Outcome, r.ErrorMessage, r.Response, r.Emits)
	}
	kept := r.Emits[0].Data
	run("emit 1,a,other,things") // the guest's memory is written to again
	if string(kept) != "data" {
		t.Errorf("what was emitted became %q", kept)
	}
	if r := run("emit 3,a,k,x"); r.Outcome != runtime.FunctionError || r.ErrorType != runtime.TypeBadEmits || !strings.Contains(r.ErrorMessage, "emit 0, to stream a, names record 3") {
		t.Errorf("an index of no record: %v %s", r.Outcome, r.ErrorMessage)
	}
	if r := run("emit"); r.Outcome != runtime.Done || r.Emits != nil {
		t.Errorf("none: %v %+v", r.Outcome, r.Emits)
	}
	if r := run("", func(inv *runtime.Invocation) { inv.Batch, inv.Payload = nil, []byte(`"emit 0,a,k,x"`) }); r.Emits != nil || string(r.Response) != `{"n":1,"emit":"not this"}` {
		t.Errorf("a caller's: %v %s %+v", r.Outcome, r.Response, r.Emits)
	}
}

func TestResponseTooLarge(t *testing.T) {
	e := goGuest(t, nil)
	if r := invoke(t, e, say("large 6291556")); r.Outcome != runtime.Done || len(r.Response) != runtime.MaxResponse {
		t.Errorf("the largest: %v %d bytes %s", r.Outcome, len(r.Response), r.ErrorMessage)
	}
	for _, n := range []string{"6291557", "9000000"} {
		r := invoke(t, e, say("large "+n))
		if r.Outcome != runtime.FunctionError || r.ErrorType != "Function.ResponseSizeTooLarge" ||
			r.ErrorMessage != "Response payload size exceeded maximum allowed payload size (6291556 bytes)." {
			t.Errorf("%s: %v %s %s", n, r.Outcome, r.ErrorType, r.ErrorMessage)
		}
	}
	want(t, e, "calls", "4") // it is only a large response
}

func TestFaultsOfAGoGuest(t *testing.T) {
	tests := []struct {
		word, errType, message string
	}{
		{"exit 3", "Runtime.ExitError", "RequestId: id-1 Error: Runtime exited with error: exit status 3"},
		{"panic boom", "Runtime.ExitError", "(panic: boom)"},
		{"deadlock", "Runtime.ExitError", "all goroutines are asleep"},
		{"hog", "Runtime.OutOfMemory", "out of memory: it has 128 MB"},
		{"recurse", "Runtime.", "Runtime exited with error"},
	}
	for _, tt := range tests {
		t.Run(tt.word, func(t *testing.T) {
			e := goGuest(t, nil)
			r := invoke(t, e, say(tt.word))
			if r.Outcome != runtime.FunctionError || !strings.HasPrefix(r.ErrorType, tt.errType) || !strings.Contains(r.ErrorMessage, tt.message) {
				t.Errorf("%v %s: %s", r.Outcome, r.ErrorType, r.ErrorMessage)
			}
			if !e.Reusable() {
				t.Error("the environment cannot be used again")
			}
			want(t, e, "calls", "1") // as after its start-up
			if r.MaxMemory > 128<<20 || r.MaxMemory == 0 {
				t.Errorf("%d bytes of memory", r.MaxMemory)
			}
		})
	}
}

func TestMemoryLimitIsTheFunctions(t *testing.T) {
	small := goGuest(t, nil)
	large := goGuest(t, nil, func(c *functions.Config) { c.Memory = 512 })
	if r := invoke(t, small, say("hold 200")); r.ErrorType != "Runtime.OutOfMemory" {
		t.Errorf("200 MB in 128: %v %s", r.Outcome, r.ErrorMessage)
	}
	if r := invoke(t, large, say("hold 200")); r.Outcome != runtime.Done || r.MaxMemory < 200<<20 {
		t.Errorf("200 MB in 512: %v %s, %d bytes", r.Outcome, r.ErrorMessage, r.MaxMemory)
	}
}

func TestDeadlineStopsAGuest(t *testing.T) {
	for _, word := range []string{"loop", "sleep 3600000"} {
		t.Run(word, func(t *testing.T) {
			e := goGuest(t, nil, func(c *functions.Config) { c.Timeout = 3 * time.Second })
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			r := e.Invoke(ctx, say(word))
			if r.Outcome != runtime.Timeout || r.ErrorType != "Sandbox.Timedout" || r.ErrorMessage != "RequestId: id-1 Error: Task timed out after 3.00 seconds" {
				t.Errorf("%v %s: %s", r.Outcome, r.ErrorType, r.ErrorMessage)
			}
			if took := time.Since(began); !e.Reusable() || took < 50*time.Millisecond {
				t.Errorf("reusable %v, after %v", e.Reusable(), took)
			}
			want(t, e, "calls", "1")
		})
	}
}

func TestCancelledInvocationIsNotTheFunctionsFault(t *testing.T) {
	e := goGuest(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if r := e.Invoke(ctx, say("loop")); r.Outcome != runtime.Infrastructure || runtime.Attempted(r.Outcome) {
		t.Errorf("%v %s", r.Outcome, r.ErrorMessage)
	}
}

func TestCommand(t *testing.T) {
	l := &log{}
	p := load(t, wasmtest.Command(t))
	if p.ABI() != functions.ABICommand {
		t.Fatalf("grade %s", p.ABI())
	}
	e := start(t, p, version(), l)
	tests := []struct {
		name, event string
		outcome     runtime.Outcome
		response    string
		errType     string
		message     string
	}{
		{"answers", `{}`, runtime.Done, `{"id":"id-1","name":"f","records":0}`, "", ""},
		{"nothing", `{"do":"nothing"}`, runtime.Done, "", "", ""},
		{"exit 0 is a return", `{"do":"exit0"}`, runtime.Done, `{"before":"exit"}`, "", ""},
		{"exit", `"x"`, runtime.FunctionError, "", "Runtime.ExitError", "exit status 3"},
		{"panic", `{"do":"panic"}`, runtime.FunctionError, "", "Runtime.ExitError", "(panic: command)"},
		{"no JSON", `{"do":"garbage"}`, runtime.FunctionError, "", "Runtime.MalformedResponse", "handled it"},
		{"large", `{"do":"large"}`, runtime.FunctionError, "", "Function.ResponseSizeTooLarge", "6291556"},
	}
	for _, tt := range tests {
		inv := &runtime.Invocation{ID: "id-1", Payload: []byte(tt.event)}
		r := invoke(t, e, inv)
		runtime.Classify(inv, nil, &r)
		if r.Outcome != tt.outcome || string(r.Response) != tt.response || r.ErrorType != tt.errType || !strings.Contains(r.ErrorMessage, tt.message) {
			t.Errorf("%s: %v %.80s %s %s", tt.name, r.Outcome, r.Response, r.ErrorType, r.ErrorMessage)
		}
		if !e.Reusable() {
			t.Errorf("%s: not reusable, though each invocation is an instance", tt.name)
		}
	}
	r := invoke(t, e, &runtime.Invocation{ID: "id-2", Batch: batchOf("x", 3, 10)})
	if string(r.Response) != `{"id":"id-2","name":"f","records":3}` || r.MaxMemory == 0 {
		t.Errorf("batch: %v %s %d", r.Outcome, r.Response, r.MaxMemory)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if r := e.Invoke(ctx, &runtime.Invocation{ID: "id-1", Payload: []byte(`{"do":"loop"}`)}); r.Outcome != runtime.Timeout {
		t.Errorf("loop: %v %s", r.Outcome, r.ErrorMessage)
	}
	if l.lines[0] != "id-1: handling 2 bytes" {
		t.Errorf("log %q", l.lines[0])
	}
}

// AWS: the context's invokedFunctionArn is what the caller named.
func TestInvokedARNIsTheOneThatWasCalled(t *testing.T) {
	const base = "arn:aws:lambda:us-east-1:000000000000:function:f"
	for _, tt := range []struct{ arn, qualifier, want string }{
		{base, "", base},
		{base, "$LATEST", base + ":$LATEST"},
		{base, "live", base + ":live"},
		{base + ":3", "3", base + ":3"},
		{base + ":3", "live", base + ":live"},
		{base + ":3", "", base + ":3"},
	} {
		if got := invoked(tt.arn, tt.qualifier); got != tt.want {
			t.Errorf("invoked(%s, %q) = %s, want %s", tt.arn, tt.qualifier, got, tt.want)
		}
	}
}
