package wire

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// testName is Kinesis' constraint of a stream's name.
var testName = Member{Name: "StreamName", Shape: String(1, 128, "[a-zA-Z0-9_.-]+"), Required: true}

// testService is a small Kinesis. Its tables are those that npm kinesalite has recorded
// (validations).
func testService() *Service {
	echo := func(ctx context.Context, c *Call) (any, error) { return map[string]any(c.In), nil }
	return &Service{Name: "kinesis", Target: "Kinesis_20131202", Signing: "kinesis", Ops: []*Operation{
		{Name: "ListStreams", Do: func(ctx context.Context, c *Call) (any, error) {
			return struct {
				HasMoreStreams bool
				StreamNames    []string
			}{StreamNames: []string{c.Account, c.Region, c.Function}}, nil
		}},
		{Name: "DeleteStream", Input: Structure(testName), Do: func(ctx context.Context, c *Call) (any, error) { return nil, nil }},
		{Name: "CreateStream", Do: echo, Input: Structure(
			Member{Name: "ShardCount", Shape: Integer(1, 100000), Required: true}, testName,
			Member{Name: "Enforce", Shape: Boolean()}, Member{Name: "Since", Shape: Timestamp()}, Member{Name: "Big", Shape: Long()})},
		{Name: "PutRecords", Do: echo, Input: Structure(
			Member{Name: "Records", Shape: List(Structure(
				Member{Name: "PartitionKey", Shape: String(1, 256, ""), Required: true},
				Member{Name: "ExplicitHashKey", Shape: String(0, 0, `0|([1-9]\d{0,38})`)},
				Member{Name: "Data", Shape: Blob(0, 1048576), Required: true},
			).Printed("com.amazonaws.kinesis.v20131202.PutRecordsRequestEntry@c965e310"), 1, 500), Required: true}, testName)},
		{Name: "AddTagsToStream", Do: echo, Input: Structure(
			Member{Name: "Tags", Shape: Map(String(1, 128, ""), String(0, 256, ""), 1, 10), Required: true}, testName)},
		{Name: "RemoveTagsFromStream", Do: echo, Input: Structure(
			Member{Name: "TagKeys", Shape: List(String(1, 128, ""), 1, 10), Required: true}, testName)},
		{Name: "GetShardIterator", Do: echo, Input: Structure(
			Member{Name: "ShardIteratorType", Shape: Enum("AFTER_SEQUENCE_NUMBER", "LATEST", "AT_TIMESTAMP", "AT_SEQUENCE_NUMBER", "TRIM_HORIZON"), Required: true},
			Member{Name: "Metrics", Shape: List(Enum("IncomingBytes", "ALL"), 1, 7)})},
		{Name: "Fail", Do: func(ctx context.Context, c *Call) (any, error) { return nil, errors.New("disk on fire") }},
		{Name: "Panic", Do: func(ctx context.Context, c *Call) (any, error) { panic("a bug") }},
		{Name: "NotFound", Do: func(ctx context.Context, c *Call) (any, error) {
			return nil, &Error{Code: "ResourceNotFoundException", Message: "Stream <x> not found.", Fields: map[string]any{"Stream": "x"}}
		}},
		{Name: "SubscribeToShard", Stream: func(ctx context.Context, c *Call, open func() (*Events, error)) error {
			events, err := open()
			if err != nil {
				return err
			}
			if err := events.Send("SubscribeToShardEvent", testEvent{Records: []testRecord{{Data: []byte("hello"), Key: "k", At: Time(time.UnixMilli(1441215410867))}}, Continuation: "1", Behind: 7}); err != nil {
				return err
			}
			return Errorf("ResourceInUseException", "Another active subscription exists")
		}},
	}}
}

type testEvent struct {
	Records      []testRecord
	Continuation string `json:"ContinuationSequenceNumber"`
	Behind       int64  `json:"MillisBehindLatest"`
}

