package lambda

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/runtime"
)

const invocations = "/2015-03-31/functions/%s/invocations"

// What is known of Invoke beside mappings (esm.md, section 10): status, headers and body of
// everything that may come of one.
func TestInvocationsEndAsOnAWS(t *testing.T) {
	e := emulate(t, options{})
	for name, code := range map[string][]byte{
		"echo": echoing(), "fails": failing("MyError", "no <luck>"), "loops": looping(), "exits": exiting(127), "floods": flooding(), "void": reactor(128, nil, message(0), i64Const(answerAt<<32|16)),
		"garbled": answering([]byte("WMR1 garbled, and more")), "stopped": returning("1"),
	} {
		e.deploy(name, code, func(in *sdk.CreateFunctionInput) { in.Timeout, in.Publish = aws.Int32(1), name == "echo" })
	}
	_, err := e.CreateAlias(t.Context(), &sdk.CreateAliasInput{FunctionName: aws.String("echo"), Name: aws.String("live"), FunctionVersion: aws.String("1")})
	e.check(err)
	_, err = e.PutFunctionConcurrency(t.Context(), &sdk.PutFunctionConcurrencyInput{FunctionName: aws.String("stopped"), ReservedConcurrentExecutions: aws.Int32(0)})
	e.check(err)

	const ok, unhandled = "Content-Type: application/json", "X-Amz-Function-Error: Unhandled"
	large := `"` + strings.Repeat("x", 6<<20) + `"`
	full := `"` + strings.Repeat("x", 6<<20-2) + `"`
	tests := []struct {
		rule, name, payload string
		header              []string
		status              int
		want                []string // headers, or what must not be there behind a "-"
		body                string   // a regular expression of all of it
	}{
		{"a reply is the function's", "echo", ` {"a": 1}`, nil, 200, []string{ok, "X-Amz-Executed-Version: $LATEST", "-X-Amz-Function-Error", "-X-Amz-Log-Result"}, `\{"a": 1\}`},
		{"the type may be said", "echo", `[]`, []string{"X-Amz-Invocation-Type", "RequestResponse"}, 200, []string{ok}, `\[\]`},
		{"no payload is an empty object", "echo", ``, nil, 200, []string{ok}, `\{\}`},
		{"nothing returned is null", "void", `1`, nil, 200, []string{ok, "-X-Amz-Function-Error"}, `null`},
		{"a version by qualifier", "echo?Qualifier=1", `1`, nil, 200, []string{"X-Amz-Executed-Version: 1"}, `1`},
		{"an alias executes its version", "echo?Qualifier=live", `1`, nil, 200, []string{"X-Amz-Executed-Version: 1"}, `1`},
		{"an alias in the name", "echo:live", `1`, nil, 200, []string{"X-Amz-Executed-Version: 1"}, `1`},
		{"$LATEST by name", "echo?Qualifier=%24LATEST", `1`, nil, 200, []string{"X-Amz-Executed-Version: $LATEST"}, `1`},
		{"an ARN", "arn:aws:lambda:us-east-1:000000000000:function:echo:1", `1`, nil, 200, []string{"X-Amz-Executed-Version: 1"}, `1`},
		{"a part of an ARN", "000000000000:function:echo", `1`, nil, 200, []string{"X-Amz-Executed-Version: $LATEST"}, `1`},
		{"a dry run is 204 and runs nothing", "loops", `1`, []string{"X-Amz-Invocation-Type", "DryRun"}, 204, nil, ``},
		{"a dry run looks for the function", "none", `1`, []string{"X-Amz-Invocation-Type", "DryRun"}, 404, nil, `.*Function not found: arn:aws:lambda:us-east-1:000000000000:function:none.*`},

		{"an error is 200 and Unhandled", "fails", `1`, nil, 200, []string{ok, unhandled, "X-Amz-Executed-Version: $LATEST"}, `\{"errorMessage":"no .*luck.*","errorType":"MyError"\}`},
		{"a timeout says so with two decimals", "loops", `1`, nil, 200, []string{unhandled}, `\{"errorMessage":"RequestId: ID Error: Task timed out after 1\.00 seconds","errorType":"Sandbox\.Timedout"\}`},
		{"an exit says its status", "exits", `1`, nil, 200, []string{unhandled}, `\{"errorMessage":"RequestId: ID Error: Runtime exited with error: exit status 127","errorType":"Runtime\.ExitError"\}`},
		{"a response that is too large", "floods", `1`, nil, 200, []string{unhandled}, `\{"errorMessage":"Response payload size exceeded maximum allowed payload size \(6291556 bytes\)\.","errorType":"Function\.ResponseSizeTooLarge"\}`},
		{"a response that nobody can read", "garbled", `1`, nil, 200, []string{unhandled}, `\{"errorMessage":".*","errorType":"Runtime\.MalformedResponse"\}`},

		{"6 MB go", "void", full, nil, 200, nil, `null`},
		{"more do not", "void", large, nil, 413, []string{"X-Amzn-Errortype: RequestTooLargeException"}, `\{"Type":"User","message":"6291458 byte payload is too large for the RequestResponse invocation type \(limit 6291456 bytes\)"\}`},
		{"what is no JSON", "echo", `{"a":`, nil, 400, []string{"X-Amzn-Errortype: InvalidRequestContentException"}, `\{"Type":"User","message":"Could not parse request body into json: .+"\}`},
		{"two values are no JSON", "echo", `1 2`, nil, 400, []string{"X-Amzn-Errortype: InvalidRequestContentException"}, `.*`},
		{"no such function", "none", `1`, nil, 404, []string{"X-Amzn-Errortype: ResourceNotFoundException"}, `\{"Message":"Function not found: arn:aws:lambda:us-east-1:000000000000:function:none","Type":"User"\}`},
		{"no such version", "echo?Qualifier=2", `1`, nil, 404, nil, `.*Function not found: arn:aws:lambda:us-east-1:000000000000:function:echo:2".*`},
		{"no such alias", "echo:none", `1`, nil, 404, nil, `.*Function not found: arn:aws:lambda:us-east-1:000000000000:function:echo:none".*`},
		{"another region's", "arn:aws:lambda:eu-west-1:000000000000:function:echo", `1`, nil, 404, nil, `.*Functions from 'eu-west-1' are not reachable in this region \('us-east-1'\).*`},
		{"another account's", "arn:aws:lambda:us-east-1:111111111111:function:echo", `1`, nil, 403, []string{"X-Amzn-Errortype: AccessDeniedException"}, `.*is not authorized to perform: lambda:Invoke.*`},
		{"two qualifiers", "echo:1?Qualifier=live", `1`, nil, 400, nil, `.*The derived qualifier from the function name does not match the specified qualifier\..*`},
		{"reserved concurrency 0 stops a function", "stopped", `1`, nil, 429, []string{"X-Amzn-Errortype: TooManyRequestsException", "Retry-After: 1"},
			`\{"Reason":"ReservedFunctionConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded\."\}`},
		{"events are refused by name", "echo", `1`, []string{"X-Amz-Invocation-Type", "Event"}, 400, []string{"X-Amzn-Errortype: InvalidParameterValueException"}, `.*InvocationType Event: .*`},
		{"a type that is none", "echo", `1`, []string{"X-Amz-Invocation-Type", "Now"}, 400, []string{"X-Amzn-Errortype: ValidationException"},
			`\{"message":"1 validation error detected: Value 'Now' at 'invocationType' failed to satisfy constraint: Member must satisfy enum value set: \[Event, RequestResponse, DryRun\]"\}`},
		{"a client context", "echo", `1`, []string{"X-Amz-Client-Context", base64.StdEncoding.EncodeToString([]byte(`{"client":{}}`))}, 200, nil, `1`},
		{"a client context that is none", "echo", `1`, []string{"X-Amz-Client-Context", "{}"}, 400, nil, `.*Client context must be a valid Base64-encoded JSON object\..*`},
		{"a client context that is too long", "echo", `1`, []string{"X-Amz-Client-Context", base64.StdEncoding.EncodeToString([]byte(`"` + strings.Repeat("x", 3582) + `"`))}, 400, nil, `.*Client context must be smaller than 3583 bytes\..*`},
		{"a tenant", "echo", `1`, []string{"X-Amz-Tenant-Id", "t"}, 400, nil, `.*TenantId: there are no tenants here.*`},
		{"a durable execution", "echo", `1`, []string{"X-Amz-Durable-Execution-Name", "t"}, 400, nil, `.*DurableExecutionName: .*`},
	}
	for _, tt := range tests {
		name, qualifier, _ := strings.Cut(tt.name, "?")
		a := e.call("POST", fmt.Sprintf(invocations, name)+"?"+qualifier, tt.payload, tt.header...)
		id := a.header.Get("X-Amzn-Requestid")
		body := strings.ReplaceAll(a.body, id, "ID")
		if len(body) > 1000 {
			body = body[:1000]
		}
		if a.status != tt.status || id == "" || !regexp.MustCompile(`^(?s:`+tt.body+`)$`).MatchString(body) {
			t.Errorf("%s: %d %s", tt.rule, a.status, body)
		}
		for _, want := range tt.want {
			if absent, ok := strings.CutPrefix(want, "-"); ok {
				if a.header[absent] != nil {
					t.Errorf("%s: header %s: %s", tt.rule, absent, a.header.Get(absent))
				}
			} else if name, value, _ := strings.Cut(want, ": "); a.header.Get(name) != value {
				t.Errorf("%s: header %s: %q, want %q", tt.rule, name, a.header.Get(name), value)
			}
		}
	}
}

