package lambda

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/dlq/morgue"
	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/internal/kv"
	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/stream/natsstream"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/journal"
	"github.com/wasmill/wasmill/triggers/poll"
	"github.com/wasmill/wasmill/triggers/relay"
)

// mill is the service on triggers and streams as they are, behind a real port, and a client
// of AWS's. Functions are names, and what they do is a Go func of the test.
type mill struct {
	t       *testing.T
	url     string
	streams *natsstream.Store
	manager *poll.Manager
	shelf   *shelf
	*sdk.Client
}

// config is how a mapping is set, and named what the command line calls it.
func (m *mill) config(id string) triggers.Config {
	m.t.Helper()
	mp, err := m.manager.Find(m.t.Context(), id)
	if err != nil {
		m.t.Fatal(err)
	}
	return mp.Config
}

func (m *mill) named(id string) string {
	m.t.Helper()
	mp, err := m.manager.Find(m.t.Context(), id)
	if err != nil {
		m.t.Fatal(err)
	}
	return mp.Name
}

// shelf has the functions f and g with version 7 and alias live, and the function slow.
type shelf struct {
	Functions // what mappings do not ask for

	mu     sync.Mutex
	gone   map[string]bool
	handle func(context.Context, *runtime.Invocation) runtime.Result
}

func (s *shelf) Resolve(_ context.Context, name, qualifier string) (functions.Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains([]string{"f", "g", "slow"}, name) || s.gone[name] || !slices.Contains([]string{"", "$LATEST", "7", "live"}, qualifier) {
		return functions.Version{}, fmt.Errorf("%w: function %s", functions.ErrNotFound, name)
	}
	return functions.Version{Function: name, Version: functions.Unpublished}, nil
}

func (s *shelf) Version(ctx context.Context, name, qualifier string) (functions.Version, error) {
	return s.Resolve(ctx, name, qualifier)
}

func (s *shelf) Invoke(ctx context.Context, name, qualifier string, inv *runtime.Invocation) runtime.Result {
	s.mu.Lock()
	handle := s.handle
	s.mu.Unlock()
	res := runtime.Result{Outcome: runtime.Done}
	if handle != nil {
		res = handle(ctx, inv)
	}
	res.Version = functions.Version{Function: name, Version: functions.Unpublished}
	return res
}

func (s *shelf) doing(handle func(context.Context, *runtime.Invocation) runtime.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handle = handle
}

// allowed is where notices may go.
type allowed string

func (a allowed) Check(_ context.Context, to string) error {
	if to == string(a) {
		return nil
	}
	return fmt.Errorf("%w: %s: no such place", triggers.ErrInvalid, to)
}

const (
	account     = "000000000000"
	streamARN   = "arn:aws:kinesis:us-east-1:000000000000:stream/s"
	functionF   = "arn:aws:lambda:us-east-1:000000000000:function:f"
	failuresARN = "arn:aws:kinesis:us-east-1:000000000000:stream/failures"
)

