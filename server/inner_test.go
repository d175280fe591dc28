package server

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/functions/build"
)

// What a function may do with AWS's APIs does not depend on whom its credentials name.
func TestFunctionsChangeNoStreamAndWriteNobodyElsesLog(t *testing.T) {
	s := start(t, Config{Memory: true})
	c := client(t, s)
	out := filepath.Join(t.TempDir(), "caller.wasm")
	if _, err := build.Go(t.Context(), build.Options{Dir: "testdata/caller", Out: out}); err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"caller", "other"} {
		if _, _, err := c.CreateFunction(t.Context(), name, code, admin.FunctionSpec{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Invoke(t.Context(), "other", "", []byte(`{"Method":"GET","Path":"/_wasmill/health"}`)); err != nil { // has a log now
		t.Fatal(err)
	}
	const kinesis, logs = "kinesis Kinesis_20131202.", "logs Logs_20140328."
	for _, tt := range []struct{ target, body, want string }{
		{kinesis + "CreateStream", `{"StreamName":"s","ShardCount":1}`, "403 "},
		{kinesis + "DeleteStream", `{"StreamName":"s"}`, "403 "},
		{kinesis + "ListStreams", `{}`, "200 "},
		{logs + "CreateLogStream", `{"logGroupName":"/aws/lambda/other","logStreamName":"flood"}`, "403 "},
		{logs + "PutLogEvents", `{"logGroupName":"/aws/lambda/other","logStreamName":"s","logEvents":[{"timestamp":1,"message":"REPORT"}]}`, "403 "},
		{logs + "CreateLogStream", `{"logGroupName":"/aws/lambda/caller","logStreamName":"own"}`, "200 "},
	} {
		service, target, _ := strings.Cut(tt.target, " ")
		payload, err := json.Marshal(map[string]any{"Method": "POST", "Path": "/", "Body": tt.body, "Head": map[string]string{
			"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target, "X-Amz-Date": "20260101T000000Z",
			"Authorization": "AWS4-HMAC-SHA256 Credential=wasmill-other/20260101/us-east-1/" + service + "/aws4_request, SignedHeaders=host, Signature=00",
		}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.Invoke(t.Context(), "caller", "", payload)
		if err != nil {
			t.Fatal(err)
		}
		var answer string
		if err := json.Unmarshal(got.Response, &answer); err != nil || !strings.HasPrefix(answer, tt.want) || tt.want == "403 " && !strings.Contains(answer, "AccessDenied") {
			t.Errorf("%s %s: %q, want %s: %+v", tt.target, tt.body, answer, tt.want, got)
		}
	}
}
