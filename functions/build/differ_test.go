package build

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmill/wasmill/runtime"
)

// The handlers of testdata, built for this machine with the real aws-lambda-go.
var native = struct {
	once sync.Once
	file string
	err  error
}{}

func nativeHandlers(t *testing.T) string {
	t.Helper()
	engine(t) // makes the folder
	native.once.Do(func() {
		native.file = filepath.Join(guests.dir, "handlers.exe")
		cmd := exec.Command("go", "build", "-o", native.file, ".")
		cmd.Dir = filepath.Join("testdata", "handlers")
		if out, err := cmd.CombinedOutput(); err != nil {
			native.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if native.err != nil {
		t.Fatal(native.err)
	}
	return native.file
}

// onLambda runs a handler once as Lambda would: the real library, asking a runtime
// API for its event. The log is what it wrote to standard error.
func onLambda(t *testing.T, name string, payload []byte) (res runtime.Result) {
	t.Helper()
	file := nativeHandlers(t)
	const base = "/2018-06-01/runtime/invocation/"
	answered := make(chan runtime.Result, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	given := false // only asked for by one loop
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch path := strings.TrimPrefix(r.URL.Path, base); {
		case path == "next" && !given:
			given = true
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", requestID)
			w.Header().Set("Lambda-Runtime-Deadline-Ms", fmt.Sprint(time.Now().Add(time.Minute).UnixMilli()))
			w.Header().Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:000000000000:function:fn:7")
			_, _ = w.Write(payload)
		case strings.HasSuffix(path, "/response"):
			res := runtime.Result{Response: body}
			if kind := r.Trailer.Get("Lambda-Runtime-Function-Error-Type"); kind != "" {
				failure, _ := base64.StdEncoding.DecodeString(r.Trailer.Get("Lambda-Runtime-Function-Error-Body"))
				res = failed(failure)
			}
			w.WriteHeader(http.StatusAccepted)
			answered <- res
		case strings.HasSuffix(path, "/error"):
			w.WriteHeader(http.StatusAccepted)
			answered <- failed(body)
		case strings.HasSuffix(path, "/extension/register"): // what WithEnableSIGTERM does
		default: // the next event never comes
			select {
			case <-ctx.Done():
			case <-r.Context().Done():
			}
		}
	}))
	defer api.Close()
	cmd := exec.CommandContext(ctx, file)
	cmd.Env = append(os.Environ(), "CASE="+name, "AWS_LAMBDA_RUNTIME_API="+strings.TrimPrefix(api.URL, "http://"), "TZ=UTC",
		"AWS_LAMBDA_FUNCTION_NAME=fn", "AWS_LAMBDA_FUNCTION_VERSION=7", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=256",
		"AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/fn", "AWS_LAMBDA_LOG_STREAM_NAME=[7]")
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }() // being killed is its end
	defer func() { cancel(); <-ended }()
	select {
	case res = <-answered:
	case <-time.After(patience / 10):
		t.Fatalf("%s does not answer: %s", name, log.String())
	case <-ended:
		select {
		case res = <-answered: // it answered, and ended
		default:
			t.Fatalf("%s ended without an answer: %s", name, log.String())
		}
	}
	return res
}

func failed(body []byte) (r runtime.Result) {
	var e struct {
		ErrorMessage, ErrorType string
		StackTrace              json.RawMessage
	}
	if err := json.Unmarshal(body, &e); err != nil {
		return runtime.Result{Outcome: runtime.FunctionError, ErrorMessage: fmt.Sprintf("%v: %s", err, body)}
	}
	return runtime.Result{Outcome: runtime.FunctionError, ErrorType: e.ErrorType, ErrorMessage: e.ErrorMessage, StackTrace: e.StackTrace}
}

// own are the frames of a stack that are the handler's: the rest is of the library
// or the standard one, and differs, and natively main is below all of them.
func own(t *testing.T, stack []byte) (out []string) {
	t.Helper()
	if len(stack) == 0 {
		return nil
	}
	var frames []struct {
		Path, Label string
		Line        int
	}
	if err := json.Unmarshal(stack, &frames); err != nil {
		t.Fatalf("%v: %s", err, stack)
	}
	for _, f := range frames {
		if strings.HasSuffix(f.Path, "handlers/main.go") && f.Label != "main" {
			out = append(out, fmt.Sprintf("%s:%d %s", filepath.Base(f.Path), f.Line, f.Label))
		}
	}
	return out
}