// X-Amz-Log-Result is the end of the log, START to REPORT.
func TestLogTailShowsTheInvocation(t *testing.T) {
	e := emulate(t, options{})
	e.deploy("echo", echoing())
	out, err := e.Invoke(t.Context(), &sdk.InvokeInput{FunctionName: aws.String("echo"), LogType: types.LogTypeTail, Payload: []byte("1")})
	e.check(err)
	log, err := base64.StdEncoding.DecodeString(*out.LogResult)
	e.check(err)
	want := regexp.MustCompile(`^START RequestId: ([0-9a-f-]{36}) Version: \$LATEST\nhello\nEND RequestId: [0-9a-f-]{36}\nREPORT RequestId: [0-9a-f-]{36}\tDuration: [0-9.]+ ms\tBilled Duration: \d+ ms\tMemory Size: 128 MB\tMax Memory Used: \d+ MB\tInit Duration: `)
	if !want.Match(log) {
		t.Errorf("log:\n%s", log)
	}
	out, err = e.Invoke(t.Context(), &sdk.InvokeInput{FunctionName: aws.String("echo"), LogType: types.LogTypeNone})
	if err != nil || out.LogResult != nil {
		t.Errorf("without Tail: %v %v", out.LogResult, err)
	}
}

// A function that is not ready yet, or never will be, is a conflict and no function error.
func TestFunctionThatIsNotActiveIsAConflict(t *testing.T) {
	e := emulate(t, options{idle: true})
	create := func(name string, code []byte) {
		t.Helper()
		_, err := e.CreateFunction(t.Context(), &sdk.CreateFunctionInput{FunctionName: &name, Role: aws.String(role), Runtime: types.RuntimeProvidedal2023, Handler: aws.String("bootstrap"), Code: &types.FunctionCode{ZipFile: code}})
		e.check(err)
	}
	create("f", returning("1"))
	create("bad", []byte("\x00asm\x01\x00\x00\x00"))
	const update = "/2015-03-31/functions/f/configuration"
	state := func(name string) string {
		return `{"Type":"User","message":"The operation cannot be performed at this time. The function is currently in the following state: ` + name + `"}`
	}
	if a := e.call("POST", fmt.Sprintf(invocations, "f"), "1"); a.status != http.StatusConflict || a.header.Get("X-Amzn-ErrorType") != "ResourceConflictException" || a.body != state("Pending") {
		t.Errorf("pending: %d %s", a.status, a.body)
	}
	if a := e.call("PUT", update, `{"Timeout":5}`); a.status != http.StatusConflict || a.body != state("Pending") {
		t.Errorf("an update of a pending function: %d %s", a.status, a.body)
	}
	e.compile()
	e.updated("f")
	if a := e.call("POST", fmt.Sprintf(invocations, "f"), "1"); a.status != 200 || a.body != "1" {
		t.Errorf("active: %d %s", a.status, a.body)
	}
	err := sdk.NewFunctionActiveV2Waiter(e).Wait(t.Context(), &sdk.GetFunctionInput{FunctionName: aws.String("bad")}, 1e10)
	if err == nil || !strings.Contains(err.Error(), "Failure") {
		t.Errorf("the waiter says of a function that failed: %v", err)
	}
	if a := e.call("POST", fmt.Sprintf(invocations, "bad"), "1"); a.status != http.StatusConflict || a.body != state("Failed") {
		t.Errorf("failed: %d %s", a.status, a.body)
	}
	got := e.call("GET", "/2015-03-31/functions/bad/configuration", "").object(t)
	if got["State"] != "Failed" || got["StateReasonCode"] != "InvalidZipFileException" || !strings.Contains(got["StateReason"].(string), "wasmill build") {
		t.Errorf("failed: %v", got)
	}
	// New code makes it good.
	if a := e.call("PUT", "/2015-03-31/functions/bad/code", `{"ZipFile":"`+base64.StdEncoding.EncodeToString(returning("2"))+`"}`); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	e.updated("bad")
	if a := e.call("POST", fmt.Sprintf(invocations, "bad"), "1"); a.body != "2" {
		t.Errorf("mended: %d %s", a.status, a.body)
	}
}

