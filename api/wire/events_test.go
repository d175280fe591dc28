package wire

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

// Source: the test vectors of AWS' event-stream clients (empty_message, payload_no_headers)
// and of wasmill (the rest), whose CRCs the SDK's decoder checks below.
func TestMessagesOfEventStreamsAreEncodedAsTheVectorsSay(t *testing.T) {
	tests := []struct {
		name    string
		headers []header
		payload string
		want    string
	}{
		{"empty_message", nil, "", "00000010 00000000 05c248eb 7d98c8ff"},
		{"payload_no_headers", nil, "{'foo':'bar'}", "0000001d 00000000 fd528c5a 7b27666f6f273a27626172277d c3653936"},
		{"one header", []header{{":message-type", "event"}}, "", ""},
	}
	for _, tt := range tests {
		got := appendMessage(nil, tt.headers, []byte(tt.payload))
		if want := strings.ReplaceAll(tt.want, " ", ""); want != "" && hex.EncodeToString(got) != want {
			t.Errorf("%s: %x, want %s", tt.name, got, want)
		}
		m, err := eventstream.NewDecoder().Decode(bytes.NewReader(got), nil)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if string(m.Payload) != tt.payload || len(m.Headers) != len(tt.headers) {
			t.Errorf("%s: %v", tt.name, m)
		}
		for _, h := range tt.headers {
			if got := m.Headers.Get(h.name); got == nil || got.String() != h.value {
				t.Errorf("%s: header %s: %v, want %s", tt.name, h.name, got, h.value)
			}
		}
	}
}

// over is how a test talks to a server.
var over = []struct {
	name   string
	major  int
	client func() *http.Client
}{
	{"HTTP/1.1", 1, func() *http.Client { return &http.Client{Transport: &http.Transport{}} }},
	{"HTTP/2 with prior knowledge", 2, func() *http.Client {
		p := new(http.Protocols)
		p.SetUnencryptedHTTP2(true)
		return &http.Client{Transport: &http.Transport{Protocols: p}}
	}},
}

func TestAnEventStreamIsReadAsItComes(t *testing.T) {
	release := make(chan struct{})
	s := testService()
	s.Ops = append(s.Ops, &Operation{Name: "Slow", Stream: func(ctx context.Context, c *Call, open func() (*Events, error)) error {
		events, err := open()
		if err != nil {
			return err
		}
		select {
		case <-release:
		case <-ctx.Done():
			return ctx.Err()
		}
		return events.Send("SubscribeToShardEvent", testEvent{Continuation: "9"})
	}})
	server := testServer(t, testHandler(t, Options{Services: []*Service{s}}))
	for _, o := range over {
		t.Run(o.name, func(t *testing.T) {
			r := do(t, o.client(), server.URL, "Slow")
			if r.ProtoMajor != o.major || r.Header.Get("Content-Type") != "application/vnd.amazon.eventstream" {
				t.Fatalf("%s, content type %q", r.Proto, r.Header.Get("Content-Type"))
			}
			if o.major == 1 && (len(r.TransferEncoding) == 0 || r.TransferEncoding[0] != "chunked") {
				t.Errorf("transfer encoding %v", r.TransferEncoding)
			}
			// The operation waits until its first event has been read here.
			if got, want := next(t, r.Body), "event initial-response application/x-amz-json-1.1 {}"; got != want {
				t.Errorf("%s, want %s", got, want)
			}
			release <- struct{}{}
			want := `event SubscribeToShardEvent application/x-amz-json-1.1 {"Records":null,"ContinuationSequenceNumber":"9","MillisBehindLatest":0}`
			if got := next(t, r.Body); got != want {
				t.Errorf("%s, want %s", got, want)
			}
			if b, err := io.ReadAll(r.Body); err != nil || len(b) > 0 {
				t.Errorf("after the end: %q, %v", b, err)
			}
		})
	}
}

func do(t *testing.T, client *http.Client, url, op string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", url, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range jsonHead(op) {
		req.Header.Set(name, value)
	}
	r, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Body.Close(); client.CloseIdleConnections() })
	return r
}

func next(t *testing.T, body io.Reader) string {
	t.Helper()
	m, err := eventstream.NewDecoder().Decode(body, nil)
	if err != nil {
		t.Fatal(err)
	}
	kind := m.Headers.Get(":event-type")
	if kind == nil {
		kind = m.Headers.Get(":exception-type")
	}
	return strings.Join([]string{m.Headers.Get(":message-type").String(), kind.String(), m.Headers.Get(":content-type").String(), string(m.Payload)}, " ")
}

