// Handlers holds a Lambda function of each type there is; CASE says which runs.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"log"
	"maps"
	"math/rand"
	randv2 "math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing/iotest"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambda/handlertrace"
	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

type in struct {
	Name string `json:"name"`
	N    int    `json:"n"`
}

type out struct {
	Greeting string `json:"greeting"`
}

type ownError struct{ code int }

func (e *ownError) Error() string { return fmt.Sprintf("code %d", e.code) }

type kinesisHandler func(context.Context, events.KinesisEvent) (string, error)

type rawHandler struct{}

func (rawHandler) Invoke(_ context.Context, b []byte) ([]byte, error) {
	return []byte(strings.ToUpper(string(b))), nil
}

type middleware struct{ next lambda.Handler }

func (m middleware) Invoke(ctx context.Context, b []byte) ([]byte, error) {
	var seen []string
	ctx = handlertrace.NewContext(ctx, handlertrace.HandlerTrace{
		RequestEvent:  func(_ context.Context, v interface{}) { seen = append(seen, fmt.Sprintf("in %v", v)) },
		ResponseEvent: func(_ context.Context, v interface{}) { seen = append(seen, fmt.Sprintf("out %v", v)) },
	})
	if _, err := m.next.Invoke(ctx, b); err != nil {
		return nil, err
	}
	return json.Marshal(seen)
}

type reader struct {
	from   io.Reader
	closed *bool
}

func (r reader) Read(b []byte) (int, error) { return r.from.Read(b) }
func (r reader) Close() error               { *r.closed = true; return nil }

type key struct{}

// failing names the records whose data say so.
func failing(e events.KinesisEvent) (r events.KinesisEventResponse, err error) {
	for _, record := range e.Records {
		switch string(record.Kinesis.Data) {
		case "bad":
			r.BatchItemFailures = append(r.BatchItemFailures, events.KinesisBatchItemFailure{ItemIdentifier: record.Kinesis.SequenceNumber})
		case "unknown":
			r.BatchItemFailures = append(r.BatchItemFailures, events.KinesisBatchItemFailure{ItemIdentifier: "no such"})
		case "empty":
			r.BatchItemFailures = []events.KinesisBatchItemFailure{}
		}
	}
	return r, nil
}

// record, failure and reply are as those of wasmill's package functions/emit.
type record struct {
	Stream         string `json:"stream"`
	PartitionKey   string `json:"partitionKey"`
	Data           []byte `json:"data"`
	ItemIdentifier string `json:"itemIdentifier,omitempty"`
}

type failure struct {
	ItemIdentifier string `json:"itemIdentifier"`
}

type reply struct {
	BatchItemFailures []failure `json:"batchItemFailures"`
	Emit              []record  `json:"emit"`
}

// Other types of replies, and types that only JSON can tell of.
type (
	alone struct {
		Emit []record `json:"emit"`
	}
	counted struct {
		Count             int                              `json:"count"`
		Emit              []record                         `json:"emit,omitempty"`
		BatchItemFailures []events.KinesisBatchItemFailure `json:"batchItemFailures,omitempty"`
	}
	embedded struct {
		events.KinesisEventResponse
		Emit []struct {
			Weight       float64
			Data         []byte `json:"data"`
			PartitionKey string `json:"partitionKey"`
			Stream       string `json:"stream"`
			unseen       string
			Item         string `json:"itemIdentifier"`
		} `json:"emit"`
	}
	reasoned struct {
		Emit              []record `json:"emit"`
		BatchItemFailures []struct {
			Reason         string `json:"reason"`
			ItemIdentifier string `json:"itemIdentifier"`
		} `json:"batchItemFailures"`
	}
	pointers struct {
		Emit              []*record `json:"emit"`
		BatchItemFailures []failure `json:"batchItemFailures"`
	}
	omitting struct {
		Emit []struct {
			Stream       string `json:"stream"`
			PartitionKey string `json:"partitionKey"`
			Data         []byte `json:"data,omitempty"`
		} `json:"emit"`
	}
	written struct {
		Emit []marshaled `json:"emit"`
	}
	marshaled record
	raw       struct {
		Emit []struct {
			Stream       string          `json:"stream"`
			PartitionKey string          `json:"partitionKey"`
			Data         json.RawMessage `json:"data"`
		} `json:"emit"`
	}
	whole reply
	twice struct {
		Emit  []record `json:"emit"`
		Other []record `json:"emit"`
	}
)

