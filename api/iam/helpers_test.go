package iam

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/internal/kv"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
)

// emulator is the services behind a port, and AWS's clients of them.
type emulator struct {
	*testing.T
	iam     *sdk.Client
	sts     *sts.Client
	url     string
	handler *wire.Handler
	quiet   atomic.Bool // what is logged does not fail the test
}

func emulate(t *testing.T) *emulator { return emulateOn(t, natsdtest.Memory(t), false) }

func emulateOn(t *testing.T, nd *natsd.Server, inner bool) *emulator {
	t.Helper()
	bucket, err := kv.Open[Entity](t.Context(), nd, "iam")
	if err != nil {
		t.Fatal(err)
	}
	e := &emulator{T: t}
	e.handler, err = wire.New(wire.Options{Services: New(Deps{Store: NewStore(bucket), Inner: inner}), Logger: slog.New(slog.NewTextHandler(e, nil))})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(e.handler)
	t.Cleanup(server.Close)
	e.url = server.URL
	e.iam, e.sts = e.clients("test", "")
	return e
}

// clients are those of an access key.
func (e *emulator) clients(key, token string) (*sdk.Client, *sts.Client) {
	config := aws.Config{Region: "us-east-1", BaseEndpoint: aws.String(e.url), Credentials: credentials.NewStaticCredentialsProvider(key, "test", token), RetryMaxAttempts: 1}
	return sdk.NewFromConfig(config), sts.NewFromConfig(config)
}

// Write takes what is logged: trouble of ours.
func (e *emulator) Write(b []byte) (int, error) {
	if !e.quiet.Load() {
		e.Errorf("logged: %s", b)
	}
	return len(b), nil
}

func (e *emulator) check(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

// refused checks what an error says. The code is that of the shape, if it has one.
func (e *emulator) refused(err error, status int, code, text string) {
	e.Helper()
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		e.Errorf("%v, want %s: %s", err, code, text)
		return
	}
	got := 0
	if r, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		got = r.HTTPStatusCode()
	}
	if got != status || api.ErrorCode() != code || api.ErrorMessage() != text {
		e.Errorf("%d %s: %s\nwant %d %s: %s", got, api.ErrorCode(), api.ErrorMessage(), status, code, text)
	}
	if api.ErrorFault() != smithy.FaultClient && status < http.StatusInternalServerError && api.ErrorFault() != smithy.FaultUnknown {
		e.Errorf("%s: the fault is the %v's", code, api.ErrorFault())
	}
}

const (
	trust      = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	permission = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["kinesis:*"], "Resource": "*", "Condition": {"Bool": {"aws:SecureTransport": true}}}]}`
)

// role makes one.
func (e *emulator) role(name string) {
	e.Helper()
	_, err := e.iam.CreateRole(e.Context(), &sdk.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: aws.String(trust)})
	e.check(err)
}

// policy makes one and gives its ARN.
func (e *emulator) policy(name string) *string {
	e.Helper()
	out, err := e.iam.CreatePolicy(e.Context(), &sdk.CreatePolicyInput{PolicyName: &name, PolicyDocument: aws.String(permission)})
	e.check(err)
	return out.Policy.Arn
}
