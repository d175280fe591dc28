package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"github.com/wasmill/wasmill/api/lambda"
	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/functions/store"
	"github.com/wasmill/wasmill/runtime/pool"
	"github.com/wasmill/wasmill/runtime/sandbox"
	"github.com/wasmill/wasmill/runtime/wasm"
)

// invokeWire: how long a client waits that invokes a warm function over AWS's API, one call
// after the other on one connection; against a bare HTTP server that sends back as much.
func invokeWire(ctx context.Context, h *host) ([]result, error) {
	srv, _, _, err := h.stream(ctx)
	if err != nil {
		return nil, err
	}
	code, err := h.compile(ctx, "bench/noop")
	if err != nil {
		return nil, err
	}
	engine, err := sandbox.New(ctx, sandbox.Options{Options: wasm.Options{CacheDir: filepath.Join(h.dir, "cache")}})
	if err != nil {
		return nil, err
	}
	registry, err := store.Open(ctx, srv, engine)
	if err != nil {
		return nil, err
	}
	p := pool.New(registry, engine, pool.Options{})
	h.undo = append(h.undo, func() { _ = errors.Join(p.Close(context.Background()), engine.Close(context.Background())) })
	if _, _, err := registry.Create(ctx, "noop", code, functions.Config{Memory: 256}, nil); err != nil {
		return nil, err
	}
	face, err := wire.New(wire.Options{Services: []*wire.Service{lambda.New(lambda.Deps{Functions: registry, Invoker: p})}})
	if err != nil {
		return nil, err
	}
	ours, err := h.listen(face)
	if err != nil {
		return nil, err
	}
	raw, err := h.listen(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "null")
	}))
	if err != nil {
		return nil, err
	}
	payload := []byte(`{"Records":[]}`)
	call := func(url string) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/2015-03-31/functions/noop/invocations", bytes.NewReader(payload))
		if err != nil {
			return err
		}
		req.Header.Set("X-Amz-Date", "20260101T000000Z")
		req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature=00")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusOK || resp.Header.Get("X-Amz-Function-Error") != "" {
			return fmt.Errorf("%d %s", resp.StatusCode, body)
		}
		return err
	}
	const warmUp = 100
	var took [2][]float64
	for began, n := time.Now(), 0; n < 2*warmUp || time.Since(began) < pairs*h.last; n++ {
		for side, url := range []string{ours, raw} { // in turn, so that the machine is the same to both
			start := time.Now()
			if err := call(url); err != nil {
				return nil, err
			}
			if n >= warmUp {
				took[side] = append(took[side], float64(time.Since(start))/float64(time.Millisecond))
			}
		}
	}
	var results []result
	for side := range took {
		slices.Sort(took[side])
	}
	for _, q := range []struct {
		name string
		at   float64
		goal string
	}{{"invoke.warm.p50", 0.5, "<= 2"}, {"invoke.warm.p99", 0.99, ""}} {
		v, w := quantile(took[0], q.at), quantile(took[1], q.at)
		results = append(results, result{Bench: q.name, Value: round(v), Unit: "ms", Raw: round(w), Ratio: round(v / w), Goal: q.goal})
	}
	return results, nil
}

// listen serves on a port of its own until the benchmark is over.
func (h *host) listen(handler http.Handler) (url string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s := &http.Server{Handler: handler, Protocols: wire.Protocols()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	h.undo = append(h.undo, func() { _ = s.Close(); <-done })
	return "http://" + l.Addr().String(), nil
}