// messages, changes and windows for handlers of these events.
func messages(bodies ...string) *runtime.Batch {
	b := &runtime.Batch{Kind: runtime.KindSQS, ARN: "arn:aws:sqs:eu-west-1:000000000000:q", Region: "eu-west-1"}
	for i, body := range bodies {
		m := &runtime.Message{ReceiptHandle: fmt.Sprint("handle-", i), MD5: "5d41402abc4b2a76b9719d911017c592",
			System: []runtime.SystemAttribute{{Name: "ApproximateReceiveCount", Value: "1"}, {Name: "SentTimestamp", Value: "1700000000123"}}}
		if i%2 == 1 {
			m.AttributesMD5 = "5ac9ba1aa5c6b1bda3a2d6f2ab4c6bd0"
			m.Attributes = []runtime.MessageAttribute{{Name: "city", Type: "String", Value: []byte("Zürich \"\n")}, {Name: "blob", Type: "Binary", Value: []byte{0, 255}, Binary: true}, {Name: "n", Type: "Number", Value: []byte("7")}}
		}
		b.Records = append(b.Records, runtime.Record{Sequence: fmt.Sprintf("%08d-f796-459a-8184-9c92662be6da", 7-i), Data: []byte(body), Message: m})
	}
	return b
}

const everyValue = `{"s":{"S":"a\"b\u00fc <"},"n":{"N":"-1.50e3"},"b":{"B":"AP8="},"t":{"BOOL":true},"f":{"BOOL":false},"z":{"NULL":true},"ss":{"SS":["x","y"]},"ns":{"NS":["1","2.0"]},` +
	`"bs":{"BS":["AA==",""]},"l":{"L":[{"S":"in"},{"L":[]},{"M":{}},{"NULL":true}]},"m":{"M":{"deep":{"M":{"er":{"N":"0"}}}}},"es":{"S":""},"eb":{"B":""}}`

func changes(n int) *runtime.Batch {
	b := &runtime.Batch{Kind: runtime.KindDynamoDB, Shard: "shardId-00000001700000000000-0a1b2c3d", Region: "eu-west-1",
		ARN: "arn:aws:dynamodb:eu-west-1:000000000000:table/t/stream/2026-01-01T00:00:00.000"}
	for i := range n {
		sequence := fmt.Sprintf("4421584500000000017450439%03d", i)
		c := &runtime.Change{EventID: fmt.Sprintf("%032x", i+1), EventName: "INSERT"}
		data := `{"ApproximateCreationDateTime":1700000000.0,"Keys":{"id":{"N":"101"}},"NewImage":{"id":{"N":"101"},"name":{"S":"new"}},"SequenceNumber":"` + sequence + `","SizeBytes":16,"StreamViewType":"NEW_AND_OLD_IMAGES"}`
		if i%2 == 1 {
			c.EventName, c.IdentityType, c.IdentityPrincipal = "REMOVE", "Service", "dynamodb.amazonaws.com"
			data = `{"ApproximateCreationDateTime":1700000001,"Keys":{"id":{"S":""}},"OldImage":` + everyValue + `,"SequenceNumber":"` + sequence + `","SizeBytes":7,"StreamViewType":"OLD_IMAGE"}`
		}
		b.Records = append(b.Records, runtime.Record{Sequence: sequence, Data: []byte(data), Change: c})
	}
	return b
}

// in puts a batch into a window.
func in(b *runtime.Batch, state string, final bool) *runtime.Batch {
	b.Window = &runtime.Window{Start: time.Unix(1700000040, 0), End: time.Unix(1700000160, 0), State: []byte(state), Final: final, TerminatedEarly: final}
	return b
}

// seconds makes a batch with no fractions of a second: aws-lambda-go reads times by
// way of a float64 and loses up to a microsecond.
func seconds(b *runtime.Batch) *runtime.Batch {
	for i := range b.Records {
		b.Records[i].Arrival = 1700000050000 + 1000*int64(i)
	}
	return b
}

