package server

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/smithy-go/encoding/cbor"
)

// awsCLI is the AWS CLI with made-up credentials, pointed at a server.
type awsCLI struct {
	t        *testing.T
	endpoint string
}

func withAWSCLI(t *testing.T, endpoint string) awsCLI {
	t.Helper()
	if _, err := exec.LookPath("aws"); err != nil && os.Getenv("CI") == "" {
		t.Skipf("the AWS CLI is not installed: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	return awsCLI{t, endpoint}
}

// try runs a command and gives both that it printed, and whether it succeeded.
func (c awsCLI) try(args ...string) (out []byte, said string, ok bool) {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), "aws", append([]string{"--endpoint-url", c.endpoint, "--output", "json"}, args...)...)
	none := filepath.Join(c.t.TempDir(), "none")
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=key", "AWS_SECRET_ACCESS_KEY=secret", "AWS_DEFAULT_REGION=us-east-1", "AWS_MAX_ATTEMPTS=1",
		"AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE="+none, "AWS_SHARED_CREDENTIALS_FILE="+none)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	return out, stderr.String(), err == nil
}

// run runs a command of `aws kinesis` and reads its answer into one, if there is one.
func (c awsCLI) run(into any, args ...string) {
	c.t.Helper()
	out, said, ok := c.try(append([]string{"kinesis"}, args...)...)
	if !ok {
		c.t.Fatalf("aws kinesis %s: %s", strings.Join(args, " "), said)
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal(out, into); err != nil {
		c.t.Fatalf("aws kinesis %s: %v in %s", strings.Join(args, " "), err, out)
	}
}

func TestTheAWSCLITailsAStreamThroughASplit(t *testing.T) {
	c := withAWSCLI(t, start(t, Config{Memory: true}).Endpoint())
	c.run(nil, "create-stream", "--stream-name", "tailed", "--shard-count", "1")
	file := filepath.Join(t.TempDir(), "data")
	put := func(data string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		c.run(nil, "put-record", "--stream-name", "tailed", "--partition-key", "k", "--data", "fileb://"+file)
	}
	put("\x00\xff\x80 before")
	c.run(nil, "split-shard", "--stream-name", "tailed", "--shard-to-split", "shardId-000000000000", "--new-starting-hash-key", "170141183460469231731687303715884105728")
	put("behind")

	var got []string
	for todo := []string{"shardId-000000000000"}; len(todo) > 0; todo = todo[1:] {
		var it struct{ ShardIterator string }
		c.run(&it, "get-shard-iterator", "--stream-name", "tailed", "--shard-id", todo[0], "--shard-iterator-type", "TRIM_HORIZON")
		var page struct {
			Records           []struct{ Data []byte }
			NextShardIterator string
			ChildShards       []struct{ ShardId string }
		}
		c.run(&page, "get-records", "--shard-iterator", it.ShardIterator)
		for _, r := range page.Records {
			got = append(got, string(r.Data))
		}
		if (page.NextShardIterator == "") != (len(page.ChildShards) == 2) {
			t.Errorf("%s: next iterator %q, children %v", todo[0], page.NextShardIterator, page.ChildShards)
		}
		for _, child := range page.ChildShards {
			todo = append(todo, child.ShardId)
		}
	}
	if want := []string{"\x00\xff\x80 before", "behind"}; !slices.Equal(got, want) {
		t.Errorf("read %q, want %q", got, want)
	}

	for _, tt := range []struct {
		args []string
		says []string // between them the CLI's second version tells of its retries
	}{
		{[]string{"kinesis", "describe-stream", "--stream-name", "tailed", "--region", "eu-west-1"}, []string{"(ResourceNotFoundException) when calling the DescribeStream operation", ": Stream tailed under account 000000000000 not found."}},
		{[]string{"s3", "ls"}, []string{"wasmill has no service for s3, only "}},
	} {
		out, said, ok := c.try(tt.args...)
		for _, want := range tt.says {
			if ok || !strings.Contains(said, want) {
				t.Errorf("aws %s: %s %s, want %q", strings.Join(tt.args, " "), out, said, want)
			}
		}
	}
	c.run(nil, "delete-stream", "--stream-name", "tailed")
	c.run(nil, "wait", "stream-not-exists", "--stream-name", "tailed")
}

// The SDKs for Java before 2.30, and with them the KCL and the KPL, speak CBOR 1.1: what
// is a blob in bytes, and times as whole milliseconds.
func TestRecordsGoRoundInCBORAsJavaSpeaksIt(t *testing.T) {
	s := start(t, Config{Memory: true})
	began := time.Now()
	call := func(op string, in cbor.Map) cbor.Map {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.Endpoint(), bytes.NewReader(cbor.Encode(in)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-amz-cbor-1.1")
		req.Header.Set("X-Amz-Target", "Kinesis_20131202."+op)
		req.Header.Set("X-Amz-Date", "20260101T000000Z")
		req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=00")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "application/x-amz-cbor-1.1" {
			t.Fatalf("%s: %d %s %q", op, res.StatusCode, res.Header.Get("Content-Type"), body)
		}
		if len(body) == 0 {
			return nil
		}
		out, err := cbor.Decode(body)
		if err != nil {
			t.Fatalf("%s: %v in %x", op, err, body)
		}
		return out.(cbor.Map)
	}
	millis := func(at time.Time) cbor.Value { return &cbor.Tag{ID: 1, Value: cbor.Uint(at.UnixMilli())} }

	call("CreateStream", cbor.Map{"StreamName": cbor.String("java"), "ShardCount": cbor.Uint(1)})
	data := []byte("\x00\xff from Java")
	call("PutRecord", cbor.Map{"StreamName": cbor.String("java"), "PartitionKey": cbor.String("k"), "Data": cbor.Slice(data)})
	it := call("GetShardIterator", cbor.Map{"StreamName": cbor.String("java"), "ShardId": cbor.String("shardId-000000000000"),
		"ShardIteratorType": cbor.String("AT_TIMESTAMP"), "Timestamp": millis(began)})["ShardIterator"]
	page := call("GetRecords", cbor.Map{"ShardIterator": it, "Limit": cbor.Uint(10)})
	records := page["Records"].(cbor.List)
	if len(records) != 1 {
		t.Fatalf("%d records since the test began, want 1", len(records))
	}
	r := records[0].(cbor.Map)
	if got, ok := r["Data"].(cbor.Slice); !ok || !bytes.Equal(got, data) {
		t.Errorf("data %v, want the bytes %q", r["Data"], data)
	}
	arrival, ok := r["ApproximateArrivalTimestamp"].(*cbor.Tag)
	if !ok || arrival.ID != 1 {
		t.Fatalf("arrival %#v, want a time", r["ApproximateArrivalTimestamp"])
	}
	if ms, ok := arrival.Value.(cbor.Uint); !ok || int64(ms) < began.UnixMilli() || int64(ms) > time.Now().UnixMilli() {
		t.Errorf("arrival %v, want milliseconds since 1970, after %d", arrival.Value, began.UnixMilli())
	}
	// One millisecond after the record there is none.
	after := time.UnixMilli(int64(arrival.Value.(cbor.Uint)) + 1)
	time.Sleep(time.Until(after.Add(time.Millisecond))) // a place in the future is refused
	it = call("GetShardIterator", cbor.Map{"StreamName": cbor.String("java"), "ShardId": cbor.String("shardId-000000000000"),
		"ShardIteratorType": cbor.String("AT_TIMESTAMP"), "Timestamp": millis(after)})["ShardIterator"]
	if records := call("GetRecords", cbor.Map{"ShardIterator": it})["Records"].(cbor.List); len(records) != 0 {
		t.Errorf("%d records a millisecond after the last", len(records))
	}
}
