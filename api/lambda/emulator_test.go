package lambda

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/dlq/morgue"
	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/functions/store"
	"github.com/wasmill/wasmill/internal/kv"
	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/internal/s3"
	"github.com/wasmill/wasmill/runtime/pool"
	"github.com/wasmill/wasmill/runtime/wasm"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/stream/natsstream"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/journal"
	"github.com/wasmill/wasmill/triggers/poll"
	"github.com/wasmill/wasmill/triggers/relay"
)

// emulator is the service on everything it stands on, behind a real port, and a client of
// AWS's.
type emulator struct {
	t   testing.TB
	url string
	*sdk.Client
	registry *store.Store
	streams  *natsstream.Store
	pool     *pool.Pool
	deps     Deps
	service  *wire.Service
	handler  http.Handler
	compile  func() // begins to; until then functions are Pending
}

// options shape an emulator.
type options struct {
	idle    bool // compiles nothing until it is told to
	objects Objects
}

func emulate(t testing.TB, o options) *emulator {
	t.Helper()
	ctx := t.Context()
	srv := natsdtest.Memory(t)
	engine, err := wasm.NewEngine(ctx, wasm.Options{CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	registry, err := store.Open(ctx, srv, engine)
	if err != nil {
		t.Fatal(err)
	}
	runner := pool.New(registry, engine, pool.Options{})
	registry.Watch(runner.Changed)
	logs := log.New(srv, log.Options{})
	streams, err := natsstream.Open(ctx, srv, logs, natsstream.Options{})
	if err != nil {
		t.Fatal(err)
	}
	journals := journal.Open(srv, journal.Options{})
	letters, err := morgue.Open(ctx, srv, journals)
	if err != nil {
		t.Fatal(err)
	}
	mappings, err := kv.Open[triggers.Mapping](ctx, srv, "triggers")
	if err != nil {
		t.Fatal(err)
	}
	carrier := relay.New(srv, journals, letters, streams, nil)
	manager := poll.New(poll.Deps{Streams: streams, Journals: journals, Mappings: mappings, Invoker: runner, Relay: carrier, Letters: letters, Functions: registry})
	if err := manager.Start(ctx); err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { _ = carrier.Run(running) })
	compile := sync.OnceFunc(func() { wg.Go(func() { _ = registry.Run(running) }) })
	if !o.idle {
		compile()
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err := manager.Close(ctx)
		stop()
		wg.Wait()
		if err := errors.Join(err, runner.Close(ctx), engine.Close(ctx), streams.Close(ctx), logs.Close(ctx)); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	if o.objects == nil {
		if o.objects, err = s3.New(s3.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	e := &emulator{t: t, registry: registry, streams: streams, pool: runner, compile: compile,
		deps: Deps{Functions: registry, Invoker: runner, Mappings: manager, Streams: streams, Objects: o.objects, Endpoint: "http://here"}}
	e.url = e.serve(e.deps)
	e.Client = e.client("us-east-1", "AKIDEXAMPLE")
	return e
}

// serve gives a service with d a port of its own.
func (e *emulator) serve(d Deps) (url string) {
	e.t.Helper()
	e.service = recording(New(d))
	h, err := wire.New(wire.Options{Services: []*wire.Service{e.service}})
	if err != nil {
		e.t.Fatal(err)
	}
	e.handler = h
	server := httptest.NewServer(h)
	e.t.Cleanup(server.Close)
	return server.URL
}

func (e *emulator) client(region, key string) *sdk.Client {
	return sdk.New(sdk.Options{
		BaseEndpoint: aws.String(e.url), Region: region, RetryMaxAttempts: 1, HTTPClient: &http.Client{Transport: steady{http.DefaultTransport}},
		Credentials: credentials.NewStaticCredentialsProvider(key, "secret", ""),
	})
}

// steady keeps request bodies in memory and open: see package kinesis's test of that name.
type steady struct{ http.RoundTripper }

func (s steady) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		return s.RoundTripper.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(body))
	return s.RoundTripper.RoundTrip(r)
}

// covered holds what calls that succeeded had in them: "Operation", "Operation.Member".
// The compatibility page says that something works only if it is in there.
var covered sync.Map

// recording notes what calls of s that succeed have in them.
func recording(s *wire.Service) *wire.Service {
	for _, op := range s.Ops {
		do := op.Do
		op.Do = func(ctx context.Context, c *wire.Call) (any, error) {
			out, err := do(ctx, c)
			if err == nil {
				cover(op.Name, map[string]any(c.In))
			}
			return out, err
		}
	}
	return s
}

func cover(path string, in any) {
	covered.Store(path, true)
	switch in := in.(type) {
	case wire.Values:
		cover(path, map[string]any(in))
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

// got is what came of a call.
type got struct {
	status int
	header http.Header
	body   string
}

// call sends a request as it is.
func (e *emulator) call(method, path, body string, header ...string) got {
	e.t.Helper()
	req, err := http.NewRequestWithContext(e.t.Context(), method, e.url+path, strings.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Amz-Date", "20260101T000000Z")
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature=00")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		e.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		e.t.Fatalf("%s %s: %v", method, path, err)
	}
	return got{resp.StatusCode, resp.Header, string(b)}
}

// object is the body as one.
func (a got) object(t testing.TB) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("%s: %v", a.body, err)
	}
	return v
}

const role = "arn:aws:iam::000000000000:role/r"

// deploy makes a function as tools do, and waits until it is active.
func (e *emulator) deploy(name string, code []byte, change ...func(*sdk.CreateFunctionInput)) *sdk.CreateFunctionOutput {
	e.t.Helper()
	in := &sdk.CreateFunctionInput{FunctionName: &name, Role: aws.String(role), Runtime: types.RuntimeProvidedal2023, Handler: aws.String("bootstrap"),
		Code: &types.FunctionCode{ZipFile: zipped(e.t, "bootstrap", code)}}
	for _, f := range change {
		f(in)
	}
	out, err := e.CreateFunction(e.t.Context(), in)
	e.check(err)
	e.check(sdk.NewFunctionActiveV2Waiter(e).Wait(e.t.Context(), &sdk.GetFunctionInput{FunctionName: &name}, time.Minute, func(o *sdk.FunctionActiveV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = 5*time.Millisecond, 50*time.Millisecond
	}))
	return out
}

// updated waits until the last change of a function is done.
func (e *emulator) updated(name string) {
	e.t.Helper()
	e.check(sdk.NewFunctionUpdatedV2Waiter(e).Wait(e.t.Context(), &sdk.GetFunctionInput{FunctionName: &name}, time.Minute, func(o *sdk.FunctionUpdatedV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = 5*time.Millisecond, 50*time.Millisecond
	}))
}

// stream makes a stream.
func (e *emulator) stream(name string) {
	e.t.Helper()
	_, err := e.streams.Create(e.t.Context(), stream.Local(name), stream.Config{Shards: 1})
	e.check(err)
}

// latest is $LATEST as the registry has it.
func (e *emulator) latest(name string) functions.Version {
	e.t.Helper()
	v, err := e.registry.Resolve(e.t.Context(), name, "")
	e.check(err)
	return v
}

// check ends the test if a call of the client failed.
func (e *emulator) check(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}
