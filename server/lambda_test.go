package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	kinesistypes "github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/wasmill/wasmill/functions/build"
	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/s3"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/stream/natsstream"
)

// stack is a server as clients of AWS's have it.
type stack struct {
	t       *testing.T
	server  *Server
	lambda  *lambda.Client
	kinesis *kinesis.Client
	logs    *cloudwatchlogs.Client
	bucket  *s3mem.Backend // where the bucket failures is
	out     string         // a directory that may be a destination
}

func newStack(t *testing.T, c Config) *stack {
	t.Helper()
	s := start(t, c)
	made, endpoint := credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""), aws.String(s.Endpoint())
	return &stack{t: t, server: s,
		lambda:  lambda.New(lambda.Options{Region: "us-east-1", BaseEndpoint: endpoint, Credentials: made}),
		kinesis: kinesis.New(kinesis.Options{Region: "us-east-1", BaseEndpoint: endpoint, Credentials: made}),
		logs:    cloudwatchlogs.New(cloudwatchlogs.Options{Region: "us-east-1", BaseEndpoint: endpoint, Credentials: made}),
	}
}

// of is the same for a test within this one.
func (s *stack) of(t *testing.T) *stack {
	part := *s
	part.t = t
	return &part
}

func (s *stack) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *stack) until(what string, is func() bool) {
	s.t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("not after a minute: %s", what)
		}
	}
}

// often has a waiter look more often than is polite to AWS.
func often(o *kinesis.StreamExistsWaiterOptions) {
	o.MinDelay, o.MaxDelay = 10*time.Millisecond, time.Second
}

// stream makes a stream of one shard.
func (s *stack) stream(name string) {
	s.t.Helper()
	_, err := s.kinesis.CreateStream(s.t.Context(), &kinesis.CreateStreamInput{StreamName: &name, ShardCount: aws.Int32(1)})
	s.check(err)
	s.check(kinesis.NewStreamExistsWaiter(s.kinesis, often).Wait(s.t.Context(), &kinesis.DescribeStreamInput{StreamName: &name}, time.Minute))
}

func arnOf(name string) string { return "arn:aws:kinesis:us-east-1:000000000000:stream/" + name }

// put puts one record each, all of one key and with one call, and says their numbers.
func (s *stack) put(name string, data ...string) (sequence []string) {
	s.t.Helper()
	in := &kinesis.PutRecordsInput{StreamName: &name}
	for _, d := range data {
		in.Records = append(in.Records, kinesistypes.PutRecordsRequestEntry{PartitionKey: aws.String("k"), Data: []byte(d)})
	}
	out, err := s.kinesis.PutRecords(s.t.Context(), in)
	s.check(err)
	for _, r := range out.Records {
		if r.ErrorCode != nil {
			s.t.Fatalf("put: %s", *r.ErrorCode)
		}
		sequence = append(sequence, *r.SequenceNumber)
	}
	return sequence
}

// read is the data of all records of a stream.
func (s *stack) read(name string) (data [][]byte) {
	s.t.Helper()
	it, err := s.kinesis.GetShardIterator(s.t.Context(), &kinesis.GetShardIteratorInput{StreamName: &name, ShardId: aws.String("shardId-000000000000"), ShardIteratorType: kinesistypes.ShardIteratorTypeTrimHorizon})
	s.check(err)
	page, err := s.kinesis.GetRecords(s.t.Context(), &kinesis.GetRecordsInput{ShardIterator: it.ShardIterator})
	s.check(err)
	for _, r := range page.Records {
		data = append(data, r.Data)
	}
	return data
}

// batches is the code of testdata/batches.
var batches = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "batches")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "batches.wasm")
	if _, err := build.Go(context.Background(), build.Options{Dir: "testdata/batches", Out: out}); err != nil {
		return nil, err
	}
	return os.ReadFile(out)
})

// function makes one of testdata/batches, uploaded as a zip, and waits until it is active.
func (s *stack) function(name string, env map[string]string) {
	s.t.Helper()
	code, err := batches()
	s.check(err)
	_, err = s.lambda.CreateFunction(s.t.Context(), &lambda.CreateFunctionInput{
		FunctionName: &name, Role: aws.String("arn:aws:iam::000000000000:role/any"), Runtime: types.RuntimeProvidedal2023, Handler: aws.String("bootstrap"), Timeout: aws.Int32(30),
		Code: &types.FunctionCode{ZipFile: zipped(s.t, code)}, Environment: &types.Environment{Variables: env},
	})
	s.check(err)
	s.check(lambda.NewFunctionActiveV2Waiter(s.lambda).Wait(s.t.Context(), &lambda.GetFunctionInput{FunctionName: &name}, time.Minute))
}