// TestHandlersDoAsOnLambda runs the same handlers twice: natively with the real
// library against a runtime API, and as WASM. Batches reach the latter by wm_batch
// and, as on Lambda, as JSON.
func TestHandlersDoAsOnLambda(t *testing.T) {
	kinesis := func(data ...string) *runtime.Batch { return seconds(batch(data...)) }
	tests := []struct {
		guest   string
		payload string
		batch   *runtime.Batch
		partial bool
	}{
		{guest: "kinesis-json", batch: kinesis("a", "", "\x00\xff")},
		{guest: "kinesis-error", batch: kinesis("a")},
		{guest: "kinesis-error", batch: kinesis("bad")},
		{guest: "kinesis-reply", batch: kinesis("a")},
		{guest: "kinesis-reply", batch: kinesis("empty"), partial: true},
		{guest: "kinesis-reply", batch: kinesis("a", "bad", "bad")},
		{guest: "kinesis-reply", batch: kinesis("a", "bad", "bad"), partial: true},
		{guest: "kinesis-reply", batch: kinesis("unknown"), partial: true},
		{guest: "kinesis-sorted", batch: kinesis("bad", "a", "bad"), partial: true},
		{guest: "kinesis-panic", batch: kinesis("a")},
		{guest: "sqs-json", batch: messages("hello", "{\"a\":\"Zürich\"}\n", "")},
		{guest: "sqs-nils", batch: messages("a", "b")},
		{guest: "sqs-error", batch: messages("a", "b")},
		{guest: "sqs", batch: messages("a", "b"), partial: true},
		{guest: "sqs", batch: messages("bad", "a", "b", "bad"), partial: true},
		{guest: "sqs", batch: messages("bad")},
		{guest: "dynamodb-json", batch: changes(3)},
		{guest: "dynamodb-types", batch: changes(2)},
		{guest: "dynamodb", batch: changes(1)},
		{guest: "dynamodb-reply", batch: changes(3), partial: true},
		{guest: "window-json", batch: in(kinesis("a"), `{"n":"2","other":"x"}`, false)},
		{guest: "window-json", batch: in(kinesis(), `{"n":"2","a\"b":"\u00fc"}`, true)},
		{guest: "window-json", batch: in(kinesis("a"), ``, false)},
		{guest: "window-json", batch: kinesis("a")},
		{guest: "window", batch: in(kinesis("a", "b"), ``, false)},
		{guest: "window", batch: in(kinesis("a", "bad"), `{"n":"40","quote\"":"line\n\u2028 <"}`, false), partial: true},
		{guest: "window", batch: in(kinesis("a", "bad"), `{ "n" : "40" }`, false)},
		{guest: "window", batch: in(kinesis(), `{"n":"2"}`, true), partial: true},
		{guest: "window-plain", batch: in(kinesis("a"), `{"n":1}`, false)},
		{guest: "window-pointer", batch: in(kinesis("a"), `{"n":"1"}`, false)},
		{guest: "window-json", batch: in(kinesis("a"), `{"n":1}`, false)}, // which aws-lambda-go cannot read
		{guest: "window-none", batch: in(kinesis("a"), ``, false)},
		{guest: "window-own", batch: in(kinesis("a"), `{"minutes":3}`, false)},
		{guest: "dynamodb-window-json", batch: in(changes(2), `{"n":"2"}`, false)},
		{guest: "dynamodb-window", batch: in(changes(2), `{"n":"2"}`, false), partial: true},
		{guest: "plain", payload: `{"name":"n<>&","n":1}`},
		{guest: "plain", payload: `{"name":1}`},
		{guest: "plain", payload: `{"name":"n"`},
		{guest: "plain", payload: `null`},
		{guest: "plain", payload: `[]`},
		{guest: "escaped", payload: `{"name":"<"}`},
		{guest: "indented", payload: `{"name":"n"}`},
		{guest: "strict", payload: `{"other":1}`},
		{guest: "number", payload: `{"n":1}`},
		{guest: "any", payload: `[1,"two",null,{"b":1.50,"a":1e3}]`},
		{guest: "any", payload: `null`},
		{guest: "nothing", payload: `{}`},
		{guest: "context-only", payload: `{}`},
		{guest: "context", payload: `{}`},
		{guest: "globals", payload: `{}`},
		{guest: "trace-id", payload: `{}`},
		{guest: "context-interface", payload: `{}`},
		{guest: "start-context", payload: `{}`},
		{guest: "start-handler-context", payload: `"abc"`},
		{guest: "handler-func", payload: `{"name":"<"}`},
		{guest: "two-values", payload: `{}`},
		{guest: "text", payload: `"a"`},
		{guest: "bytes", payload: `"YWJj"`},
		{guest: "raw-message", payload: `{ "a" : [1 , 2] }`},
		{guest: "several-values", payload: `{"n":1}`},
		{guest: "raw", payload: `"abc"`},
		{guest: "reader", payload: `{}`},
		{guest: "reader-json", payload: `{}`},
		{guest: "reader-struct", payload: `{}`},
		{guest: "url-streaming", payload: `{}`},
		{guest: "middleware", payload: `{"name":"n"}`},
		{guest: "unencodable", payload: `{}`},
		{guest: "error", payload: `{}`},
		{guest: "error-own", payload: `{}`},
		{guest: "error-wrapped", payload: `{}`},
		{guest: "error-joined", payload: `{}`},
		{guest: "error-struct", payload: `{}`},
		{guest: "error-nil-pointer", payload: `{}`},
		{guest: "error-typed-nil", payload: `{}`},
		{guest: "error-message", payload: `{}`},
		{guest: "error-message-stack", payload: `{}`},
		{guest: "error-message-pointer", payload: `{}`},
		{guest: "error-reader", payload: `{}`},
		{guest: "panic", payload: `{"name":"sea"}`},
		{guest: "panic-error", payload: `{}`},
		{guest: "panic-message", payload: `{}`},
		{guest: "panic-nil-map", payload: `{}`},
		{guest: "panic-deep", payload: `{}`},
		{guest: "deadline", payload: `{}`},
	}
	all := t // an environment is for all tests of its handler
	environments := make(map[string]runtime.Environment)
	for _, tt := range tests {
		t.Run(tt.guest, func(t *testing.T) {
			inv := runtime.Invocation{ID: requestID, Batch: tt.batch, Payload: []byte(tt.payload), PartialReplies: tt.partial}
			payload := inv.Payload
			if tt.batch != nil {
				inv.Payload, payload = nil, runtime.AppendJSON(nil, tt.batch)
			}
			want := onLambda(t, tt.guest, payload)
			runtime.Classify(&inv, nil, &want)
			if environments[tt.guest] == nil {
				environments[tt.guest], _ = start(all, tt.guest)
			}
			got := invoke(t, environments[tt.guest], inv)
			compare(t, "the module", &inv, got, want)
			if tt.batch != nil {
				byJSON := runtime.Invocation{ID: requestID, Payload: payload}
				compare(t, "the module, by JSON", &inv, invoke(t, environments[tt.guest], byJSON), want)
			}
		})
	}
}