// What AWS tells of throttles: 429, the reason, and when to try again.
func TestThrottleTellsWhichLimit(t *testing.T) {
	var reserved runtime.Result
	reserved.Fail(runtime.Throttled, runtime.TypeThrottled, "", "full")
	free := reserved
	n := 3
	reserved.Version.Config.Concurrency = &n
	for want, res := range map[string]runtime.Result{"ReservedFunctionConcurrentInvocationLimitExceeded": reserved, "ConcurrentInvocationLimitExceeded": free} {
		err, _ := unseen(nil, ref{}, &res).(*wire.Error)
		if err == nil || err.Code != "TooManyRequestsException" || err.Fields["Reason"] != want || err.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %+v", want, err)
		}
	}
}

// What went wrong within this server is for its log.
func TestOwnFailuresAreToldInFixedWords(t *testing.T) {
	var res runtime.Result
	res.Fail(runtime.Infrastructure, runtime.TypeInternal, "id", "read code: /var/lib/secret: input/output error")
	err, _ := unseen(nil, ref{}, &res).(*wire.Error)
	if err == nil || err.Code != "ServiceException" || err.Status != http.StatusInternalServerError || strings.Contains(err.Message, "secret") || !strings.Contains(err.Message, "log of wasmill") {
		t.Errorf("%+v", err)
	}
	if err.Cause == nil || !strings.Contains(err.Cause.Error(), "secret") {
		t.Errorf("logged: %v", err.Cause)
	}
}