// newMill has the streams s, t and failures, and the consumer fan of s.
func newMill(t *testing.T) *mill {
	t.Helper()
	ctx, srv := t.Context(), natsdtest.Memory(t)
	logs := log.New(srv, log.Options{})
	streams, err := natsstream.Open(ctx, srv, logs, natsstream.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"s", "t", "failures"} {
		if _, err := streams.Create(ctx, stream.Local(name), stream.Config{Shards: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := streams.SetAttributes(ctx, stream.Local("s"), func(a *stream.Attributes) error {
		a.Consumers = []stream.Consumer{{Name: "fan", Created: time.Unix(1_700_000_000, 0).UTC()}}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	journals := journal.Open(srv, journal.Options{})
	letters, err := morgue.Open(ctx, srv, journals)
	if err != nil {
		t.Fatal(err)
	}
	mappings, err := kv.Open[triggers.Mapping](ctx, srv, "triggers")
	if err != nil {
		t.Fatal(err)
	}
	carrier := relay.New(srv, journals, letters, streams, nil)
	shelf := &shelf{gone: map[string]bool{}}
	manager := poll.New(poll.Deps{Streams: streams, Journals: journals, Mappings: mappings, Invoker: shelf, Relay: carrier, Letters: letters, Functions: shelf, Destinations: allowed(failuresARN)})
	if err := manager.Start(ctx); err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { _ = carrier.Run(running) })
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		err := manager.Close(ctx)
		stop()
		wg.Wait()
		if err := errors.Join(err, streams.Close(ctx), logs.Close(ctx)); err != nil {
			t.Error(err)
		}
	})
	h, err := wire.New(wire.Options{Services: []*wire.Service{recording(New(Deps{Functions: shelf, Invoker: shelf, Mappings: manager, Streams: streams}))}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return &mill{t: t, url: server.URL, streams: streams, manager: manager, shelf: shelf, Client: sdk.New(sdk.Options{
		BaseEndpoint: aws.String(server.URL), Region: "us-east-1", RetryMaxAttempts: 1, Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
	})}
}

const mappingsPath = "/2015-03-31/event-source-mappings"

// mappingAnswer is what came of a request.
type mappingAnswer struct {
	status int
	code   string // x-amzn-ErrorType
	body   string
}

// send sends a request as it is, in the name of an account ("" is the usual one).
func (m *mill) send(from, method, path, body string) mappingAnswer {
	m.t.Helper()
	req, err := http.NewRequestWithContext(m.t.Context(), method, m.url+path, strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	key, region, _ := strings.Cut(from, " ")
	if key == "" {
		key = "AKIDEXAMPLE"
	}
	if region == "" {
		region = "us-east-1"
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Amz-Date", "20260101T000000Z")
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+key+"/20260101/"+region+"/lambda/aws4_request, SignedHeaders=host, Signature=00")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		m.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return mappingAnswer{res.StatusCode, res.Header.Get("X-Amzn-Errortype"), string(b)}
}

// shownMapping is a mapping as an answer shows it.
type shownMapping map[string]any

func (r shownMapping) id() string { return r["UUID"].(string) }

func (r shownMapping) text(key string) string { s, _ := r[key].(string); return s }

// want is an answer with a mapping, of that status.
func (m *mill) want(a mappingAnswer, status int) shownMapping {
	m.t.Helper()
	var r shownMapping
	if err := json.Unmarshal([]byte(a.body), &r); err != nil || a.status != status {
		m.t.Fatalf("%d %s %s, want %d", a.status, a.code, a.body, status)
	}
	return r
}

// create makes a mapping of s and f, unless members say otherwise ("" leaves it so), paused
// unless they say that.
func (m *mill) create(members string) shownMapping {
	m.t.Helper()
	return m.want(m.send("", http.MethodPost, mappingsPath, mappingBody(members)), http.StatusAccepted)
}

// mappingBody is a request to create one that is in order, with those members in place of
// the usual ones.
func mappingBody(members string) string {
	all := map[string]json.RawMessage{"FunctionName": json.RawMessage(`"f"`), "EventSourceArn": json.RawMessage(`"` + streamARN + `"`), "StartingPosition": json.RawMessage(`"TRIM_HORIZON"`), "Enabled": json.RawMessage(`false`)}
	var more map[string]json.RawMessage
	if err := json.Unmarshal([]byte("{"+members+"}"), &more); err != nil {
		panic(members + ": " + err.Error())
	}
	for key, v := range more {
		if all[key] = v; string(v) == `"-"` {
			delete(all, key)
		}
	}
	b, err := json.Marshal(all)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func (m *mill) get(id string) shownMapping {
	m.t.Helper()
	return m.want(m.send("", http.MethodGet, mappingsPath+"/"+id, ""), http.StatusOK)
}

func (m *mill) update(id, members string) shownMapping {
	m.t.Helper()
	return m.want(m.send("", http.MethodPut, mappingsPath+"/"+id, "{"+members+"}"), http.StatusAccepted)
}

// remove deletes a mapping and waits until it is gone.
func (m *mill) remove(id string) {
	m.t.Helper()
	if r := m.want(m.send("", http.MethodDelete, mappingsPath+"/"+id, ""), http.StatusAccepted); r["State"] != "Deleting" || r.id() != id {
		m.t.Errorf("deleted: %v", r)
	}
	m.until("the mapping is gone", func() bool {
		return m.send("", http.MethodGet, mappingsPath+"/"+id, "").status == http.StatusNotFound
	})
}

func (m *mill) until(what string, is func() bool) {
	m.t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			m.t.Fatalf("not after 20 s: %s", what)
		}
	}
}

func (m *mill) put(data ...string) {
	m.t.Helper()
	entries := make([]stream.Entry, len(data))
	for i, d := range data {
		entries[i] = stream.Entry{PartitionKey: "k", Data: []byte(d)}
	}
	results, err := m.streams.Put(m.t.Context(), stream.Local("s"), entries)
	for _, r := range results {
		err = errors.Join(err, r.Err)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// inOrder are the members of a JSON object in their order.
func inOrder(t *testing.T, body string) (list []string) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader([]byte(body)))
	if tok, err := d.Token(); err != nil || tok != json.Delim('{') {
		t.Fatalf("no object: %s", body)
	}
	for d.More() {
		tok, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, tok.(string))
		var skip json.RawMessage
		if err := d.Decode(&skip); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

// The usual members of a mapping of a stream, in the order of AWS's model.
const usualMembers = "UUID StartingPosition BatchSize MaximumBatchingWindowInSeconds ParallelizationFactor EventSourceArn FunctionArn LastModified LastProcessingResult State " +
	"StateTransitionReason DestinationConfig MaximumRecordAgeInSeconds BisectBatchOnFunctionError MaximumRetryAttempts TumblingWindowInSeconds FunctionResponseTypes EventSourceMappingArn"

// mappingReplies are the rules of what a mapping is shown with (esm.md 1.1).
var mappingReplies = []struct {
	rule    string
	members string // of the request to create
	more    string // members besides the usual ones, each behind the one before it: "After:New"
	shown   string // members and their JSON
}{
	{"what was not set is shown with its default", ``, ``,
		`"StartingPosition":"TRIM_HORIZON","BatchSize":100,"MaximumBatchingWindowInSeconds":0,"ParallelizationFactor":1,"DestinationConfig":{"OnFailure":{}},"MaximumRecordAgeInSeconds":-1,
		"BisectBatchOnFunctionError":false,"MaximumRetryAttempts":-1,"TumblingWindowInSeconds":0,"FunctionResponseTypes":[],"LastProcessingResult":"No records processed","StateTransitionReason":"User action",
		"EventSourceArn":"` + streamARN + `","FunctionArn":"` + functionF + `"`},
	{"AT_TIMESTAMP echoes the time", `"StartingPosition":"AT_TIMESTAMP","StartingPositionTimestamp":1700000000.5`, `StartingPosition:StartingPositionTimestamp`,
		`"StartingPosition":"AT_TIMESTAMP","StartingPositionTimestamp":1700000000.5`},
	{"a time beside another position is not echoed", `"StartingPosition":"LATEST","StartingPositionTimestamp":1700000000`, ``, `"StartingPosition":"LATEST"`},
	{"filters are echoed as they were written", `"FilterCriteria":{"Filters":[{"Pattern":"{ \"data\" : {\"a\":[1]}}"}]}`, `EventSourceArn:FilterCriteria`,
		`"FilterCriteria":{"Filters":[{"Pattern":"{ \"data\" : {\"a\":[1]}}"}]}`},
	{"no filters: the key is absent", `"FilterCriteria":{"Filters":[]}`, ``, ``},
	{"nothing of filters: the key is absent", `"FilterCriteria":{}`, ``, ``},
	{"a destination", `"DestinationConfig":{"OnFailure":{"Destination":"` + failuresARN + `"}}`, ``, `"DestinationConfig":{"OnFailure":{"Destination":"` + failuresARN + `"}}`},
	{"an empty destination is none", `"DestinationConfig":{"OnFailure":{"Destination":""}}`, ``, `"DestinationConfig":{"OnFailure":{}}`},
	{"partial replies", `"FunctionResponseTypes":["ReportBatchItemFailures"]`, ``, `"FunctionResponseTypes":["ReportBatchItemFailures"]`},
	{"metrics", `"MetricsConfig":{"Metrics":["EventCount"]}`, `EventSourceMappingArn:MetricsConfig`, `"MetricsConfig":{"Metrics":["EventCount"]}`},
	{"no metrics: the key is absent", `"MetricsConfig":{"Metrics":[]}`, ``, ``},
	{"a key", `"KMSKeyArn":"arn:aws:kms:us-east-1:000000000000:key/k"`, `FunctionResponseTypes:KMSKeyArn`, `"KMSKeyArn":"arn:aws:kms:us-east-1:000000000000:key/k"`},
	{"all numbers as they were set", `"BatchSize":7,"MaximumBatchingWindowInSeconds":3,"MaximumRecordAgeInSeconds":60,"MaximumRetryAttempts":0,"TumblingWindowInSeconds":5,"BisectBatchOnFunctionError":true`, ``,
		`"BatchSize":7,"MaximumBatchingWindowInSeconds":3,"MaximumRecordAgeInSeconds":60,"MaximumRetryAttempts":0,"TumblingWindowInSeconds":5,"BisectBatchOnFunctionError":true`},
	{"a function's name is shown as its ARN", `"FunctionName":"g"`, ``, `"FunctionArn":"arn:aws:lambda:us-east-1:000000000000:function:g"`},
	{"so is an ARN without a qualifier", `"FunctionName":"` + functionF + `"`, ``, `"FunctionArn":"` + functionF + `"`},
	{"so is a part of one", `"FunctionName":"000000000000:function:f"`, ``, `"FunctionArn":"` + functionF + `"`},
	{"$LATEST is kept", `"FunctionName":"f:$LATEST"`, ``, `"FunctionArn":"` + functionF + `:$LATEST"`},
	{"so is a version", `"FunctionName":"f:7"`, ``, `"FunctionArn":"` + functionF + `:7"`},
	{"so is an alias", `"FunctionName":"` + functionF + `:live"`, ``, `"FunctionArn":"` + functionF + `:live"`},
	{"a consumer is shown as the source", `"EventSourceArn":"` + streamARN + `/consumer/fan:1700000000"`, ``, `"EventSourceArn":"` + streamARN + `/consumer/fan:1700000000"`},
}

func TestMappingsAreShownAsRecorded(t *testing.T) {
	m := newMill(t)
	for _, tt := range mappingReplies {
		members := strings.Fields(usualMembers)
		if after, more, ok := strings.Cut(tt.more, ":"); ok {
			members = slices.Insert(members, slices.Index(members, after)+1, more)
		}
		a := m.send("", http.MethodPost, mappingsPath, mappingBody(tt.members))
		created := m.want(a, http.StatusAccepted)
		if got := inOrder(t, a.body); !slices.Equal(got, members) {
			t.Errorf("%s: members %v, want %v", tt.rule, got, members)
		}
		var shown map[string]json.RawMessage
		if err := json.Unmarshal([]byte("{"+tt.shown+"}"), &shown); err != nil {
			t.Fatal(err)
		}
		got := m.get(created.id())
		for key, want := range shown {
			var v any
			_ = json.Unmarshal(want, &v)
			for _, r := range []shownMapping{created, got} {
				if b, _ := json.Marshal(r[key]); string(b) != asJSON(t, v) {
					t.Errorf("%s: %s is %s, want %s", tt.rule, key, b, want)
				}
			}
		}
		id := created.id()
		if arn := "arn:aws:lambda:us-east-1:000000000000:event-source-mapping:" + id; created["EventSourceMappingArn"] != arn {
			t.Errorf("%s: ARN %v, want %s", tt.rule, created["EventSourceMappingArn"], arn)
		}
		if at := time.UnixMilli(int64(created["LastModified"].(float64) * 1000)); time.Since(at) > time.Minute || time.Since(at) < 0 {
			t.Errorf("%s: LastModified %v is not now in seconds", tt.rule, created["LastModified"])
		}
		m.remove(id)
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
