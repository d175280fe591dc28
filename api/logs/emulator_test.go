package logs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/smithy-go"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/functions/logs"
)

// emulator is the service behind a real port, and a client of AWS's.
type emulator struct {
	t testing.TB
	*sdk.Client
	url   string
	store *logs.Store
}

func emulate(t testing.TB, o logs.Options, inner bool) *emulator {
	t.Helper()
	store, err := logs.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	h, err := wire.New(wire.Options{Services: []*wire.Service{New(Deps{Store: store, Inner: inner})}})
	if err != nil {
		t.Fatal(err)
	}
	key := "AKIDEXAMPLE"
	if inner {
		key = "wasmill-f"
	}
	server := httptest.NewServer(h)
	t.Cleanup(func() {
		server.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := store.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return &emulator{t: t, url: server.URL, store: store, Client: sdk.New(sdk.Options{
		BaseEndpoint: &server.URL, Region: "us-east-1", RetryMaxAttempts: 1, HTTPClient: &http.Client{Transport: steady{http.DefaultTransport}},
		Credentials: credentials.NewStaticCredentialsProvider(key, "secret", ""),
	})}
}

// steady keeps request bodies in memory and open; see api/kinesis.
type steady struct{ http.RoundTripper }

func (s steady) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(body))
	return s.RoundTripper.RoundTrip(r)
}

func (e *emulator) check(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

// refused is an error's code and text.
func refused(err error) (code, text string) {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode(), e.ErrorMessage()
	}
	return "", ""
}

func ptr[T any](v T) *T { return &v }

// wrote has a function write lines a second apart, from a time on.
func (e *emulator) wrote(function, stream string, at time.Time, texts ...string) {
	l := e.store.Function(function)
	for i, s := range texts {
		l.Write(logs.Line{Time: at.Add(time.Duration(i) * time.Second), RequestID: "r", Stream: stream, Text: s})
	}
}
