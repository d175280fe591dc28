package destination

import (
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/internal/s3"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/stream/natsstream"
	"github.com/wasmill/wasmill/triggers"
)

// streams is a store that has a stream "dead".
func streams(t *testing.T) *natsstream.Store {
	t.Helper()
	srv := natsdtest.Memory(t)
	logs := log.New(srv, log.Options{})
	s, err := natsstream.Open(context.Background(), srv, logs, natsstream.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(s.Close(context.Background()), logs.Close(context.Background())) })
	if _, err := s.Create(context.Background(), stream.Local("dead"), stream.Config{Shards: 2}); err != nil {
		t.Fatal(err)
	}
	return s
}

// objects is an endpoint that has a bucket "dead".
func objects(t *testing.T) (*s3.Client, *s3mem.Backend) {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("dead"); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(srv.Close)
	c, err := s3.New(s3.Options{Endpoint: srv.URL, AccessKey: "a", SecretKey: "b"})
	if err != nil {
		t.Fatal(err)
	}
	return c, backend
}

func TestNoticesGoToAStreamOfThisServer(t *testing.T) {
	store := streams(t)
	s, err := New(Options{Streams: store})
	if err != nil {
		t.Fatal(err)
	}
	n := Notice(mappingTo(stream.Local("dead").ARN()), source0, discarded(dlq.RetryAttemptsExhausted, 1, 3))
	if err := s.Send(context.Background(), n); err != nil {
		t.Fatal(err)
	}
	d, err := store.Describe(context.Background(), stream.Local("dead"))
	if err != nil {
		t.Fatal(err)
	}
	var got []stream.Record
	for _, sh := range d.Shards {
		page, err := store.Read(context.Background(), d.Ref, sh.ID, stream.Position{Kind: stream.TrimHorizon}, 10)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, page.Records...)
	}
	if len(got) != 1 || string(got[0].Data) != string(n.Body) || got[0].PartitionKey != shard0 {
		t.Errorf("records = %+v; want the body, its key %s", got, shard0)
	}
	n.Destination = stream.Local("gone").ARN()
	if err := s.Send(context.Background(), n); !errors.Is(err, stream.ErrNotFound) {
		t.Errorf("send to a stream that is not there: %v", err)
	}
}

func TestNoticesGoToABucketOnceHoweverOftenTheyAreSent(t *testing.T) {
	client, backend := objects(t)
	s, err := New(Options{Objects: client})
	if err != nil {
		t.Fatal(err)
	}
	first := Notice(mappingTo("arn:aws:s3:::dead"), source0, discarded(dlq.RetryAttemptsExhausted, 1, 3))
	second := Notice(mappingTo("arn:aws:s3:::dead"), source0, discarded(dlq.RetryAttemptsExhausted, 4, 4))
	for _, n := range []triggers.Notice{first, first, second, first} {
		if err := s.Send(context.Background(), n); err != nil {
			t.Fatal(err)
		}
	}
	list, err := backend.ListBucket("dead", nil, gofakes3.ListBucketPage{})
	if err != nil || len(list.Contents) != 2 {
		t.Errorf("%+v, %v; want 2 objects", list, err)
	}
	for _, n := range []triggers.Notice{first, second} {
		if got, err := client.Get(context.Background(), "dead", Key(n), "", 1<<20); err != nil || string(got) != string(Object(n)) {
			t.Errorf("%s = %s, %v", Key(n), got, err)
		}
	}
}

func TestCheckSaysWhatCanBeADestination(t *testing.T) {
	client, _ := objects(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	store := streams(t)
	s, err := New(Options{Streams: store, Objects: client, Directories: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	bare, err := New(Options{Streams: store})
	if err != nil {
		t.Fatal(err)
	}
	files := "file://" + filepath.ToSlash(dir)
	for _, tt := range []struct {
		s           *Sender
		destination string
		want        string // in the error; empty: none
	}{
		{s, "", ""},
		{s, stream.Local("dead").ARN(), ""},
		{s, stream.Local("gone").ARN(), "there is no such stream"},
		{s, "arn:aws:kinesis:us-east-1:1:stream/dead", "want 12 digits"},
		{s, "arn:aws:kinesis:us-east-1:000000000000:stream/dead/consumer/c:1", "stream name"},
		{s, "arn:aws:kinesis:us-east-1:000000000000:table/x", "of Kinesis only streams"},
		{s, "arn:aws:s3:::dead", ""},
		{s, "arn:aws-cn:s3:::dead", "nothing of partition aws-cn"},
		{s, "arn:aws-cn:kinesis:us-east-1:000000000000:stream/dead", "nothing of partition aws-cn"},
		{s, "arn:aws:s3:::gone", "not found: bucket gone"},
		{s, "arn:aws:s3:::NO_NAME", "NO_NAME"},
		{s, "arn:aws:s3:::dead/prefix", "only whole buckets"},
		{bare, "arn:aws:s3:::dead", "wasmill up --s3 URL"},
		{s, files, ""},
		{s, files + "/", ""},
		{s, files + "/not/there/yet", ""},
		{s, files + "/file", "no directory"},
		{s, files + "/..", "only below " + dir},
		{s, files + "/a/../../b", "only below " + dir},
		{s, "file:///etc", "wasmill up --file-destinations DIR"},
		{s, "file://relative", "absolute path"},
		{s, "file://", "absolute path"},
		{bare, files, "wasmill up --file-destinations DIR"},
		{s, "kafka://topic", "no Kafka"},
		{s, "arn:aws:kafka:us-east-1:000000000000:cluster/c/1", "no Kafka"},
		{s, "arn:aws:sns:us-east-1:000000000000:topic", "SNS topics are no destinations"},
		{s, "arn:aws:sqs:us-east-1:000000000000:queue", "queues are no destinations yet"},
		{s, "arn:aws:lambda:us-east-1:000000000000:function:f", "functions are no destinations"},
		{s, "arn:aws:events:us-east-1:000000000000:event-bus/b", "event buses are no destinations"},
		{s, "dead", "name a stream of this server"},
		{s, "arn:aws:dynamodb:us-east-1:000000000000:table/t", "name a stream of this server"},
		{s, "arn:aws:s3:::" + strings.Repeat("b", 350), "want 350 at most"},
	} {
		err := tt.s.Check(context.Background(), tt.destination)
		if tt.want == "" {
			if err != nil {
				t.Errorf("%s: %v", tt.destination, err)
			}
			continue
		}
		if !errors.Is(err, triggers.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want ErrInvalid, saying %q", tt.destination, err, tt.want)
		}
		if n := (triggers.Notice{Destination: tt.destination, Body: []byte("{}")}); tt.s.Send(context.Background(), n) == nil {
			t.Errorf("%s: a notice was sent", tt.destination)
		}
	}
}

func TestAnEndpointThatDoesNotAnswerIsNobodysFault(t *testing.T) {
	srv := httptest.NewServer(nil)
	srv.Close()
	client, err := s3.New(s3.Options{Endpoint: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{Objects: client})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Check(context.Background(), "arn:aws:s3:::dead"); !errors.Is(err, s3.ErrUnavailable) || errors.Is(err, triggers.ErrInvalid) {
		t.Errorf("check = %v, want ErrUnavailable", err)
	}
}