type testRecord struct {
	Data []byte
	Key  string `json:"PartitionKey"`
	Seq  string `json:"SequenceNumber,omitempty"`
	At   Time   `json:"ApproximateArrivalTimestamp"`
}

// testHandler is a handler with the small Kinesis, whose log fails the test unless a
// buffer for it is given.
func testHandler(t testing.TB, opts Options) *Handler {
	t.Helper()
	if opts.Services == nil {
		opts.Services = []*Service{testService()}
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.NewTextHandler(failOnWrite{t}, nil))
	}
	h, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

type failOnWrite struct{ t testing.TB }

func (f failOnWrite) Write(b []byte) (int, error) {
	f.t.Errorf("logged: %s", b)
	return len(b), nil
}

// testServer serves a handler over HTTP/1.1 and HTTP/2.
func testServer(t testing.TB, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = Protocols()
	s.Start()
	t.Cleanup(s.Close)
	return s
}

const (
	testKey  = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/kinesis/aws4_request, SignedHeaders=host;x-amz-date, Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
	testDate = "20150830T123600Z"
)

// ask sends one request to a handler. Signed ones get headers of credentials.
func ask(h http.Handler, method, target string, head map[string]string, body string) *http.Response {
	return askRequest(h, httptest.NewRequest(method, target, strings.NewReader(body)), head)
}