func (m *marshaled) MarshalJSON() ([]byte, error) {
	m.PartitionKey += "!"
	return json.Marshal((*record)(m))
}

func (whole) MarshalJSON() ([]byte, error) { return []byte(`{"emit":"gone"}`), nil }

// emitting does to a record what its data say: emit WORD, or more of them parted
// by commas, each one of "stream/key/data", or fail.
func emitting(e events.KinesisEvent) (r reply) {
	for _, in := range e.Records {
		for _, word := range strings.Split(string(in.Kinesis.Data), ",") {
			item := in.Kinesis.SequenceNumber
			if strings.HasPrefix(word, "-") {
				item, word = "", word[1:]
			}
			part := strings.Split(word, "/")
			switch {
			case word == "fail":
				r.BatchItemFailures = append(r.BatchItemFailures, failure{item})
			case word == "none":
				r.BatchItemFailures, r.Emit = []failure{}, []record{}
			case word == "fail-unknown":
				r.BatchItemFailures = append(r.BatchItemFailures, failure{"7"})
			case len(part) == 4:
				r.Emit = append(r.Emit, record{part[0], part[1], []byte(part[2]), part[3]})
			case len(part) == 3:
				r.Emit = append(r.Emit, record{part[0], part[1], []byte(part[2]), item})
			case len(part) == 2:
				r.Emit = append(r.Emit, record{part[0], part[1], nil, item})
			}
		}
	}
	return r
}

// untagged has a mistake that compiles: its records' keys are in another case.
type untagged struct {
	Emit []struct {
		Stream, PartitionKey string
		Data                 []byte
	} `json:"emit"`
}

// as gives a reply another type with the same JSON, as far as it has the fields.
func as[T any](r reply) (out T) {
	b, err := json.Marshal(r)
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		panic(err)
	}
	return out
}

