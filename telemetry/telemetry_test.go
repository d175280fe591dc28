package telemetry

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/triggers"
)

func quakes() triggers.Mapping {
	return triggers.Mapping{Name: "quakes", Config: triggers.Config{Function: "energy", Stream: "quakes"}}
}

func TestMetricsBearAWSNames(t *testing.T) {
	tel, err := New(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tel.Shutdown(context.WithoutCancel(t.Context())) }()
	tel.Put("quakes", 5, 500)
	tel.Polled(quakes(), 5)
	tel.Delivered(quakes(), 5)
	tel.Failed(quakes(), 5)
	tel.Buried(quakes(), 1)
	tel.Lost(quakes(), 2, "retention")
	tel.Iterator(quakes(), 3*time.Millisecond)
	tel.Dropped(quakes(), 1)
	tel.Filtered(quakes(), 2)
	energy := functions.Version{Function: "energy", Version: functions.Unpublished}
	tel.Started(&runtime.Invocation{}, energy)
	for _, res := range []runtime.Result{{Outcome: runtime.Done, Duration: time.Millisecond}, {Outcome: runtime.Timeout, Duration: time.Second}, {Outcome: runtime.Throttled}, {Outcome: runtime.Infrastructure}} {
		tel.Started(&runtime.Invocation{}, energy)
		res.Version = energy
		tel.Ended(&runtime.Invocation{}, &res)
	}

	w := httptest.NewRecorder()
	tel.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	for _, want := range []string{
		`aws_lambda_Invocations_total{FunctionName="energy"} 2`, // neither throttles nor our own faults
		`aws_lambda_Errors_total{FunctionName="energy"} 1`,
		`aws_lambda_Throttles_total{FunctionName="energy"} 1`,
		`aws_lambda_ConcurrentExecutions{FunctionName="energy"} 1`,
		`aws_lambda_Duration_milliseconds_count{FunctionName="energy"} 2`,
		`aws_lambda_PolledEventCount_total{EventSourceMapping="quakes",FunctionName="energy"} 5`,
		`aws_lambda_InvokedEventCount_total{EventSourceMapping="quakes",FunctionName="energy"} 5`,
		`aws_lambda_FailedInvokeEventCount_total{EventSourceMapping="quakes",FunctionName="energy"} 5`,
		`aws_lambda_DroppedEventCount_total{EventSourceMapping="quakes",FunctionName="energy"} 1`,
		`aws_lambda_FilteredOutEventCount_total{EventSourceMapping="quakes",FunctionName="energy"} 2`,
		`wasmill_DeadLetterCount_total{EventSourceMapping="quakes",FunctionName="energy"} 1`,
		`wasmill_LostEventCount_total{EventSourceMapping="quakes",FunctionName="energy",Reason="retention"} 2`,
		`aws_lambda_IteratorAge_milliseconds_sum{EventSourceMapping="quakes",FunctionName="energy"} 3`,
		`aws_kinesis_IncomingRecords_total{StreamName="quakes"} 5`,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("scrape lacks %s", want)
		}
	}
	if t.Failed() {
		t.Log(w.Body.String())
	}
}

// TestBatchSpanLinksToPuts pushes a batch's span to a collector and finds the
// producer's trace in it.
func TestBatchSpanLinksToPuts(t *testing.T) {
	var mu sync.Mutex
	var traces bytes.Buffer
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			body, _ = gzip.NewReader(r.Body)
		}
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path == "/v1/traces" {
			_, _ = io.Copy(&traces, body)
		}
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	tel, err := New(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	const put = "4bf92f3577b34da6a3ce929d0e0e4736"
	inv := &runtime.Invocation{ID: "r1", Batch: &runtime.Batch{Shard: "shardId-000000000000", Records: []runtime.Record{
		{Sequence: "1"}, {Sequence: "2", TraceParent: "00-" + put + "-00f067aa0ba902b7-01"}, {Sequence: "3", TraceParent: "garbage"},
	}}}
	_, done := tel.Batch(t.Context(), quakes(), inv)
	done(runtime.Result{Outcome: runtime.FunctionError, ErrorType: "errorString", ErrorMessage: "negative"})
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	id, _ := hex.DecodeString(put)
	for _, want := range []string{"batch quakes", string(id), "errorString: negative"} {
		if !bytes.Contains(traces.Bytes(), []byte(want)) {
			t.Errorf("pushed traces lack %q", want)
		}
	}
}