func askRequest(h http.Handler, r *http.Request, head map[string]string) *http.Response {
	for name, value := range head {
		r.Header.Set(name, value)
	}
	if host := head["Host"]; host != "" {
		r.Host = host
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// call asks for an operation with everything in order, in AWS JSON 1.1.
func call(h http.Handler, op, body string) *http.Response {
	return ask(h, "POST", "/", jsonHead(op), body)
}

func jsonHead(op string) map[string]string {
	return map[string]string{"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "Kinesis_20131202." + op, "Authorization": testKey, "X-Amz-Date": testDate}
}

// headerOf finds a header that is not in Go's spelling, too.
func headerOf(r *http.Response, name string) string {
	for key, values := range r.Header {
		if strings.EqualFold(key, name) && len(values) == 1 {
			return values[0]
		}
	}
	return ""
}

func text(t testing.TB, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAnOperationIsAnsweredInTheFormatOfItsRequest(t *testing.T) {
	h := testHandler(t, Options{})
	jsonBody := `{"ShardCount":2,"StreamName":"s","Since":1.441215410867E9,"Ignored":{"a":[1,{"b":"]\"}"}]},"Enforce":null}`
	want := `{"ShardCount":2,"Since":"2015-09-02T17:36:50.867Z","StreamName":"s"}`
	if got := text(t, call(h, "CreateStream", jsonBody)); got != want {
		t.Errorf("JSON: %s, want %s", got, want)
	}

	// As Java's clients write: maps and lists of indefinite length.
	cborBody := unhex(t, "bf 6a5368617264436f756e74 02 6a53747265616d4e616d65 7f61736174ff 67456e666f726365 f5 ff")
	for _, tt := range []struct {
		name, path string
		head       map[string]string
	}{
		{"AWS CBOR 1.1", "/", map[string]string{"Content-Type": "application/x-amz-cbor-1.1", "X-Amz-Target": "Kinesis_20131202.CreateStream"}},
		{"RPC v2", "/service/Kinesis_20131202/operation/CreateStream", map[string]string{"Content-Type": "application/cbor", "Smithy-Protocol": "rpc-v2-cbor"}},
	} {
		tt.head["Authorization"], tt.head["X-Amz-Date"] = testKey, testDate
		r := ask(h, "POST", tt.path, tt.head, string(cborBody))
		if got, want := r.Header.Get("Content-Type"), tt.head["Content-Type"]; r.StatusCode != 200 || got != want {
			t.Errorf("%s: %d, content type %q, want %q", tt.name, r.StatusCode, got, want)
		}
		if got, want := r.Header.Get("Smithy-Protocol"), tt.head["Smithy-Protocol"]; got != want {
			t.Errorf("%s: protocol %q, want %q", tt.name, got, want)
		}
		want := "\xa3gEnforce\xf5jShardCount\x02jStreamNamebst"
		if got := text(t, r); got != want {
			t.Errorf("%s: %q, want %q", tt.name, got, want)
		}
	}
}

func TestRegionAndAccountComeFromTheCredentials(t *testing.T) {
	h := testHandler(t, Options{})
	tests := []struct{ name, credential, want string }{
		{"region of the scope", "AKIDEXAMPLE/20150830/eu-central-1/kinesis/aws4_request", `["000000000000","eu-central-1",""]`},
		{"twelve digits are an account", "123456789012/20150830/us-east-1/kinesis/aws4_request", `["123456789012","us-east-1",""]`},
		{"a function calls", "wasmill-orders/20150830/us-east-1/kinesis/aws4_request", `["000000000000","us-east-1","orders"]`},
		{"SigV4a has no region", "AKIDEXAMPLE/20150830/kinesis/aws4_request", `["000000000000","us-east-1",""]`},
	}
	for _, tt := range tests {
		head := jsonHead("ListStreams")
		head["Authorization"] = "AWS4-HMAC-SHA256 Credential=" + tt.credential + ", SignedHeaders=host, Signature=00"
		if got, want := text(t, ask(h, "POST", "/", head, "{}")), `{"HasMoreStreams":false,"StreamNames":`+tt.want+`}`; got != want {
			t.Errorf("%s: %s, want %s", tt.name, got, want)
		}
	}
	// Presigned.
	head := jsonHead("ListStreams")
	delete(head, "Authorization")
	r := ask(h, "POST", "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=123456789012%2F20150830%2Feu-west-1%2Fkinesis%2Faws4_request&X-Amz-Date="+testDate+"&X-Amz-SignedHeaders=host&X-Amz-Signature=00", head, "{}")
	if got, want := text(t, r), `{"HasMoreStreams":false,"StreamNames":["123456789012","eu-west-1",""]}`; got != want {
		t.Errorf("presigned: %s, want %s", got, want)
	}
}

func TestACallSaysWhichFunctionAndWhichHostItIsOf(t *testing.T) {
	for name, tt := range map[string]struct {
		caller func(string) string
		want   string
	}{
		"by its credentials":       {nil, "AKIDEXAMPLE example.test:99"},
		"by its connection":        {func(address string) string { return "at " + address }, "at 192.0.2.1:1234 example.test:99"},
		"nobody on the connection": {func(string) string { return "" }, " example.test:99"},
	} {
		var got string
		h := testHandler(t, Options{Caller: tt.caller, Services: []*Service{{Name: "kinesis", Target: "Kinesis_20131202", Signing: "kinesis", Ops: []*Operation{{
			Name: "Who", Do: func(_ context.Context, c *Call) (any, error) { got = c.Function + " " + c.Host; return nil, nil },
		}}}}})
		head := jsonHead("Who")
		head["Authorization"] = strings.Replace(head["Authorization"], "Credential=", "Credential=wasmill-", 1)
		head["Host"] = "example.test:99"
		if r := ask(h, "POST", "/", head, "{}"); r.StatusCode != http.StatusOK || got != tt.want {
			t.Errorf("%s: %d, %q, want %q", name, r.StatusCode, got, tt.want)
		}
	}
}

func TestTroubleOfOursIsLoggedAndNotTold(t *testing.T) {
	for _, op := range []string{"Fail", "Panic"} {
		var log bytes.Buffer
		h := testHandler(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		r := call(h, op, "{}")
		if got := text(t, r); r.StatusCode != 500 || got != `{"__type":"InternalFailure"}` {
			t.Errorf("%s: %d %s", op, r.StatusCode, got)
		}
		if want := map[string]string{"Fail": "disk on fire", "Panic": "a bug"}[op]; !strings.Contains(log.String(), want) || !strings.Contains(log.String(), headerOf(r, "x-amzn-RequestId")) {
			t.Errorf("%s: the log has no %q of request %s:\n%s", op, want, headerOf(r, "x-amzn-RequestId"), log.String())
		}
	}
}

func TestDynamoDBsClientsGetJSON10AndChecksums(t *testing.T) {
	s := &Service{Name: "dynamodbstreams", Target: "DynamoDBStreams_20120810", Signing: "dynamodb", Formats: []Format{JSON10}, Checksum: true, Ops: []*Operation{
		{Name: "ListStreams", Do: func(ctx context.Context, c *Call) (any, error) { return struct{ Streams []string }{}, nil }},
		{Name: "DescribeStream", Do: func(ctx context.Context, c *Call) (any, error) {
			return nil, Errorf("com.amazonaws.dynamodb.v20120810#ResourceNotFoundException", "Requested resource not found")
		}},
	}}
	h := testHandler(t, Options{Services: []*Service{s, testService()}})
	for op, want := range map[string]string{
		"ListStreams":    `{"Streams":null}`,
		"DescribeStream": `{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException","message":"Requested resource not found"}`,
	} {
		r := ask(h, "POST", "/", map[string]string{"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "DynamoDBStreams_20120810." + op, "Authorization": dynamoKey, "X-Amz-Date": testDate}, "{}")
		got := text(t, r)
		if got != want || r.Header.Get("Content-Type") != "application/x-amz-json-1.0" || r.Header.Get("X-Amz-Crc32") != fmt.Sprint(crc32.ChecksumIEEE([]byte(want))) {
			t.Errorf("%s: %s %v", op, got, r.Header)
		}
	}
}

func TestAServiceMayHaveItsOwnWordsForWhatIsInvalid(t *testing.T) {
	s := testService()
	s.Invalid, s.Terse = "InvalidParameterException", true
	r := call(testHandler(t, Options{Services: []*Service{s}}), "DeleteStream", `{"StreamName":"a b"}`)
	want := `{"__type":"InvalidParameterException","message":"1 validation error detected: Value at 'streamName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"}`
	if got := text(t, r); got != want || headerOf(r, "x-amzn-ErrorType") != "InvalidParameterException" {
		t.Errorf("%s, want %s", got, want)
	}
}

// What is printed may look around; what matches may not.
func TestAPatternMayBePrintedOtherwise(t *testing.T) {
	shape := String(1, 10, `(?!^[0-9]+$)([a-z0-9]+)`).Matching(`[a-z0-9]*[a-z][a-z0-9]*`)
	in := Structure(Member{Name: "Name", Shape: shape})
	if err := check(in, Values{"Name": "a1"}, false); err != nil {
		t.Error(err)
	}
	if err := check(in, Values{"Name": "11"}, false); err == nil || !strings.HasSuffix(err.Message, "pattern: (?!^[0-9]+$)([a-z0-9]+)") {
		t.Errorf("%v", err)
	}
}

func TestAPanicAfterTheHeadBreaksTheAnswerOff(t *testing.T) {
	var log bytes.Buffer
	s := &Service{Name: "kinesis", Target: "Kinesis_20131202", Signing: "kinesis", Ops: []*Operation{
		{Name: "SubscribeToShard", Stream: func(ctx context.Context, c *Call, open func() (*Events, error)) error {
			if _, err := open(); err != nil {
				return err
			}
			panic("a bug")
		}}}}
	server := testServer(t, testHandler(t, Options{Services: []*Service{s}, Logger: slog.New(slog.NewTextHandler(&log, nil))}))
	r := do(t, http.DefaultClient, server.URL, "SubscribeToShard")
	if _, err := io.ReadAll(r.Body); err == nil {
		t.Error("the client takes a part for the whole")
	}
	server.Close() // nothing writes to the log any more
	if !strings.Contains(log.String(), "a bug") {
		t.Errorf("the log has no panic: %s", log.String())
	}
}
