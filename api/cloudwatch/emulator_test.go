package cloudwatch

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
	sdk "github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/smithy-go"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/telemetry"
)

// emulator is the service behind a real port, and a client of AWS's.
type emulator struct {
	t testing.TB
	*sdk.Client
	url    string
	series *telemetry.Series
}

func emulate(t testing.TB, dir string, inner bool) *emulator {
	t.Helper()
	series, err := telemetry.OpenSeries(telemetry.SeriesOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	h, err := wire.New(wire.Options{Services: []*wire.Service{New(Deps{Series: series, Inner: inner})}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	t.Cleanup(func() {
		server.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := series.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return &emulator{t: t, url: server.URL, series: series, Client: sdk.New(sdk.Options{
		BaseEndpoint: &server.URL, Region: "us-east-1", RetryMaxAttempts: 1, HTTPClient: &http.Client{Transport: steady{http.DefaultTransport}},
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
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

// post sends a request as some other client would, and gives status and body.
func (e *emulator) post(contentType, target, body string) (int, string) {
	e.t.Helper()
	r, err := http.NewRequestWithContext(e.t.Context(), http.MethodPost, e.url+"/", bytes.NewReader([]byte(body)))
	e.check(err)
	r.Header.Set("Content-Type", contentType)
	if target != "" {
		r.Header.Set("X-Amz-Target", target)
	}
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261122/us-east-1/monitoring/aws4_request, SignedHeaders=host, Signature=x")
	r.Header.Set("X-Amz-Date", "20261122T000000Z")
	res, err := http.DefaultClient.Do(r)
	e.check(err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	e.check(err)
	return res.StatusCode, string(b)
}

func ptr[T any](v T) *T { return &v }