// What Lambda would answer each invocation with, a build says before anything is
// deployed.
func TestImpossibleHandlersAreRefusedInTheWordsOfLambda(t *testing.T) {
	for _, guest := range []string{"bad-kind", "bad-nil", "bad-arguments", "bad-first", "bad-interface", "bad-result", "bad-results", "bad-many"} {
		want := onLambda(t, guest, []byte(`{}`))
		_, log, err := environment(t, guests.code, map[string]string{"CASE": guest})
		if err == nil || want.ErrorMessage == "" || !strings.Contains(err.Error(), want.ErrorMessage) {
			t.Errorf("%s: %v\non Lambda: %s\n%s", guest, err, want.ErrorMessage, log)
		}
	}
}

func compare(t *testing.T, who string, inv *runtime.Invocation, got, want runtime.Result) {
	t.Helper()
	runtime.Classify(inv, nil, &got)
	tell := func(r runtime.Result) string {
		return fmt.Sprintf("%v, state %s, failures %q, %s: %s", r.Outcome, r.State, r.Failures, r.ErrorType, r.ErrorMessage)
	}
	if tell(got) != tell(want) {
		t.Errorf("%s: %s\non Lambda: %s", who, tell(got), tell(want))
	}
	// A window's state is apart from the response, which history shows.
	if (inv.Batch == nil || inv.Batch.Window == nil) && string(got.Response) != string(want.Response) {
		t.Errorf("%s: %s\non Lambda: %s", who, got.Response, want.Response)
	}
	if !reflect.DeepEqual(own(t, got.StackTrace), own(t, want.StackTrace)) || (len(got.StackTrace) == 0) != (len(want.StackTrace) == 0) {
		t.Errorf("%s: stack %s\non Lambda: %s", who, got.StackTrace, want.StackTrace)
	}
}