// emits starts a handler that returns what it is asked for, in several types.
func emits(name string) {
	switch name {
	case "reply":
		lambda.Start(func(_ context.Context, e events.KinesisEvent) (reply, error) { return emitting(e), nil })
	case "pointer":
		lambda.Start(func(_ context.Context, e events.KinesisEvent) (*reply, error) {
			if len(e.Records) == 0 {
				return nil, nil
			}
			r := emitting(e)
			return &r, nil
		})
	case "interface":
		lambda.Start(func(e events.KinesisEvent) (any, error) { return emitting(e), nil })
	case "kept":
		var kept []*reply
		lambda.Start(func(e events.KinesisEvent) (*reply, error) {
			for _, r := range kept {
				if len(r.Emit) != 1 {
					panic("a reply was changed after it was returned")
				}
			}
			r := emitting(e)
			kept = append(kept, &r)
			return &r, nil
		})
	case "alone":
		lambda.Start(func(e events.KinesisEvent) (alone, error) { return as[alone](emitting(e)), nil })
	case "counted":
		lambda.Start(func(e events.KinesisEvent) (counted, error) {
			r := as[counted](emitting(e))
			r.Count = len(e.Records)
			return r, nil
		})
	case "embedded":
		lambda.Start(func(e events.KinesisEvent) (*embedded, error) { r := as[embedded](emitting(e)); return &r, nil })
	case "reasoned":
		lambda.Start(func(e events.KinesisEvent) (reasoned, error) { return as[reasoned](emitting(e)), nil })
	case "pointers":
		lambda.Start(func(e events.KinesisEvent) (pointers, error) { return as[pointers](emitting(e)), nil })
	case "omitting":
		lambda.Start(func(e events.KinesisEvent) (omitting, error) { return as[omitting](emitting(e)), nil })
	case "written":
		lambda.Start(func(e events.KinesisEvent) (r written, err error) {
			for _, out := range emitting(e).Emit {
				r.Emit = append(r.Emit, marshaled(out))
			}
			return r, nil
		})
	case "raw":
		lambda.Start(func(e events.KinesisEvent) (raw, error) { return as[raw](emitting(e)), nil })
	case "whole":
		lambda.Start(func(e events.KinesisEvent) (whole, error) { return whole(emitting(e)), nil })
	case "twice":
		lambda.Start(func(e events.KinesisEvent) (twice, error) { r := emitting(e).Emit; return twice{r, r}, nil })
	case "untagged":
		lambda.Start(func(e events.KinesisEvent) (untagged, error) { return as[untagged](emitting(e)), nil })
	case "indented":
		lambda.StartWithOptions(func(e events.KinesisEvent) (reply, error) { return emitting(e), nil }, lambda.WithSetIndent("", " "))
	case "many", "many-json":
		// 100 records of 1 KB, the same each time.
		r := reply{}
		for i := range 100 {
			r.Emit = append(r.Emit, record{Stream: "alerts", PartitionKey: fmt.Sprint("key-", i%7), Data: make([]byte, 1024)})
		}
		if name == "many" {
			lambda.Start(func(e events.KinesisEvent) (reply, error) { return r, nil })
		}
		p := as[pointers](r)
		lambda.Start(func(e events.KinesisEvent) (pointers, error) { return p, nil })
	}
	panic("no such emits: " + name)
}

// added is a window's state with n more.
func added(state map[string]string, n int) map[string]string {
	before, _ := strconv.Atoi(state["n"])
	out := map[string]string{"n": strconv.Itoa(before + n)}
	for k, v := range state {
		if k != "n" {
			out[k] = v + "!"
		}
	}
	return out
}

type valueError struct{ text string }

func (e valueError) Error() string { return e.text }

type namedReader struct {
	io.Reader `json:"-"`
	Name      string `json:"name"`
}

func deep(n int) int {
	if n == 0 {
		panic(fmt.Errorf("deep: %w", &ownError{10}))
	}
	return deep(n-1) + 1
}

// random is what the several generators say that nobody seeds.
func random() []string {
	m := make(map[int]bool)
	for i := range 100 {
		m[i] = true
	}
	order := make([]int, 0, len(m))
	for k := range m {
		order = append(order, k)
	}
	var h maphash.Hash
	return []string{fmt.Sprint(rand.Uint64()), fmt.Sprint(randv2.Uint64()), fmt.Sprint(h.Sum64()), fmt.Sprint(order)}
}

var kept [][]byte

