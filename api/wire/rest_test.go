package wire

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// testREST is a small AWS Lambda. Each operation answers with its name and what it read.
func testREST() *Service {
	echo := func(ctx context.Context, c *Call) (any, error) {
		in := maps.Clone(c.In)
		if in == nil {
			in = Values{}
		}
		if payload, ok := in["Payload"].([]byte); ok {
			in["Payload"] = string(payload)
		}
		in["op"] = c.Operation.Name
		return map[string]any(in), nil
	}
	name := Member{Name: "FunctionName", Shape: String(1, 170, `(arn:aws:lambda:[a-z0-9-]+:\d{12}:function:)?[a-zA-Z0-9-_]+(:[$a-zA-Z0-9-_]+)?`), Required: true, In: InPath}
	qualifier := Member{Name: "Qualifier", Shape: String(1, 128, ""), In: InQuery}
	return &Service{Name: "lambda", Signing: "lambda", REST: true, MaxBody: 1 << 20, Ops: []*Operation{
		{Name: "ListFunctions", Method: "GET", Path: "/2015-03-31/functions", Do: echo, Input: Structure(
			Member{Name: "MaxItems", Shape: Integer(1, 10000), In: InQuery}, Member{Name: "Marker", Shape: String(0, 0, ""), In: InQuery})},
		{Name: "CreateFunction", Method: "POST", Path: "/2015-03-31/functions", Status: 201, Do: echo, Input: Structure(
			Member{Name: "FunctionName", Shape: String(1, 170, "[a-z]+"), Required: true}, Member{Name: "Timeout", Shape: Integer(1, 900)},
			Member{Name: "Weight", Shape: Double()}, Member{Name: "ZipFile", Shape: Blob(0, 0)}, Member{Name: "Renamed", Key: "OnTheWire", Shape: Boolean()})},
		{Name: "GetFunction", Method: "GET", Path: "/2015-03-31/functions/{FunctionName}", Do: echo, Input: Structure(name, qualifier)},
		{Name: "DeleteFunction", Method: "DELETE", Path: "/2015-03-31/functions/{FunctionName}", Status: 204, Input: Structure(name), Do: func(context.Context, *Call) (any, error) { return nil, nil }},
		{Name: "ListProvisioned", Method: "GET", Path: "/2019-09-30/functions/{FunctionName}/provisioned-concurrency?List=ALL", Do: echo, Input: Structure(name)},
		{Name: "GetProvisioned", Method: "GET", Path: "/2019-09-30/functions/{FunctionName}/provisioned-concurrency", Do: echo, Input: Structure(name, qualifier)},
		{Name: "GetAlias", Method: "GET", Path: "/2015-03-31/functions/{FunctionName}/aliases/{Name}", Do: echo, Input: Structure(name, Member{Name: "Name", Shape: String(1, 128, ""), Required: true, In: InPath})},
		{Name: "ListAliases", Method: "GET", Path: "/2015-03-31/functions/{FunctionName}/aliases/all", Do: echo, Input: Structure(name)},
		{Name: "Invoke", Method: "POST", Path: "/2015-03-31/functions/{FunctionName}/invocations", MaxBody: 1000, Do: func(ctx context.Context, c *Call) (any, error) {
			if c.In.String("InvocationType") == "Raw" {
				return &Raw{Header: http.Header{"X-Amz-Executed-Version": {"$LATEST"}}, Body: c.In.Bytes("Payload")}, nil
			}
			return echo(ctx, c)
		}, Input: Structure(name, qualifier, Member{Name: "InvocationType", Shape: Enum("Event", "Raw"), In: InHeader, Key: "X-Amz-Invocation-Type"}, Member{Name: "Payload", Shape: Blob(0, 0), In: InPayload})},
		{Name: "ListTags", Method: "GET", Path: "/2017-03-31/tags/{Resource+}", Do: echo, Input: Structure(Member{Name: "Resource", Shape: String(0, 0, ""), In: InPath})},
		{Name: "UntagResource", Method: "DELETE", Path: "/2017-03-31/tags/{Resource}", Do: echo, Input: Structure(Member{Name: "Resource", Shape: String(0, 0, ""), In: InPath},
			Member{Name: "TagKeys", Key: "tagKeys", Shape: List(String(1, 128, ""), 1, 0), Required: true, In: InQuery})},
		{Name: "Fail", Method: "PUT", Path: "/fail", Input: Structure(Member{Name: "How", Shape: String(0, 0, ""), In: InQuery}), Do: func(ctx context.Context, c *Call) (any, error) {
			return nil, map[string]error{
				"gone":      &Error{Code: "ResourceNotFoundException", Status: 404, Message: "Function not found: f"},
				"capital":   &Error{Code: "ResourceNotFoundException", Status: 404, Message: "The resource you requested does not exist.", Capital: true},
				"bare":      &Error{Code: "ResourceConflictException", Status: 409, Message: "m", Bare: true},
				"throttled": &Error{Code: "TooManyRequestsException", Status: 429, Message: "Rate Exceeded.", Fields: map[string]any{"Reason": "CallerRateLimitExceeded"}, Header: http.Header{"Retry-After": {"1"}}},
				"server":    &Error{Code: "EC2ThrottledException", Status: 502, Message: "m"},
				"ours":      errors.New("disk on fire"),
			}[c.In.String("How")]
		}},
	}}
}