func TestAnErrorInAnEventStreamIsAnException(t *testing.T) {
	server := testServer(t, testHandler(t, Options{}))
	r := do(t, http.DefaultClient, server.URL, "SubscribeToShard")
	next(t, r.Body)
	next(t, r.Body)
	want := `exception ResourceInUseException application/x-amz-json-1.1 {"__type":"ResourceInUseException","message":"Another active subscription exists"}`
	if got := next(t, r.Body); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestAnErrorBeforeAnEventStreamIsAnOrdinaryAnswer(t *testing.T) {
	s := &Service{Name: "kinesis", Target: "Kinesis_20131202", Signing: "kinesis", Ops: []*Operation{
		{Name: "SubscribeToShard", Stream: func(ctx context.Context, c *Call, open func() (*Events, error)) error {
			return Errorf("ResourceNotFoundException", "no such consumer")
		}}}}
	r := call(testHandler(t, Options{Services: []*Service{s}}), "SubscribeToShard", "{}")
	if got, want := text(t, r), `{"__type":"ResourceNotFoundException","message":"no such consumer"}`; r.StatusCode != 400 || got != want {
		t.Errorf("%d %s, want %s", r.StatusCode, got, want)
	}
}

func TestEventStreamsEndWithTheServerAndWithTheirClient(t *testing.T) {
	began, ended := make(chan struct{}), make(chan error, 1)
	closing := make(chan struct{})
	s := &Service{Name: "kinesis", Target: "Kinesis_20131202", Signing: "kinesis", Ops: []*Operation{
		{Name: "SubscribeToShard", Stream: func(ctx context.Context, c *Call, open func() (*Events, error)) error {
			if _, err := open(); err != nil {
				return err
			}
			began <- struct{}{}
			<-ctx.Done()
			ended <- ctx.Err()
			return ctx.Err()
		}}}}
	server := testServer(t, testHandler(t, Options{Services: []*Service{s}, Closing: closing}))
	for _, o := range over {
		client := o.client()
		r := do(t, client, server.URL, "SubscribeToShard")
		<-began
		r.Body.Close() // the client goes
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", o.name, err)
		}
	}
	r := do(t, http.DefaultClient, server.URL, "SubscribeToShard")
	<-began
	close(closing)
	<-ended
	next(t, r.Body)
	if b, err := io.ReadAll(r.Body); err != nil || len(b) > 0 {
		t.Errorf("the stream ended with %q, %v: want it to end in good order", b, err)
	}
}

func TestAnUnreadEventStreamEndsWithTheServer(t *testing.T) {
	full, ended := make(chan struct{}), make(chan error, 1)
	s := &Service{Name: "kinesis", Target: "Kinesis_20131202", Signing: "kinesis", Ops: []*Operation{
		{Name: "SubscribeToShard", Stream: func(ctx context.Context, c *Call, open func() (*Events, error)) error {
			events, err := open()
			for i := 0; err == nil; i++ {
				if i == 3 {
					full <- struct{}{} // nobody reads: soon an event does not fit into the buffers
				}
				err = events.Send("SubscribeToShardEvent", map[string]string{"Text": strings.Repeat("x", 1<<20)})
			}
			ended <- err
			return nil
		}}}}
	for _, o := range over {
		closing := make(chan struct{})
		r := do(t, o.client(), testServer(t, testHandler(t, Options{Services: []*Service{s}, Closing: closing})).URL, "SubscribeToShard")
		<-full
		close(closing)
		select {
		case <-ended:
		case <-time.After(eventTime / 2):
			t.Errorf("%s: the stream lasts", o.name)
		}
		r.Body.Close()
	}
}

// The AWS SDK is the judge of all the rest: it reads answers, errors and events.
func TestTheSDKUnderstandsAnswersErrorsAndEvents(t *testing.T) {
	server := testServer(t, testHandler(t, Options{}))
	for _, o := range over {
		t.Run(o.name, func(t *testing.T) {
			client := o.client()
			defer client.CloseIdleConnections()
			sdk := kinesis.New(kinesis.Options{
				Region: "eu-west-1", BaseEndpoint: aws.String(server.URL), HTTPClient: client,
				Credentials: credentials.NewStaticCredentialsProvider("123456789012", "secret", ""),
			})
			out, err := sdk.ListStreams(t.Context(), &kinesis.ListStreamsInput{})
			if err != nil || len(out.StreamNames) != 3 || out.StreamNames[0] != "123456789012" || out.StreamNames[1] != "eu-west-1" {
				t.Fatalf("%+v, %v", out, err)
			}
			if _, err := sdk.DeleteStream(t.Context(), &kinesis.DeleteStreamInput{StreamName: aws.String("s")}); err != nil {
				t.Error(err)
			}
			_, err = sdk.DeleteStream(t.Context(), &kinesis.DeleteStreamInput{})
			if err == nil || !strings.Contains(err.Error(), "ValidationException: 1 validation error detected: Value null at 'streamName'") {
				t.Error(err)
			}
			sub, err := sdk.SubscribeToShard(t.Context(), &kinesis.SubscribeToShardInput{
				ConsumerARN: aws.String("arn"), ShardId: aws.String("s"), StartingPosition: &types.StartingPosition{Type: types.ShardIteratorTypeLatest}})
			if err != nil {
				t.Fatal(err)
			}
			stream := sub.GetStream()
			defer stream.Close()
			event, ok := (<-stream.Events()).(*types.SubscribeToShardEventStreamMemberSubscribeToShardEvent)
			if !ok {
				t.Fatalf("no event: %v", stream.Err())
			}
			record := event.Value.Records[0]
			if string(record.Data) != "hello" || record.ApproximateArrivalTimestamp.UnixMilli() != 1441215410867 || *event.Value.MillisBehindLatest != 7 {
				t.Errorf("%+v", event.Value)
			}
			if _, more := <-stream.Events(); more {
				t.Error("an event after the exception")
			}
			var inUse *types.ResourceInUseException
			if err := stream.Err(); !errors.As(err, &inUse) || inUse.ErrorMessage() != "Another active subscription exists" {
				t.Errorf("the stream ended with %v", err)
			}
		})
	}
}