// seen are the batches that a function had, in order of invocation, as it printed them.
func (s *stack) seen(function string) (lines []string) {
	s.t.Helper()
	pages := cloudwatchlogs.NewFilterLogEventsPaginator(s.logs, &cloudwatchlogs.FilterLogEventsInput{LogGroupName: aws.String("/aws/lambda/" + function), FilterPattern: aws.String("batch")})
	for pages.HasMorePages() {
		page, err := pages.NextPage(s.t.Context())
		if err != nil { // the group is made by the first line
			return nil
		}
		for _, e := range page.Events {
			if _, line, ok := strings.Cut(*e.Message, "batch "); ok {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
	}
	return lines
}

// end deletes a mapping when its function has had that many batches, and then says all that
// it had: those that came too much too. Nothing starts once a mapping is gone, and what is
// invoked then prints behind it.
func (s *stack) end(mapping *lambda.CreateEventSourceMappingOutput, function string, count int) []string {
	s.t.Helper()
	s.until(fmt.Sprintf("%d batches", count), func() bool { return len(s.seen(function)) >= count })
	_, err := s.lambda.DeleteEventSourceMapping(s.t.Context(), &lambda.DeleteEventSourceMappingInput{UUID: mapping.UUID})
	s.check(err)
	s.until("the mapping is gone", func() bool {
		_, err := s.lambda.GetEventSourceMapping(s.t.Context(), &lambda.GetEventSourceMappingInput{UUID: mapping.UUID})
		_, gone := errors.AsType[*types.ResourceNotFoundException](err)
		return gone
	})
	out, err := s.lambda.Invoke(s.t.Context(), &lambda.InvokeInput{FunctionName: &function, Payload: []byte(`{"Records":[{"kinesis":{"sequenceNumber":"1","partitionKey":"k","data":"eyJuIjo5OTl9"},"eventSource":"aws:kinesis"}]}`)})
	s.check(err)
	if out.FunctionError != nil {
		s.t.Fatalf("%s: %s", *out.FunctionError, out.Payload)
	}
	var lines []string
	s.until("the last line", func() bool {
		lines = s.seen(function)
		return slices.Contains(lines, "999")
	})
	return slices.DeleteFunc(lines, func(line string) bool { return line == "999" })
}

// numbered are records {"n":1}, {"n":2} and so on.
func numbered(count int) (data []string) {
	for n := range count {
		data = append(data, fmt.Sprintf(`{"n":%d,"kind":"order"}`, n+1))
	}
	return data
}

// notice is what a destination gets (esm.md 6.5).
type notice struct {
	RequestContext struct {
		FunctionARN string `json:"functionArn"`
		Condition   string
		Count       int `json:"approximateInvokeCount"`
	}
	ResponseContext *struct {
		StatusCode    int
		FunctionError *string
	}
	KinesisBatchInfo struct {
		ShardID   string `json:"shardId"`
		Start     string `json:"startSequenceNumber"`
		End       string `json:"endSequenceNumber"`
		BatchSize int
		StreamARN string `json:"streamArn"`
	}
	Payload *string
}

func readNotice(t *testing.T, b []byte) (n notice) {
	t.Helper()
	if err := json.Unmarshal(b, &n); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return n
}

// quick has a mapping wait no longer than it must before it tries again.
var quick = map[string]string{"wasmill:retry-backoff": "1ms"}

// The failure rules of mappings as they were recorded on AWS, or documented: which batches a
// function has, in which order, and what destinations are told. All of it with AWS's client.
func TestFailureRulesOverTheWire(t *testing.T) {
	dir, out, backend := t.TempDir(), t.TempDir(), s3mem.New()
	bucket := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(bucket.Close)
	if err := backend.CreateBucket("failures"); err != nil {
		t.Fatal(err)
	}
	aged(t, dir, "old", `{"n":0}`, 80*time.Second)
	s := newStack(t, Config{Data: dir, S3: s3.Options{Endpoint: bucket.URL}, FileDestinations: []string{out}})
	s.bucket, s.out = backend, out
	t.Run("progress resets the quota", s.progressResetsTheQuota)
	t.Run("bisect takes eight invocations", s.bisectTakesEightInvocations)
	t.Run("age discards only old records", s.ageDiscardsOnlyOldRecords)
	t.Run("all at once", s.allAtOnce)
}

// Recorded on AWS (esm.md 6.1): batches of 3, six records, the last always reported as
// failed, 3 retries. Progress resets the quota: record 6 is delivered five times, and the
// notice says 4.
func (s *stack) progressResetsTheQuota(t *testing.T) {
	s = s.of(t)
	s.stream("in-quota")
	s.stream("failures-quota")
	s.function("quota", map[string]string{"POISON": "6", "PARTIAL": "1"})
	sequence := s.put("in-quota", numbered(6)...)
	m, err := s.lambda.CreateEventSourceMapping(t.Context(), &lambda.CreateEventSourceMappingInput{
		FunctionName: aws.String("quota"), EventSourceArn: aws.String(arnOf("in-quota")), StartingPosition: types.EventSourcePositionTrimHorizon, BatchSize: aws.Int32(3), MaximumRetryAttempts: aws.Int32(3),
		FunctionResponseTypes: []types.FunctionResponseType{types.FunctionResponseTypeReportBatchItemFailures}, Tags: quick,
		DestinationConfig: &types.DestinationConfig{OnFailure: &types.OnFailure{Destination: aws.String(arnOf("failures-quota"))}},
	})
	s.check(err)
	s.until("a notice", func() bool { return len(s.read("failures-quota")) > 0 })
	if got, want := s.end(m, "quota", 6), []string{"1 2 3", "4 5 6", "6", "6", "6", "6"}; !slices.Equal(got, want) {
		t.Errorf("batches %q, want %q", got, want)
	}
	all := s.read("failures-quota")
	n := readNotice(t, all[0])
	if r, b := n.RequestContext, n.KinesisBatchInfo; len(all) != 1 || r.Condition != "RetryAttemptsExhausted" || r.Count != 4 || r.FunctionARN != "arn:aws:lambda:us-east-1:000000000000:function:quota" ||
		b.BatchSize != 1 || b.Start != sequence[5] || b.End != sequence[5] || b.ShardID != "shardId-000000000000" || b.StreamARN != arnOf("in-quota") ||
		n.ResponseContext == nil || n.ResponseContext.StatusCode != 200 || n.ResponseContext.FunctionError != nil || n.Payload != nil {
		t.Errorf("%d notices, the first %s", len(all), all[0])
	}
}

// esm.md 6.4: 8 records, number 6 is poison, bisect, 1 retry. What was poison comes to S3
// with its event.
func (s *stack) bisectTakesEightInvocations(t *testing.T) {
	s = s.of(t)
	s.stream("in-bisect")
	s.function("bisect", map[string]string{"POISON": "6"})
	sequence := s.put("in-bisect", numbered(8)...)
	m, err := s.lambda.CreateEventSourceMapping(t.Context(), &lambda.CreateEventSourceMappingInput{
		FunctionName: aws.String("bisect"), EventSourceArn: aws.String(arnOf("in-bisect")), StartingPosition: types.EventSourcePositionTrimHorizon, BatchSize: aws.Int32(8), MaximumRetryAttempts: aws.Int32(1),
		BisectBatchOnFunctionError: aws.Bool(true), Tags: quick, DestinationConfig: &types.DestinationConfig{OnFailure: &types.OnFailure{Destination: aws.String("arn:aws:s3:::failures")}},
	})
	s.check(err)
	list := func() []string {
		objects, err := s.bucket.ListBucket("failures", nil, gofakes3.ListBucketPage{})
		s.check(err)
		var keys []string
		for _, o := range objects.Contents {
			keys = append(keys, o.Key)
		}
		return keys
	}
	s.until("an object", func() bool { return len(list()) > 0 })
	want := []string{"1 2 3 4 5 6 7 8", "1 2 3 4", "5 6 7 8", "5 6", "5", "6", "6", "7 8"}
	if got := s.end(m, "bisect", len(want)); !slices.Equal(got, want) {
		t.Errorf("batches %q, want %q", got, want)
	}
	keys := list()
	if len(keys) != 1 || !strings.HasPrefix(keys[0], "aws/lambda/"+*m.UUID+"/shardId-000000000000/") {
		t.Fatalf("objects %q", keys)
	}
	object, err := s.bucket.GetObject("failures", keys[0], nil)
	s.check(err)
	body, err := io.ReadAll(object.Contents)
	s.check(err)
	n := readNotice(t, body)
	if r, b := n.RequestContext, n.KinesisBatchInfo; r.Condition != "RetryAttemptsExhausted" || r.Count != 2 || b.BatchSize != 1 || b.Start != sequence[5] || b.End != sequence[5] ||
		n.ResponseContext == nil || n.ResponseContext.FunctionError == nil || *n.ResponseContext.FunctionError != "Unhandled" || n.Payload == nil {
		t.Fatalf("notice %s", body)
	}
	var event struct {
		Records []struct{ Kinesis struct{ Data []byte } }
	}
	if err := json.Unmarshal([]byte(*n.Payload), &event); err != nil || len(event.Records) != 1 || string(event.Records[0].Kinesis.Data) != numbered(6)[5] {
		t.Errorf("payload %s, %v", *n.Payload, err)
	}
}

// Recorded on AWS (esm.md 6.2): one record of 80 s and five fresh ones, an age of 60 s, no
// retries. The old one is discarded alone, and the others come in one batch. What is old
// here was put with an older arrival, before the server took the directory.
func (s *stack) ageDiscardsOnlyOldRecords(t *testing.T) {
	s = s.of(t)
	s.function("age", nil)
	s.put("old", numbered(5)...)
	m, err := s.lambda.CreateEventSourceMapping(t.Context(), &lambda.CreateEventSourceMappingInput{
		FunctionName: aws.String("age"), EventSourceArn: aws.String(arnOf("old")), StartingPosition: types.EventSourcePositionTrimHorizon, BatchSize: aws.Int32(10), MaximumRetryAttempts: aws.Int32(0),
		MaximumRecordAgeInSeconds: aws.Int32(60), DestinationConfig: &types.DestinationConfig{OnFailure: &types.OnFailure{Destination: aws.String("file://" + filepath.ToSlash(s.out))}},
	})
	s.check(err)
	files := func() (list []string) {
		err := filepath.WalkDir(s.out, func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() && !strings.HasPrefix(d.Name(), ".") {
				list = append(list, path)
			}
			return err
		})
		s.check(err)
		return list
	}
	s.until("a notice", func() bool { return len(files()) > 0 })
	if got, want := s.end(m, "age", 1), []string{"1 2 3 4 5"}; !slices.Equal(got, want) {
		t.Errorf("batches %q, want %q", got, want)
	}
	b, err := os.ReadFile(files()[0])
	s.check(err)
	if n := readNotice(t, b); len(files()) != 1 || n.RequestContext.Condition != "RecordAgeExceeded" || n.RequestContext.Count < 1 || n.ResponseContext != nil || n.KinesisBatchInfo.BatchSize != 1 {
		t.Errorf("notices %q, the first %s", files(), b)
	}
}

// aged makes a stream in a data directory with one record that came a while ago.
func aged(t *testing.T, dir, name, data string, age time.Duration) {
	t.Helper()
	ctx := t.Context()
	nd, err := natsd.Start(ctx, natsd.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	logs := log.New(nd, log.Options{})
	streams, err := natsstream.Open(ctx, nd, logs, natsstream.Options{})
	if err != nil {
		t.Fatal(err)
	}
	d, err := streams.Create(ctx, stream.Local(name), stream.Config{Shards: 1})
	if err != nil {
		t.Fatal(err)
	}
	shard, err := streams.Shard(ctx, d.ID, d.Shards[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := shard.Log().Append(ctx, []log.Record{{Key: "k", Arrival: time.Now().Add(-age).UnixMilli(), Data: []byte(data)}}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(streams.Close(ctx), logs.Close(ctx), nd.Close(ctx)); err != nil {
		t.Fatal(err)
	}
}

// Everything at once: what the filter passes comes in one batch, a partial reply leaves
// what is before the poison done, the rest is halved until the poison is alone, and that
// is given up after two retries. What the mapping does not match is never seen.
func (s *stack) allAtOnce(t *testing.T) {
	s = s.of(t)
	s.stream("in-all")
	s.stream("failures-all")
	s.function("all", map[string]string{"POISON": "6", "PARTIAL": "1"})
	var data []string
	for i, d := range numbered(8) {
		data = append(data, fmt.Sprintf(`{"n":%d,"kind":"noise"}`, 100+i), d)
	}
	s.put("in-all", data...)
	m, err := s.lambda.CreateEventSourceMapping(t.Context(), &lambda.CreateEventSourceMappingInput{
		FunctionName: aws.String("all"), EventSourceArn: aws.String(arnOf("in-all")), StartingPosition: types.EventSourcePositionTrimHorizon, BatchSize: aws.Int32(8), MaximumRetryAttempts: aws.Int32(2),
		BisectBatchOnFunctionError: aws.Bool(true), FunctionResponseTypes: []types.FunctionResponseType{types.FunctionResponseTypeReportBatchItemFailures}, Tags: quick,
		FilterCriteria:    &types.FilterCriteria{Filters: []types.Filter{{Pattern: aws.String(`{"data":{"kind":["order"],"n":[{"numeric":["<",100]}]}}`)}}},
		DestinationConfig: &types.DestinationConfig{OnFailure: &types.OnFailure{Destination: aws.String(arnOf("failures-all"))}},
	})
	s.check(err)
	if *m.State != "Creating" {
		t.Errorf("created as %s", *m.State)
	}
	s.until("a notice", func() bool { return len(s.read("failures-all")) > 0 })
	want := []string{"1 2 3 4 5 6 7 8", "6 7 8", "6", "6", "6", "7 8"}
	if got := s.end(m, "all", len(want)); !slices.Equal(got, want) {
		t.Errorf("batches %q, want %q", got, want)
	}
	if all := s.read("failures-all"); len(all) != 1 || readNotice(t, all[0]).RequestContext.Count != 3 || readNotice(t, all[0]).KinesisBatchInfo.BatchSize != 1 {
		t.Errorf("notices %q", all)
	}
}