func lambdaHandler(t testing.TB) *Handler {
	return testHandler(t, Options{Services: []*Service{testService(), testREST()}, Logger: slog.New(slog.DiscardHandler)})
}

var lambdaHead = map[string]string{"Authorization": strings.Replace(testKey, "/kinesis/", "/lambda/", 1), "X-Amz-Date": testDate}

func TestRESTOperationsAreFoundByMethodAndPath(t *testing.T) {
	h := lambdaHandler(t)
	for _, tt := range []struct {
		name, method, target, body string
		head                       map[string]string
		status                     int
		want                       string
	}{
		{"no label", "GET", "/2015-03-31/functions", "", nil, 200, `{"op":"ListFunctions"}`},
		{"a slash at the end", "GET", "/2015-03-31/functions/?MaxItems=7", "", nil, 200, `{"MaxItems":7,"op":"ListFunctions"}`},
		{"the method tells", "POST", "/2015-03-31/functions", `{"FunctionName":"f","Timeout":3,"Weight":0.25,"OnTheWire":true,"Other":{"a":[1]}}`, nil, 201, `{"FunctionName":"f","Renamed":true,"Timeout":3,"Weight":0.25,"op":"CreateFunction"}`},
		{"no answer", "DELETE", "/2015-03-31/functions/f", "", nil, 204, ""},
		{"a label", "GET", "/2015-03-31/functions/f", "", nil, 200, `{"FunctionName":"f","op":"GetFunction"}`},
		{"an ARN as label", "GET", "/2015-03-31/functions/arn:aws:lambda:us-east-1:000000000000:function:f:1", "", nil, 200, `{"FunctionName":"arn:aws:lambda:us-east-1:000000000000:function:f:1","op":"GetFunction"}`},
		{"one that is escaped", "GET", "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Af?Qualifier=%24LATEST", "", nil, 200, `{"FunctionName":"arn:aws:lambda:us-east-1:000000000000:function:f","Qualifier":"$LATEST","op":"GetFunction"}`},
		{"two labels", "GET", "/2015-03-31/functions/f/aliases/live", "", nil, 200, `{"FunctionName":"f","Name":"live","op":"GetAlias"}`},
		{"what is written out goes first", "GET", "/2015-03-31/functions/f/aliases/all", "", nil, 200, `{"FunctionName":"f","op":"ListAliases"}`},
		{"a constant of the query", "GET", "/2019-09-30/functions/f/provisioned-concurrency?List=ALL", "", nil, 200, `{"FunctionName":"f","op":"ListProvisioned"}`},
		{"without it", "GET", "/2019-09-30/functions/f/provisioned-concurrency?Qualifier=1", "", nil, 200, `{"FunctionName":"f","Qualifier":"1","op":"GetProvisioned"}`},
		{"a list in the query", "DELETE", "/2017-03-31/tags/a?tagKeys=x&tagKeys=y", "", nil, 200, `{"Resource":"a","TagKeys":["x","y"],"op":"UntagResource"}`},
		{"a label with slashes", "GET", "/2017-03-31/tags/arn:aws:x/y%2Fz/", "", nil, 200, `{"Resource":"arn:aws:x/y/z","op":"ListTags"}`},
		{"header and payload", "POST", "/2015-03-31/functions/f/invocations", "any\x00thing", map[string]string{"X-Amz-Invocation-Type": "Event", "Content-Type": "application/x-www-form-urlencoded"}, 200, `{"FunctionName":"f","InvocationType":"Event","Payload":"any\u0000thing","op":"Invoke"}`},
		{"no payload", "POST", "/2015-03-31/functions/f/invocations", "", nil, 200, `{"FunctionName":"f","op":"Invoke"}`},
		{"an answer byte for byte", "POST", "/2015-03-31/functions/f/invocations", `{ "a" : 1 }`, map[string]string{"X-Amz-Invocation-Type": "Raw"}, 200, `{ "a" : 1 }`},
	} {
		for signing, extra := range map[string]map[string]string{"signed": lambdaHead, "unsigned": nil, "by host": {"Host": "lambda.eu-west-1.amazonaws.com"}} {
			head := maps.Clone(tt.head)
			if head == nil {
				head = map[string]string{}
			}
			maps.Copy(head, extra)
			r := ask(h, tt.method, tt.target, head, tt.body)
			if got := text(t, r); r.StatusCode != tt.status || got != tt.want {
				t.Errorf("%s, %s: %d %s, want %d %s", tt.name, signing, r.StatusCode, got, tt.status, tt.want)
			}
			if kind := r.Header.Get("Content-Type"); tt.want != "" && kind != "application/json" {
				t.Errorf("%s: content type %q", tt.name, kind)
			}
			if headerOf(r, "x-amzn-RequestId") == "" {
				t.Errorf("%s: no request id", tt.name)
			}
		}
	}
}

