package kinesis

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	transport "github.com/aws/smithy-go/endpoints"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/stream/natsstream"
)

// emulator is the service on real storage behind a real port, and a client of AWS's.
type emulator struct {
	t   testing.TB
	url string
	*sdk.Client
	store   *natsstream.Store
	handler http.Handler
	limited bool
}

// emulate starts one that shows passing states for delay.
func emulate(t testing.TB, delay time.Duration, limits *Limits) *emulator {
	t.Helper()
	return emulateOn(t, natsdtest.Memory(t), delay, limits)
}

// emulateOn starts one on storage that may hold streams already.
func emulateOn(t testing.TB, srv *natsd.Server, delay time.Duration, limits *Limits) *emulator {
	t.Helper()
	logs := log.New(srv, log.Options{})
	store, err := natsstream.Open(t.Context(), srv, logs, natsstream.Options{StateDelay: delay})
	if err != nil {
		t.Fatalf("open store: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := errors.Join(store.Close(ctx), logs.Close(ctx)); err != nil {
			t.Errorf("close store: %v", err)
		}
	})
	h, err := wire.New(wire.Options{Services: []*wire.Service{New(Deps{Streams: store, StateDelay: delay, Limits: limits})}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(recording(h))
	t.Cleanup(server.Close)
	return &emulator{t: t, url: server.URL, store: store, handler: h, limited: limits != nil, Client: clientOf(server.URL, "us-east-1", "AKIDEXAMPLE")}
}

func clientOf(url, region, key string) *sdk.Client {
	return sdk.New(sdk.Options{
		EndpointResolverV2: pointer(url), Region: region, RetryMaxAttempts: 1, HTTPClient: &http.Client{Transport: steady{http.DefaultTransport}},
		Credentials: credentials.NewStaticCredentialsProvider(key, "secret", ""),
	})
}

// pointer points to one URL for whatever is asked. With only a base endpoint, the client
// would send calls that name a StreamId to a host of AWS's.
type pointer string

func (p pointer) ResolveEndpoint(context.Context, sdk.EndpointParameters) (transport.Endpoint, error) {
	u, err := url.Parse(string(p))
	if err != nil {
		return transport.Endpoint{}, err
	}
	return transport.Endpoint{URI: *u}, nil
}

// covered holds what calls that succeeded had in them: "Operation", "Operation.Member".
// The compatibility page says that something works only if it is in there.
var covered sync.Map

func recording(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		rec := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
		h.ServeHTTP(rec, r)
		_, op, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		var in any
		if rec.status == http.StatusOK && json.Unmarshal(body, &in) == nil {
			cover(op, in)
		}
	})
}

func cover(path string, in any) {
	covered.Store(path, true)
	switch in := in.(type) {
	case map[string]any:
		for name, v := range in {
			cover(path+"."+name, v)
		}
	case []any:
		for _, v := range in {
			cover(path+".member", v)
		}
	}
}

type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (r *statusRecorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}
func (r *statusRecorder) Flush() { r.ResponseWriter.(http.Flusher).Flush() }

// call sends a body as it is.
func (e *emulator) call(op, body string) (status int, answer string) {
	e.t.Helper()
	req, err := http.NewRequestWithContext(e.t.Context(), http.MethodPost, e.url, strings.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	req.Header.Set("X-Amz-Target", "Kinesis_20131202."+op)
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Date", "20260101T000000Z")
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=00")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		e.t.Fatalf("%s: %v", op, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		e.t.Fatalf("%s: %v", op, err)
	}
	return resp.StatusCode, string(b)
}

// must calls what has to succeed, given as "Operation {body}".
func (e *emulator) must(calls ...string) {
	e.t.Helper()
	for _, c := range calls {
		op, body, _ := strings.Cut(c, " ")
		if status, answer := e.call(op, body); status != http.StatusOK {
			e.t.Fatalf("%s %s = %d %s", op, body, status, answer)
		}
	}
}

// faultOf is the code and text of an error answer.
func faultOf(answer string) (code, text string) {
	var e struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}
	if err := json.Unmarshal([]byte(answer), &e); err != nil { // "Message" is taken for "message" too
		return "", answer
	}
	return e.Type, e.Message
}

// create makes a stream and returns its description.
func (e *emulator) create(name string, shards int) stream.Description {
	e.t.Helper()
	d, err := e.store.Create(e.t.Context(), stream.Local(name), stream.Config{Shards: shards})
	if err != nil {
		e.t.Fatalf("create %s: %v", name, err)
	}
	return d
}

// check ends the test if a call of the client failed.
func (e *emulator) check(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}
