package server

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/functions/build"
)

// zipped is a module as people upload it to Lambda: a zip that holds it as bootstrap.
func zipped(t *testing.T, module []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	w, err := z.Create("bootstrap")
	if err == nil {
		_, err = w.Write(module)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestTheAWSCLIMakesAFunctionAndAMapping(t *testing.T) {
	c := withAWSCLI(t, start(t, Config{Memory: true}).Endpoint())
	dir := t.TempDir()
	module, code, answer := filepath.Join(dir, "pass.wasm"), filepath.Join(dir, "pass.zip"), filepath.Join(dir, "answer")
	if _, err := build.Go(t.Context(), build.Options{Dir: "testdata/pass", Out: module}); err != nil {
		t.Fatal(err)
	}
	wasm, err := os.ReadFile(module)
	if err == nil {
		err = os.WriteFile(code, zipped(t, wasm), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	lambda := func(into any, args ...string) {
		t.Helper()
		out, said, ok := c.try(append([]string{"lambda"}, args...)...)
		if !ok {
			t.Fatalf("aws lambda %s: %s", strings.Join(args, " "), said)
		}
		if into == nil {
			return
		}
		if err := json.Unmarshal(out, into); err != nil {
			t.Fatalf("aws lambda %s: %v in %s", strings.Join(args, " "), err, out)
		}
	}
	blob := func(data string) string { // the CLI's two versions read bytes alike from files only
		t.Helper()
		file := filepath.Join(dir, "blob")
		if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		return "fileb://" + file
	}
	lambda(nil, "create-function", "--function-name", "pass", "--runtime", "provided.al2023", "--handler", "bootstrap", "--role", "arn:aws:iam::000000000000:role/any",
		"--zip-file", "fileb://"+code, "--environment", "Variables={TARGET=out}", "--tags", "wasmill:emit=out,team=mill", "--timeout", "10")
	lambda(nil, "wait", "function-active-v2", "--function-name", "pass")

	event := `{"Records":[{"kinesis":{"partitionKey":"k","sequenceNumber":"1","data":"aGVsbG8="},"eventSource":"aws:kinesis"}]}`
	var invoked struct {
		StatusCode      int
		ExecutedVersion string
		FunctionError   string
		LogResult       []byte
	}
	lambda(&invoked, "invoke", "--function-name", "pass", "--payload", blob(event), "--log-type", "Tail", answer)
	if got, err := os.ReadFile(answer); err != nil || !strings.Contains(string(got), `"stream":"out"`) || invoked.StatusCode != 200 || invoked.ExecutedVersion != "$LATEST" || invoked.FunctionError != "" {
		t.Errorf("invoke: %+v, %v, answered %s", invoked, err, got)
	}
	if !strings.Contains(string(invoked.LogResult), "REPORT RequestId: ") {
		t.Errorf("log tail %q has no REPORT", invoked.LogResult)
	}

	var v struct{ Version, FunctionArn string }
	lambda(&v, "publish-version", "--function-name", "pass")
	lambda(nil, "create-alias", "--function-name", "pass", "--name", "live", "--function-version", v.Version)
	lambda(&invoked, "invoke", "--function-name", "pass:live", "--payload", blob(event), answer)
	if v.Version != "1" || invoked.ExecutedVersion != "1" {
		t.Errorf("version %s, executed by alias %s; want 1 and 1", v.Version, invoked.ExecutedVersion)
	}
	var tags struct{ Tags map[string]string }
	lambda(&tags, "list-tags", "--resource", strings.TrimSuffix(v.FunctionArn, ":1"))
	if tags.Tags["team"] != "mill" || tags.Tags["wasmill:emit"] != "out" {
		t.Errorf("tags %v", tags.Tags)
	}
	lambda(nil, "update-function-configuration", "--function-name", "pass", "--timeout", "11")
	lambda(nil, "wait", "function-updated-v2", "--function-name", "pass")
	lambda(nil, "put-function-concurrency", "--function-name", "pass", "--reserved-concurrent-executions", "3")
	var whole struct {
		Configuration struct{ Timeout int }
		Concurrency   struct{ ReservedConcurrentExecutions int }
	}
	if lambda(&whole, "get-function", "--function-name", "pass"); whole.Configuration.Timeout != 11 || whole.Concurrency.ReservedConcurrentExecutions != 3 {
		t.Errorf("get-function: %+v", whole)
	}

	c.run(nil, "create-stream", "--stream-name", "in", "--shard-count", "1")
	c.run(nil, "create-stream", "--stream-name", "out", "--shard-count", "1")
	var mapping struct {
		UUID, State, FunctionArn string
		FilterCriteria           struct{ Filters []struct{ Pattern string } }
	}
	lambda(&mapping, "create-event-source-mapping", "--function-name", "pass:live", "--event-source-arn", "arn:aws:kinesis:us-east-1:000000000000:stream/in",
		"--starting-position", "TRIM_HORIZON", "--bisect-batch-on-function-error", "--maximum-retry-attempts", "2", "--filter-criteria", `{"Filters":[{"Pattern":"{\"data\":{\"kind\":[\"good\"]}}"}]}`)
	if mapping.State != "Creating" || !strings.HasSuffix(mapping.FunctionArn, ":function:pass:live") || len(mapping.FilterCriteria.Filters) != 1 {
		t.Errorf("created %+v", mapping)
	}
	for _, data := range []string{`{"kind":"bad"}`, `{"kind":"good"}`} {
		c.run(nil, "put-record", "--stream-name", "in", "--partition-key", "k", "--data", blob(data))
	}
	var it struct{ ShardIterator string }
	c.run(&it, "get-shard-iterator", "--stream-name", "out", "--shard-id", "shardId-000000000000", "--shard-iterator-type", "TRIM_HORIZON")
	var page struct {
		Records           []struct{ Data []byte }
		NextShardIterator string
	}
	for page.NextShardIterator = it.ShardIterator; len(page.Records) == 0; {
		c.run(&page, "get-records", "--shard-iterator", page.NextShardIterator)
	}
	if got := string(page.Records[0].Data); got != `{"kind":"good"}` || len(page.Records) != 1 {
		t.Errorf("through the mapping came %d records, the first %s; want the good one alone", len(page.Records), got)
	}

	var list struct {
		EventSourceMappings []struct{ UUID, State string }
	}
	if lambda(&list, "list-event-source-mappings", "--function-name", "pass:live"); len(list.EventSourceMappings) != 1 || list.EventSourceMappings[0].UUID != mapping.UUID {
		t.Errorf("listed %+v", list)
	}
	lambda(&mapping, "update-event-source-mapping", "--uuid", mapping.UUID, "--no-enabled")
	if mapping.State != "Disabling" {
		t.Errorf("state after update-event-source-mapping --no-enabled: %s", mapping.State)
	}
	for mapping.State != "Disabled" {
		lambda(&mapping, "get-event-source-mapping", "--uuid", mapping.UUID)
	}
	lambda(nil, "delete-event-source-mapping", "--uuid", mapping.UUID)
	for _, args := range [][]string{{"delete-alias", "--function-name", "pass", "--name", "live"}, {"delete-function", "--function-name", "pass"}} {
		lambda(nil, args...)
	}
	for args, want := range map[string]string{
		"get-function --function-name pass":                               "(ResourceNotFoundException) when calling the GetFunction operation",
		"invoke --function-name pass " + answer:                           "Function not found: arn:aws:lambda:us-east-1:000000000000:function:pass",
		"invoke --function-name pass --invocation-type Event " + answer:   "no queues yet",
		"publish-layer-version --layer-name l --zip-file fileb://" + code: "wasmill",
	} {
		if _, said, ok := c.try(append([]string{"lambda"}, strings.Fields(args)...)...); ok || !strings.Contains(said, want) {
			t.Errorf("aws lambda %s said %q, want %q", args, said, want)
		}
	}
}