func TestRESTErrors(t *testing.T) {
	h := lambdaHandler(t)
	const functions = "/2015-03-31/functions"
	for _, tt := range []struct {
		name, method, target, body string
		status                     int
		code, want                 string
	}{
		{"of an operation", "PUT", "/fail?How=gone", "", 404, "ResourceNotFoundException", `{"Type":"User","message":"Function not found: f"}`},
		{"with a capital letter", "PUT", "/fail?How=capital", "", 404, "ResourceNotFoundException", `{"Message":"The resource you requested does not exist.","Type":"User"}`},
		{"without a type", "PUT", "/fail?How=bare", "", 409, "ResourceConflictException", `{"message":"m"}`},
		{"with members and headers", "PUT", "/fail?How=throttled", "", 429, "TooManyRequestsException", `{"Reason":"CallerRateLimitExceeded","Type":"User","message":"Rate Exceeded."}`},
		{"of the service", "PUT", "/fail?How=server", "", 502, "EC2ThrottledException", `{"Type":"Service","message":"m"}`},
		{"of ours", "PUT", "/fail?How=ours", "", 500, "ServiceException", `{"Type":"Service"}`},
		{"a type", "POST", functions, `{"FunctionName":7}`, 400, "SerializationException", `{"Message":"class com.amazon.coral.value.json.numbers.TruncatingBigNumber can not be converted to an String"}`},
		{"a list for a structure", "POST", functions, `[]`, 400, "SerializationException", `{"Message":"Start of list found where not expected"}`},
		{"no JSON", "POST", functions, `{"a"`, 400, "SerializationException", `{"Message":"Could not parse request body into json: unexpected end of JSON input"}`},
		{"no object", "POST", functions, `7`, 400, "SerializationException", `{"Message":"Could not parse request body into json: it is no object"}`},
		{"no number", "GET", functions + "?MaxItems=x", "", 400, "SerializationException", `{"Message":"'x' can not be converted to an Integer"}`},
		{"a number beyond all", "POST", functions, `{"FunctionName":"f","Weight":1e999}`, 400, "SerializationException", `{"Message":"The number is out of the range of a Double"}`},
		{"out of range", "GET", functions + "?MaxItems=0", "", 400, "ValidationException", `{"message":"1 validation error detected: Value '0' at 'maxItems' failed to satisfy constraint: Member must have value greater than or equal to 1"}`},
		{"far out of range", "GET", functions + "?MaxItems=99999999999999999999", "", 400, "ValidationException", `{"message":"1 validation error detected: Value '2147483647' at 'maxItems' failed to satisfy constraint: Member must have value less than or equal to 10000"}`},
		{"a label against its pattern", "GET", functions + "/a%20b", "", 400, "ValidationException", `{"message":"1 validation error detected: Value 'a b' at 'functionName' failed to satisfy constraint: Member must satisfy regular expression pattern: (arn:aws:lambda:[a-z0-9-]+:\\d{12}:function:)?[a-zA-Z0-9-_]+(:[$a-zA-Z0-9-_]+)?"}`},
		{"missing in the body", "POST", functions, "", 400, "ValidationException", `{"message":"1 validation error detected: Value null at 'functionName' failed to satisfy constraint: Member must not be null"}`},
		{"missing in the query", "DELETE", "/2017-03-31/tags/a", "", 400, "ValidationException", `{"message":"1 validation error detected: Value null at 'tagKeys' failed to satisfy constraint: Member must not be null"}`},
		{"another path", "GET", "/2020-06-30/functions/f/code-signing-config", "", 404, "UnknownOperationException", `{"message":"wasmill's lambda has no operation of the path /2020-06-30/functions/f/code-signing-config"}`},
		{"a name that is empty", "POST", functions + "//invocations", "", 404, "UnknownOperationException", `{"message":"wasmill's lambda has no operation of the path /2015-03-31/functions//invocations"}`},
		{"another method", "PATCH", functions + "/f", "", 405, "UnknownOperationException", `{"message":"wasmill's lambda has no operation PATCH /2015-03-31/functions/f, only DELETE, GET"}`},
		{"too large", "POST", functions + "/f/invocations", strings.Repeat("x", 1001), 413, "RequestEntityTooLargeException", `{"message":"Request must be smaller than 1000 bytes for the Invoke operation"}`},
		{"too large for the service", "POST", functions, strings.Repeat(" ", 1<<20+1), 413, "RequestEntityTooLargeException", `{"message":"Request must be smaller than 1048576 bytes for the CreateFunction operation"}`},
	} {
		r := ask(h, tt.method, tt.target, lambdaHead, tt.body)
		if got, code := text(t, r), headerOf(r, "x-amzn-ErrorType"); r.StatusCode != tt.status || code != tt.code || got != tt.want {
			t.Errorf("%s: %d %s %s, want %d %s %s", tt.name, r.StatusCode, code, got, tt.status, tt.code, tt.want)
		}
	}
	if r := ask(h, "PUT", "/fail?How=throttled", lambdaHead, ""); r.Header.Get("Retry-After") != "1" {
		t.Errorf("headers of an error: %v", r.Header)
	}
	if r := ask(h, "PATCH", functions+"/f", lambdaHead, ""); r.Header.Get("Allow") != "DELETE, GET" {
		t.Errorf("headers of another method: %v", r.Header)
	}
	r := ask(h, "GET", functions, map[string]string{"Authorization": "AWS4-HMAC-SHA256 Credential=x/20150830/us-east-1/lambda/aws4_request"}, "")
	if got := text(t, r); r.StatusCode != 403 || headerOf(r, "x-amzn-ErrorType") != codeIncomplete {
		t.Errorf("half a signature: %d %s", r.StatusCode, got)
	}
}