func main() {
	closed := false
	if name, ok := strings.CutPrefix(os.Getenv("CASE"), "emit-"); ok {
		emits(name)
	}
	switch c := os.Getenv("CASE"); c {
	case "kinesis-error":
		lambda.Start(func(ctx context.Context, e events.KinesisEvent) error {
			for _, r := range e.Records {
				if string(r.Kinesis.Data) == "bad" {
					return fmt.Errorf("record %s: bad", r.Kinesis.PartitionKey)
				}
			}
			return nil
		})
	case "kinesis-json":
		lambda.Start(func(_ context.Context, e events.KinesisEvent) (events.KinesisEvent, error) { return e, nil })
	case "kinesis-pointer":
		lambda.Start(func(e *events.KinesisEvent) (int, error) { return len(e.Records), nil })
	case "kinesis-nothing":
		lambda.Start(func(e events.KinesisEvent) { fmt.Println("records:", len(e.Records)) })
	case "kinesis-named":
		lambda.Start(kinesisHandler(func(_ context.Context, e events.KinesisEvent) (string, error) {
			return e.Records[0].Kinesis.PartitionKey, nil
		}))
	case "kinesis-generic":
		lambda.StartHandlerFunc(func(_ context.Context, e events.KinesisEvent) (string, error) {
			return e.Records[0].EventID, nil
		})
	case "kinesis-reply":
		lambda.Start(func(_ context.Context, e events.KinesisEvent) (events.KinesisEventResponse, error) { return failing(e) })
	case "kinesis-sorted":
		lambda.Start(func(_ context.Context, e events.KinesisEvent) (*events.KinesisEventResponse, error) {
			slices.Reverse(e.Records)
			r, err := failing(e)
			return &r, err
		})
	case "kinesis-panic":
		lambda.Start(func(_ context.Context, e events.KinesisEvent) error {
			fmt.Println(e.Records[len(e.Records)].EventID)
			return nil
		})
	case "kinesis-keep":
		lambda.Start(func(_ context.Context, e events.KinesisEvent) (string, error) {
			for _, r := range e.Records {
				kept = append(kept, r.Kinesis.Data)
			}
			var all []string
			for _, b := range kept {
				all = append(all, string(b))
			}
			return strings.Join(all, ","), nil
		})
	case "kinesis-window":
		lambda.Start(func(_ context.Context, e events.KinesisTimeWindowEvent) (int, error) { return len(e.Records), nil })
	case "window-json":
		lambda.Start(func(e events.KinesisTimeWindowEvent) (events.KinesisTimeWindowEvent, error) { return e, nil })
	case "window":
		lambda.Start(func(_ context.Context, e *events.KinesisTimeWindowEvent) (r events.KinesisTimeWindowEventResponse, err error) {
			f, err := failing(e.KinesisEvent)
			r.BatchItemFailures = f.BatchItemFailures
			r.State = added(e.State, len(e.Records))
			if e.IsFinalInvokeForWindow {
				r.State = nil
			}
			return r, err
		})
	case "window-plain":
		lambda.Start(func(e events.KinesisEvent) (map[string]any, error) {
			return map[string]any{"state": map[string]any{"n": len(e.Records)}}, nil
		})
	case "window-pointer":
		lambda.Start(func(e events.KinesisTimeWindowEvent) (*events.TimeWindowEventResponseProperties, error) {
			return &events.TimeWindowEventResponseProperties{State: added(e.State, 1)}, nil
		})
	case "window-none":
		lambda.Start(func(e events.KinesisTimeWindowEvent) error { return nil })
	case "window-own":
		lambda.Start(func(e struct {
			State  map[string]int `json:"state"`
			Window struct{ Start, End time.Time }
		}) (map[string]any, error) {
			e.State["minutes"] += int(e.Window.End.Sub(e.Window.Start).Minutes())
			return map[string]any{"state": e.State, "batchItemFailures": nil}, nil
		})
	case "dynamodb-window-json":
		lambda.Start(func(e events.DynamoDBTimeWindowEvent) (events.DynamoDBTimeWindowEvent, error) { return e, nil })
	case "dynamodb-window":
		lambda.Start(func(e events.DynamoDBTimeWindowEvent) (r events.DynamoDBTimeWindowEventResponse, _ error) {
			r.State = added(e.State, len(e.Records))
			for _, c := range e.Records {
				if c.EventName == "REMOVE" {
					r.BatchItemFailures = append(r.BatchItemFailures, events.DynamoDBBatchItemFailure{ItemIdentifier: c.Change.SequenceNumber})
				}
			}
			return r, nil
		})
	case "dynamodb-json":
		lambda.Start(func(_ context.Context, e events.DynamoDBEvent) (events.DynamoDBEvent, error) { return e, nil })
	case "dynamodb-quiet":
		lambda.Start(func(_ context.Context, e events.DynamoDBEvent) (events.DynamoDBEventResponse, error) {
			return events.DynamoDBEventResponse{}, nil
		})
	case "dynamodb-reply":
		lambda.Start(func(_ context.Context, e events.DynamoDBEvent) (r events.DynamoDBEventResponse, _ error) {
			for _, c := range e.Records[1:] {
				r.BatchItemFailures = append(r.BatchItemFailures, events.DynamoDBBatchItemFailure{ItemIdentifier: c.Change.SequenceNumber})
			}
			return r, nil
		})
	case "dynamodb-types":
		lambda.Start(func(e *events.DynamoDBEvent) (out []string, err error) {
			for _, r := range e.Records {
				for name, v := range r.Change.OldImage {
					out = append(out, fmt.Sprint(name, " ", v.DataType(), " ", v.IsNull(), " ", v))
				}
				out = append(out, fmt.Sprint(r.Change.Keys == nil, r.Change.NewImage == nil, r.Change.OldImage == nil, r.UserIdentity == nil))
			}
			slices.Sort(out)
			return out, nil
		})
	case "sqs-json":
		lambda.Start(func(e events.SQSEvent) (events.SQSEvent, error) { return e, nil })
	case "sqs-error":
		lambda.Start(func(_ context.Context, e events.SQSEvent) error {
			return fmt.Errorf("%d messages: %w", len(e.Records), &ownError{len(e.Records)})
		})
	case "sqs-nils":
		lambda.Start(func(e events.SQSEvent) (out []bool, _ error) {
			for _, m := range e.Records {
				out = append(out, m.Attributes == nil, m.MessageAttributes == nil)
				for _, name := range slices.Sorted(maps.Keys(m.MessageAttributes)) {
					a := m.MessageAttributes[name]
					out = append(out, a.StringValue == nil, a.BinaryValue == nil, a.StringListValues == nil, a.BinaryListValues == nil)
				}
			}
			return out, nil
		})
	case "sqs":
		lambda.Start(func(_ context.Context, e events.SQSEvent) (r events.SQSEventResponse, err error) {
			for _, m := range e.Records {
				if m.Body == "bad" {
					r.BatchItemFailures = append(r.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: m.MessageId})
				}
			}
			return r, nil
		})
	case "dynamodb":
		lambda.Start(func(_ context.Context, e events.DynamoDBEvent) (string, error) {
			return e.Records[0].Change.NewImage["id"].String() + " " + e.Records[0].Change.Keys["n"].Number(), nil
		})
	case "plain":
		lambda.Start(func(_ context.Context, e in) (out, error) { return out{"<" + e.Name + ">"}, nil })
	case "escaped":
		lambda.StartWithOptions(func(e in) (out, error) { return out{"<" + e.Name + ">"}, nil }, lambda.WithSetEscapeHTML(true))
	case "untagged":
		lambda.Start(func(e events.KinesisEvent) (untagged, error) { return as[untagged](emitting(e)), nil })
	case "indented":
		lambda.StartWithOptions(func(e in) (out, error) { return out{e.Name}, nil }, lambda.WithSetIndent("", " "))
	case "strict":
		lambda.StartWithOptions(func(e in) error { return nil }, lambda.WithDisallowUnknownFields(true))
	case "number":
		lambda.StartWithOptions(func(e map[string]any) (string, error) { return fmt.Sprintf("%T", e["n"]), nil }, lambda.WithUseNumber(true))
	case "any":
		lambda.Start(func(e any) (any, error) { return e, nil })
	case "nothing":
		lambda.Start(func() {})
	case "context-only":
		lambda.Start(func(ctx context.Context) (out, error) { return out{fmt.Sprint(ctx != nil)}, nil })
	case "raw":
		lambda.StartHandler(rawHandler{})
	case "reader":
		lambda.Start(func() (io.Reader, error) { return strings.NewReader("<html>"), nil })
	case "closer":
		lambda.Start(func() (io.Reader, error) {
			if closed {
				return strings.NewReader("was closed"), nil
			}
			return reader{strings.NewReader("open"), &closed}, nil
		})
	case "middleware":
		lambda.Start(middleware{lambda.NewHandler(func(e in) (out, error) { return out{e.Name}, nil })})
	case "new-handler":
		lambda.Start(lambda.NewHandlerWithOptions(func(e events.KinesisEvent) (int, error) { return len(e.Records), nil }))
	case "context":
		lambda.StartWithOptions(func(ctx context.Context) (map[string]any, error) {
			lc, _ := lambdacontext.FromContext(ctx)
			deadline, ok := ctx.Deadline()
			return map[string]any{
				"id": lc.AwsRequestID, "arn": lc.InvokedFunctionArn, "name": lambdacontext.FunctionName, "memory": lambdacontext.MemoryLimitInMB,
				"version": lambdacontext.FunctionVersion, "deadline": ok && time.Until(deadline) > 0, "value": ctx.Value(key{}), "error": ctx.Err() == nil,
			}, nil
		}, lambda.WithContextValue(key{}, "mine"), lambda.WithEnableSIGTERM(func() {}))
	case "deadline":
		lambda.Start(func(ctx context.Context) (string, error) {
			child, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
			defer cancel()
			<-child.Done()
			return fmt.Sprint(child.Err(), ctx.Err()), nil
		})
	case "cancelled":
		var last context.Context
		lambda.Start(func(ctx context.Context) (string, error) {
			defer func() { last = ctx }()
			if last == nil {
				go func() { <-ctx.Done() }()
				return "", nil
			}
			<-last.Done()
			return last.Err().Error(), nil
		})
	case "error":
		lambda.Start(func() error { return errors.New("no") })
	case "error-own":
		lambda.Start(func() error { return &ownError{7} })
	case "error-wrapped":
		lambda.Start(func() error { return fmt.Errorf("outer: %w", &ownError{9}) })
	case "error-joined":
		lambda.Start(func() error { return errors.Join(errors.New("a"), errors.New("b")) })
	case "error-struct":
		lambda.Start(func() error { return valueError{"v"} })
	case "error-nil-pointer":
		lambda.Start(func() (*out, error) { return nil, nil })
	case "error-typed-nil":
		lambda.Start(func() *ownError { return &ownError{11} })
	case "error-message-stack":
		lambda.Start(func() error {
			return messages.InvokeResponse_Error{Type: "T", Message: "m", StackTrace: []*messages.InvokeResponse_Error_StackFrame{{Path: "a.go", Line: 3, Label: "f"}}}
		})
	case "error-message-pointer":
		lambda.Start(func() error { return &messages.InvokeResponse_Error{Type: "T", Message: "m"} })
	case "error-reader":
		lambda.Start(func() (io.Reader, error) {
			return io.MultiReader(strings.NewReader("part"), iotest.ErrReader(&ownError{12})), nil
		})
	case "unencodable":
		lambda.Start(func() (map[string]any, error) { return map[string]any{"f": func() {}}, nil })
	case "panic-message":
		lambda.Start(func() { panic(messages.InvokeResponse_Error{Type: "Own.Panic", Message: "m"}) })
	case "panic-nil-map":
		lambda.Start(func() {
			var m map[string]int
			m["a"] = 1
		})
	case "panic-deep":
		lambda.Start(func() { deep(3) })
	case "url-streaming":
		lambda.Start(func() (*events.LambdaFunctionURLStreamingResponse, error) {
			return &events.LambdaFunctionURLStreamingResponse{Body: strings.NewReader("<html>")}, nil
		})
	case "reader-json":
		lambda.Start(func() (io.Reader, error) { return strings.NewReader(`{"a": 1}`), nil })
	case "reader-struct":
		lambda.Start(func() (namedReader, error) { return namedReader{strings.NewReader("x"), "n"}, nil })
	case "trace-id":
		lambda.Start(func(ctx context.Context) (string, error) { return ctx.Value("x-amzn-trace-id").(string), nil })
	case "handler-func":
		lambda.StartHandlerFunc(func(_ context.Context, e in) (out, error) { return out{e.Name}, nil }, lambda.WithSetEscapeHTML(true))
	case "start-context":
		lambda.StartWithContext(context.WithValue(context.Background(), key{}, "base"), func(ctx context.Context) (any, error) { return ctx.Value(key{}), nil })
	case "start-handler-context":
		lambda.StartHandlerWithContext(context.Background(), rawHandler{})
	case "two-values":
		lambda.Start(func(in) (out, *ownError) { return out{"x"}, &ownError{13} })
	case "context-interface":
		lambda.Start(func(ctx interface {
			Deadline() (time.Time, bool)
			Done() <-chan struct{}
			Err() error
			Value(any) any
		}) (bool, error) {
			_, ok := ctx.Deadline()
			return ok, nil
		})
	case "text":
		lambda.Start(func(e string) (string, error) { return e + "\u2028<", nil })
	case "bytes":
		lambda.Start(func(e []byte) ([]byte, error) { return append(e, '!'), nil })
	case "raw-message":
		lambda.Start(func(e json.RawMessage) (json.RawMessage, error) { return e, nil })
	case "several-values":
		lambda.Start(func(e in) (map[string]any, error) { return map[string]any{"b": e.N, "a": []int(nil), "c": nil}, nil })
	case "ticking":
		var ticks atomic.Int64
		started := false
		lambda.Start(func() (int64, error) {
			if !started {
				started = true
				go func() {
					for {
						ticks.Add(1)
						runtime.Gosched()
					}
				}()
				time.Sleep(time.Millisecond)
			}
			return ticks.Load(), nil
		})
	case "fatal":
		lambda.Start(func() { log.Fatal("it is over") })
	case "random":
		lambda.Start(func() (out []string, _ error) { return random(), nil })
	case "globals":
		lambda.Start(func() (map[string]any, error) {
			return map[string]any{"group": lambdacontext.LogGroupName, "stream": lambdacontext.LogStreamName, "name": lambdacontext.FunctionName,
				"version": lambdacontext.FunctionVersion, "memory": lambdacontext.MemoryLimitInMB}, nil
		})
	case "error-message":
		lambda.Start(func() error { return messages.InvokeResponse_Error{Type: "Payment.Refused", Message: "no money"} })
	case "panic":
		lambda.Start(func(e in) { panic("at " + e.Name) })
	case "panic-error":
		lambda.Start(func() { panic(&ownError{8}) })
	case "live":
		lambda.Start(func() (int, error) {
			live := 0
			var kept [][]byte
			for len(kept) < 60 {
				kept = append(kept, make([]byte, 1<<20))
				for range 4 {
					live += len(make([]byte, 1<<20)) // garbage
				}
			}
			return len(kept), nil
		})
	case "exit":
		calls := 0
		lambda.Start(func() { calls++; os.Exit(2 + calls) })

	case "bad-kind":
		lambda.Start("handle")
	case "bad-nil":
		lambda.Start(nil)
	case "bad-arguments":
		lambda.Start(func(a, b, c int) {})
	case "bad-first":
		lambda.Start(func(a int, e in) error { return nil })
	case "bad-interface":
		lambda.Start(func(r io.Reader) error { return nil })
	case "bad-result":
		lambda.Start(func(e in) out { return out{} })
	case "bad-results":
		lambda.Start(func(e in) (error, out) { return nil, out{} })
	case "bad-event":
		lambda.Start(func(e chan int) error { return nil })
	case "bad-many":
		lambda.Start(func(e in) (out, out, error) { return out{}, out{}, nil })
	case "bad-return":
		return
	case "bad-exit":
		fmt.Fprintln(os.Stderr, "no configuration")
		os.Exit(1)
	default:
		panic("no case " + c)
	}
}
