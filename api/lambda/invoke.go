package lambda

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/runtime"
)

// Limits of invocations (Lambda quotas).
const (
	maxPayload       = 6 << 20 // bytes of a request
	maxClientContext = 3583    // bytes, unpacked
)

func (s *service) invokeOps() []*wire.Operation {
	return []*wire.Operation{
		{Name: "Invoke", Method: "POST", Path: "/2015-03-31/functions/{FunctionName}/invocations", Input: invokeInput, Do: s.invoke},
	}
}

var invokeInput = wire.Structure(byNamespaced, byQualifier,
	header("InvocationType", "X-Amz-Invocation-Type", wire.Enum("Event", "RequestResponse", "DryRun")),
	header("LogType", "X-Amz-Log-Type", wire.Enum("None", "Tail")),
	header("ClientContext", "X-Amz-Client-Context", text),
	header("DurableExecutionName", "X-Amz-Durable-Execution-Name", wire.String(1, 64, `[a-zA-Z0-9-_]+`)),
	header("TenantId", "X-Amz-Tenant-Id", wire.String(1, 256, `[a-zA-Z0-9\._:\/=+\-@ ]+`)),
	wire.Member{Name: "Payload", Shape: wire.Blob(0, 0), In: wire.InPayload},
)

func header(name, key string, shape *wire.Shape) wire.Member {
	return wire.Member{Name: name, Key: key, Shape: shape, In: wire.InHeader}
}

func (s *service) invoke(ctx context.Context, c *wire.Call) (any, error) {
	r, err := function(c)
	if err != nil {
		return nil, err
	}
	payload := c.In.Bytes("Payload")
	switch {
	case len(payload) > maxPayload:
		e := wire.Errorf("RequestTooLargeException", "%d byte payload is too large for the RequestResponse invocation type (limit %d bytes)", len(payload), maxPayload)
		e.Status = http.StatusRequestEntityTooLarge
		return nil, e
	case c.In.String("InvocationType") == "Event":
		return nil, invalid("InvocationType Event: this server has no queues yet that would keep the event. Invoke with RequestResponse, or put records into a stream that a trigger reads.")
	case c.In.Has("DurableExecutionName"):
		return nil, invalid("DurableExecutionName: there are no durable functions here.")
	case c.In.Has("TenantId"):
		return nil, invalid("TenantId: there are no tenants here. The function's tag wasmill:isolation=invocation gives each invocation a memory of its own.")
	}
	if err := checkClientContext(c.In.String("ClientContext")); err != nil {
		return nil, err
	}
	if len(payload) > 0 && !json.Valid(payload) {
		return nil, wire.Errorf("InvalidRequestContentException", "Could not parse request body into json: %v", json.Unmarshal(payload, new(any)))
	}
	if c.In.String("InvocationType") == "DryRun" {
		if _, err := s.Functions.Resolve(ctx, r.Name, r.Qualifier); err != nil {
			return nil, fault(c, r, err)
		}
		return wire.Raw{Status: http.StatusNoContent}, nil
	}
	inv := runtime.Invocation{ID: c.RequestID, Payload: payload, Source: "invoke"}
	res := s.Invoker.Invoke(ctx, r.Name, r.Qualifier, &inv)
	if err := ctx.Err(); err != nil {
		return nil, err // nobody listens any more
	}
	if err := unseen(c, r, &res); err != nil {
		return nil, err
	}
	out := wire.Raw{Header: http.Header{
		"Content-Type":           {"application/json"},
		"X-Amz-Executed-Version": {res.Version.Version},
	}, Body: res.Response}
	if res.Outcome == runtime.FunctionError || res.Outcome == runtime.Timeout {
		out.Header.Set("X-Amz-Function-Error", "Unhandled")
		out.Body = res.ErrorJSON()
	} else if len(out.Body) == 0 {
		out.Body = []byte("null")
	}
	if c.In.String("LogType") == "Tail" {
		out.Header.Set("X-Amz-Log-Result", base64.StdEncoding.EncodeToString(res.Logs))
	}
	return out, nil
}

// checkClientContext refuses what no function could read. It is not handed on.
func checkClientContext(text string) error {
	if text == "" {
		return nil
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	switch {
	case err != nil || !json.Valid(raw):
		return wire.Errorf("InvalidRequestContentException", "Client context must be a valid Base64-encoded JSON object.")
	case len(raw) > maxClientContext:
		return wire.Errorf("InvalidRequestContentException", "Client context must be smaller than %d bytes.", maxClientContext)
	}
	return nil
}

// unseen is the error of an invocation that the function has seen nothing of.
func unseen(c *wire.Call, r ref, res *runtime.Result) error {
	switch res.Outcome {
	case runtime.Throttled:
		reason := "ConcurrentInvocationLimitExceeded"
		if res.Version.Config.Concurrency != nil {
			reason = "ReservedFunctionConcurrentInvocationLimitExceeded"
		}
		return &wire.Error{Code: "TooManyRequestsException", Status: http.StatusTooManyRequests, Message: "Rate Exceeded.",
			Fields: map[string]any{"Reason": reason}, Header: http.Header{"Retry-After": {"1"}}}
	case runtime.Infrastructure:
	default:
		return nil
	}
	switch res.ErrorType {
	case runtime.TypeNotFound:
		return noFunction(c, r)
	case runtime.TypePending, runtime.TypeFailed:
		return notActive(res.Version)
	}
	return failed(errors.New(res.ErrorMessage), "The function could not be run, for no fault of its own: see the log of wasmill, and try again.")
}