// Unsigned requests that are of no REST path are still the first service's.
func TestPathsOfNoOperationAreTheFirstServices(t *testing.T) {
	r := ask(lambdaHandler(t), "GET", "/somewhere", nil, "")
	if got := text(t, r); r.StatusCode != 403 || !strings.Contains(got, noOperation) {
		t.Errorf("%d %s", r.StatusCode, got)
	}
	// But those that look like one are told that they are none.
	r = ask(lambdaHandler(t), "GET", "/2020-06-30/somewhere", nil, "")
	if got := text(t, r); r.StatusCode != 404 || !strings.Contains(got, "no operation of the path /2020-06-30/somewhere") {
		t.Errorf("%d %s", r.StatusCode, got)
	}
}

func TestLargeBodiesOfRESTCountTwice(t *testing.T) {
	zip := bytes.Repeat([]byte("PK"), 200<<10)
	body, err := json.Marshal(map[string]any{"FunctionName": "f", "ZipFile": zip})
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan []byte, 1)
	service := testREST()
	i := slices.IndexFunc(service.Ops, func(op *Operation) bool { return op.Name == "CreateFunction" })
	service.Ops[i].Do = func(ctx context.Context, c *Call) (any, error) { got <- c.In.Bytes("ZipFile"); return nil, nil }
	h := testHandler(t, Options{Services: []*Service{service}, MaxMemory: int64(len(body) + len(body)/2)})
	if r := ask(h, "POST", "/2015-03-31/functions", nil, string(body)); r.StatusCode != 503 {
		t.Errorf("with room for one and a half: %d %s", r.StatusCode, text(t, r))
	}
	h = testHandler(t, Options{Services: []*Service{service}, MaxMemory: int64(4 * len(body))})
	if r := ask(h, "POST", "/2015-03-31/functions", nil, string(body)); r.StatusCode != 201 || !bytes.Equal(<-got, zip) {
		t.Errorf("with room: %d %s", r.StatusCode, text(t, r))
	}
	if held := h.room.held.Load(); held != 0 {
		t.Errorf("%d bytes are held after the answer", held)
	}
	// Base64 that is none is refused in the words of the other protocols.
	for _, wrong := range []string{"A", "AA*A", "AAA", base64.StdEncoding.EncodeToString([]byte("x"))[:3]} {
		r := ask(h, "POST", "/2015-03-31/functions", nil, `{"FunctionName":"f","ZipFile":"`+wrong+`"}`)
		if got := text(t, r); r.StatusCode != 400 || !strings.Contains(got, "can not be converted to a Blob") {
			t.Errorf("%q: %d %s", wrong, r.StatusCode, got)
		}
	}
}
