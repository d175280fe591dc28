package kinesis

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/wasmill/wasmill/api/wire"
)

// callOf is a GetRecords call by the service's own account.
func callOf(it string) *wire.Call {
	return &wire.Call{Account: "000000000000", Region: "us-east-1", Operation: &wire.Operation{Name: "GetRecords"}, Fast: &getInput{iterator: it}}
}

func wireError(err error) (code, text string) {
	if e, ok := errors.AsType[*wire.Error](err); ok {
		return e.Code, e.Message
	}
	return "", err.Error()
}

// steady keeps request bodies in memory and open. aws-sdk-go-v2 closes a request's body when
// the head of the answer arrives; Go's transport, if it has sent the body but not closed it
// yet, takes that for an error and drops the connection, and with it what is left of the answer.
// In one process with its server, on a busy machine, that happens.
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

// http2Client is a client of e that speaks HTTP/2 with prior knowledge.
func http2Client(t testing.TB, e *emulator) (*sdk.Client, func()) {
	t.Helper()
	server := httptest.NewUnstartedServer(e.handler)
	server.Config.Protocols = wire.Protocols()
	server.Start()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	return sdk.New(sdk.Options{
		BaseEndpoint: aws.String(server.URL), Region: "us-east-1", RetryMaxAttempts: 1, HTTPClient: &http.Client{Transport: steady{transport}},
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
	}), server.Close
}

func unmarshal(t testing.TB, text string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// another is a client for one subscription: in aws-sdk-go-v2 those of one client share a buffer
// (service/kinesis v1.56.11), which the race detector finds.
func (e *emulator) another() *sdk.Client { return clientOf(e.url, "us-east-1", "AKIDEXAMPLE") }
