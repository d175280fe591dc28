package runtime

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write testdata/vectors.json anew")

// The vectors are for guests too: hex and what it means.
type vectors struct {
	About    string           `json:"about"`
	Requests []requestVector  `json:"requests"`
	Replies  []responseVector `json:"responses"`
}

type requestVector struct {
	Name string `json:"name"`
	Hex  string `json:"hex"`
	Kind int    `json:"kind"`

	RequestID      string `json:"requestId"`
	FunctionARN    string `json:"functionArn"`
	DeadlineMS     int64  `json:"deadlineMs"`
	PartialReplies bool   `json:"partialReplies"`

	JSON string `json:"json,omitempty"` // kind 0

	Shard     string          `json:"shard,omitempty"` // kinds 1 and 3
	SourceARN string          `json:"sourceArn,omitempty"`
	Region    string          `json:"region,omitempty"`
	Identity  string          `json:"identity,omitempty"`
	Window    *windowVector   `json:"window,omitempty"`
	Records   []recordVector  `json:"records,omitempty"`  // kind 1
	Messages  []messageVector `json:"messages,omitempty"` // kind 2
	Changes   []changeVector  `json:"changes,omitempty"`  // kind 3
	Event     string          `json:"event,omitempty"`    // what wm_json gets for the same batch
}

type windowVector struct {
	StartMS         int64  `json:"startMs"`
	EndMS           int64  `json:"endMs"`
	Final           bool   `json:"final"`
	TerminatedEarly bool   `json:"terminatedEarly"`
	State           string `json:"state"` // JSON, empty for none
}

type recordVector struct {
	EventID      string `json:"eventId"`
	Sequence     string `json:"sequenceNumber"`
	PartitionKey string `json:"partitionKey"`
	DataHex      string `json:"dataHex"`
	ArrivalMS    int64  `json:"arrivalMs"`
}

type messageVector struct {
	ID                string             `json:"messageId"`
	ReceiptHandle     string             `json:"receiptHandle"`
	Body              string             `json:"body"`
	MD5OfBody         string             `json:"md5OfBody"`
	MD5OfAttributes   string             `json:"md5OfMessageAttributes,omitempty"`
	Attributes        [][2]string        `json:"attributes"` // name, value
	MessageAttributes []messageAttribute `json:"messageAttributes"`
}

type messageAttribute struct {
	Name     string `json:"name"`
	DataType string `json:"dataType"`
	Binary   bool   `json:"binary"`
	ValueHex string `json:"valueHex"`
}

type changeVector struct {
	EventID   string `json:"eventId"`
	EventName string `json:"eventName"`
	Sequence  string `json:"sequenceNumber"`
	Type      string `json:"userIdentityType,omitempty"`
	Principal string `json:"userIdentityPrincipalId,omitempty"`
	DynamoDB  string `json:"dynamodb"` // the event's member of that name, JSON
}

type responseVector struct {
	Name          string       `json:"name"`
	Hex           string       `json:"hex"`
	Malformed     bool         `json:"malformed,omitempty"` // the rest is empty then
	NotUnderstood bool         `json:"notUnderstood,omitempty"`
	Failed        bool         `json:"failed,omitempty"`
	JSON          string       `json:"json,omitempty"`
	Failures      []uint32     `json:"failures"` // null: no such section
	Emits         []emitVector `json:"emits"`    // null: no such section
	State         *string      `json:"state"`    // null: no such section
	ErrorType     string       `json:"errorType,omitempty"`
	ErrorMessage  string       `json:"errorMessage,omitempty"`
	StackTrace    string       `json:"stackTrace,omitempty"`
}

type emitVector struct {
	Item         int    `json:"item"` // -1: none
	Stream       string `json:"stream"`
	PartitionKey string `json:"partitionKey"`
	DataHex      string `json:"dataHex"`
}

const (
	vectorsFile = "testdata/vectors.json"
	seqA        = "49545115243490985018280067714973144582180062593244200961"
	seqB        = "49545115243490985018280067714973144582180062593244200962"
)

// batch and header are what a request vector was made of.
func (v requestVector) batch(t testing.TB) (*Batch, BatchHeader) {
	h := BatchHeader{RequestID: v.RequestID, FunctionARN: v.FunctionARN, PartialReplies: v.PartialReplies}
	if v.DeadlineMS != 0 {
		h.Deadline = time.UnixMilli(v.DeadlineMS)
	}
	b := &Batch{Shard: v.Shard, ARN: v.SourceARN, Region: v.Region, Identity: v.Identity}
	if v.Kind > 0 {
		b.Kind = Kind(v.Kind - 1)
	}
	if w := v.Window; w != nil {
		b.Window = &Window{Start: time.UnixMilli(w.StartMS), End: time.UnixMilli(w.EndMS), Final: w.Final, TerminatedEarly: w.TerminatedEarly, State: []byte(w.State)}
	}
	for _, m := range v.Messages {
		message := &Message{ReceiptHandle: m.ReceiptHandle, MD5: m.MD5OfBody, AttributesMD5: m.MD5OfAttributes}
		for _, a := range m.Attributes {
			message.System = append(message.System, SystemAttribute{a[0], a[1]})
		}
		for _, a := range m.MessageAttributes {
			value, err := hex.DecodeString(a.ValueHex)
			if err != nil {
				t.Fatal(err)
			}
			message.Attributes = append(message.Attributes, MessageAttribute{a.Name, a.DataType, value, a.Binary})
		}
		b.Records = append(b.Records, Record{Sequence: m.ID, Data: []byte(m.Body), Message: message})
	}
	for _, c := range v.Changes {
		b.Records = append(b.Records, Record{Sequence: c.Sequence, Data: []byte(c.DynamoDB),
			Change: &Change{EventID: c.EventID, EventName: c.EventName, IdentityType: c.Type, IdentityPrincipal: c.Principal}})
	}
	for _, r := range v.Records {
		data, err := hex.DecodeString(r.DataHex)
		if err != nil {
			t.Fatal(err)
		}
		if r.EventID != v.Shard+":"+r.Sequence {
			t.Errorf("%s: event id %q", v.Name, r.EventID)
		}
		b.Records = append(b.Records, Record{Sequence: r.Sequence, PartitionKey: r.PartitionKey, Data: data, Arrival: r.ArrivalMS})
	}
	return b, h
}

func (v requestVector) encode(t testing.TB) []byte {
	b, h := v.batch(t)
	if v.Kind == kindJSON {
		return append(AppendJSONRequest(nil, len(v.JSON), h), v.JSON...)
	}
	return AppendBinary(nil, b, h)
}

func TestRequestVectors(t *testing.T) {
	vs := readVectors(t)
	for _, v := range vs.Requests {
		got := v.encode(t)
		if kind := kindOfMessage(got); kind != v.Kind {
			t.Errorf("%s: kind %d, want %d", v.Name, kind, v.Kind)
		}
		if hex.EncodeToString(got) != v.Hex {
			t.Errorf("%s:\ngot  %x\nwant %s", v.Name, got, v.Hex)
		}
		if v.Kind != kindJSON {
			b, h := v.batch(t)
			if n := BinarySize(b, h); n != len(got) {
				t.Errorf("%s: BinarySize = %d, want %d", v.Name, n, len(got))
			}
			if event := AppendJSON(nil, b); string(event) != v.Event {
				t.Errorf("%s: event\ngot  %s\nwant %s", v.Name, event, v.Event)
			}
		} else if _, h := v.batch(t); JSONRequestSize(len(v.JSON), h) != len(got) {
			t.Errorf("%s: JSONRequestSize = %d, want %d", v.Name, JSONRequestSize(len(v.JSON), h), len(got))
		}
	}
}

func TestRequestIsAppendedWhateverStandsBefore(t *testing.T) {
	for _, v := range readVectors(t).Requests {
		b, h := v.batch(t)
		if v.Kind == kindJSON {
			continue
		}
		if got := AppendBinary([]byte("abc"), b, h); hex.EncodeToString(got[3:]) != v.Hex {
			t.Errorf("%s: offsets depend on where the message begins", v.Name)
		}
	}
}

func TestResponseVectors(t *testing.T) {
	for _, v := range readVectors(t).Replies {
		b, err := hex.DecodeString(v.Hex)
		if err != nil {
			t.Fatal(err)
		}
		r, err := DecodeReply(b)
		if (err != nil) != v.Malformed {
			t.Errorf("%s: error %v, malformed = %v", v.Name, err, v.Malformed)
		}
		if err != nil {
			continue
		}
		want := Reply{NotUnderstood: v.NotUnderstood, Failed: v.Failed, HasFailures: v.Failures != nil, Failures: v.Failures,
			HasEmits: v.Emits != nil, ErrorType: v.ErrorType, ErrorMessage: v.ErrorMessage}
		got := r
		got.JSON, got.StackTrace, got.Emits = nil, nil, nil
		if v.State != nil {
			want.HasState, want.State = true, []byte(*v.State)
		}
		emits := []emitVector{}
		for _, e := range r.Emits {
			item := int(e.Item)
			if e.Item == NoItem {
				item = -1
			}
			emits = append(emits, emitVector{item, string(e.Stream), string(e.Key), hex.EncodeToString(e.Data)})
		}
		if v.Emits != nil && !slices.Equal(emits, v.Emits) {
			t.Errorf("%s: emits %+v, want %+v", v.Name, emits, v.Emits)
		}
		if !reflect.DeepEqual(got, want) || string(r.JSON) != v.JSON || string(r.StackTrace) != v.StackTrace {
			t.Errorf("%s:\ngot  %+v\nwant %+v", v.Name, r, v)
		}
	}
}

// The example that docs/abi.md shows must be the vector of that name.
func TestDocumentShowsTheVectors(t *testing.T) {
	doc, err := os.ReadFile("../docs/abi.md")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(string(doc)), "")
	shown := map[string]bool{"one record": true, "one message": true, "one change": true, "window state": true, "failures by index": true, "error": true, "nothing returned": true, "emits": true}
	vs := readVectors(t)
	check := func(name, hex string) {
		if shown[name] && !strings.Contains(text, hex) {
			t.Errorf("docs/abi.md does not show %q as\n%s", name, hexLines(hex))
		}
		delete(shown, name)
	}
	for _, v := range vs.Requests {
		check(v.Name, v.Hex)
	}
	for _, v := range vs.Replies {
		check(v.Name, v.Hex)
	}
	for name := range shown {
		t.Errorf("no vector %q", name)
	}
}

func hexLines(h string) string {
	var b strings.Builder
	for i := 0; i < len(h); i += 32 {
		row := h[i:min(i+32, len(h))]
		for j := 0; j < len(row); j += 8 {
			b.WriteString(row[j:min(j+8, len(row))] + " ")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func readVectors(t testing.TB) vectors {
	t.Helper()
	if *update {
		writeVectors(t)
	}
	b, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	var vs vectors
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&vs); err != nil {
		t.Fatal(err)
	}
	if len(vs.Requests) < 5 || len(vs.Replies) < 10 {
		t.Fatalf("only %d requests and %d responses", len(vs.Requests), len(vs.Replies))
	}
	return vs
}

func writeVectors(t testing.TB) {
	const (
		id  = "8f4a7c0e-1c9b-4a57-9f2e-0a5d3a4f6b11"
		arn = "arn:aws:lambda:us-east-1:000000000000:function:count"
	)
	kinesis := func(name string, records ...recordVector) requestVector {
		for i := range records {
			records[i].EventID = "shardId-000000000000:" + records[i].Sequence
		}
		return requestVector{Name: name, Kind: kindKinesis, RequestID: id, FunctionARN: arn, DeadlineMS: 1700000003123, Shard: "shardId-000000000000",
			SourceARN: "arn:aws:kinesis:us-east-1:000000000000:stream/s", Region: "us-east-1", Identity: "arn:aws:iam::000000000000:role/wasmill", Records: records}
	}
	vs := vectors{About: "Test vectors of docs/abi.md. Written by `go test ./runtime -update`; read by the tests of both sides."}
	vs.Requests = []requestVector{
		kinesis("one record", recordVector{Sequence: seqA, PartitionKey: "k", DataHex: hex.EncodeToString([]byte("hello")), ArrivalMS: 1700000000123}),
		kinesis("two records, empty data, key of several bytes a character",
			recordVector{Sequence: seqA, PartitionKey: "Zürich\"", DataHex: "", ArrivalMS: 1700000000000},
			recordVector{Sequence: seqB, PartitionKey: "z", DataHex: "00ff", ArrivalMS: 1700000000007}),
		kinesis("no records"),
		{Name: "json", Kind: kindJSON, RequestID: id, FunctionARN: arn, DeadlineMS: 1700000003123, JSON: `{"a":1}`},
		{Name: "json, nothing known", Kind: kindJSON, JSON: "null"},
	}
	partial := kinesis("partial replies count", recordVector{Sequence: seqA, PartitionKey: "k", DataHex: "61", ArrivalMS: 1700000000123})
	partial.PartialReplies = true
	vs.Requests = append(vs.Requests, partial)
	window := &windowVector{StartMS: 1700000040000, EndMS: 1700000160000, State: `{"count":"7","say \"hi\"":"Zürich"}`}
	windowed := kinesis("a window with state", recordVector{Sequence: seqA, PartitionKey: "k", DataHex: "61", ArrivalMS: 1700000050123})
	windowed.Window = window
	final := kinesis("the last invocation of a window")
	final.Window = &windowVector{StartMS: 1700000040000, EndMS: 1700000160000, Final: true, TerminatedEarly: true, State: `{}`}
	first := kinesis("a window without state", recordVector{Sequence: seqA, PartitionKey: "k", DataHex: "61", ArrivalMS: 1700000050123})
	first.Window = &windowVector{StartMS: 1700000040000, EndMS: 1700000160000}
	vs.Requests = append(vs.Requests, windowed, final, first)

	plain := messageVector{ID: "2e1424d4-f796-459a-8184-9c92662be6da", ReceiptHandle: "AQEB", Body: "hello", MD5OfBody: "5d41402abc4b2a76b9719d911017c592",
		Attributes: [][2]string{{"ApproximateReceiveCount", "1"}, {"SentTimestamp", "1700000000123"}}}
	rich := messageVector{ID: "2e1424d4-f796-459a-8184-9c92662be6db", ReceiptHandle: "AQEC", Body: "{\"a\":\"Zürich\"}\n", MD5OfBody: "0b2b5aeb6f6b37d02a1e3b4a2b1a1a1a",
		MD5OfAttributes: "5ac9ba1aa5c6b1bda3a2d6f2ab4c6bd0",
		Attributes: [][2]string{{"ApproximateReceiveCount", "3"}, {"AWSTraceHeader", "Root=1-5759e988-bd862e3fe1be46a994272793"}, {"SentTimestamp", "1700000000123"}, {"SequenceNumber", "18849496460467696128"},
			{"MessageGroupId", "g"}, {"SenderId", "AIDAIENQZJOLO23YVJ4VO"}, {"MessageDeduplicationId", "d"}, {"ApproximateFirstReceiveTimestamp", "1700000000200"}},
		MessageAttributes: []messageAttribute{{"city", "String", false, hex.EncodeToString([]byte("Zürich"))}, {"n", "Number.int", false, hex.EncodeToString([]byte("42"))}, {"blob", "Binary", true, "00ff"}, {"empty", "String", false, ""}}}
	queue := func(name string, messages ...messageVector) requestVector {
		return requestVector{Name: name, Kind: kindSQS, RequestID: id, FunctionARN: arn, DeadlineMS: 1700000003123,
			SourceARN: "arn:aws:sqs:us-east-1:000000000000:q", Region: "us-east-1", Messages: messages}
	}
	vs.Requests = append(vs.Requests, queue("one message", plain), queue("two messages, attributes of each type", plain, rich))

	insert := changeVector{EventID: "c4ca4238a0b923820dcc509a6f75849b", EventName: "INSERT", Sequence: "4421584500000000017450439091",
		DynamoDB: `{"ApproximateCreationDateTime":1700000000.0,"Keys":{"id":{"N":"101"}},"NewImage":{"id":{"N":"101"},"name":{"S":"new"}},"SequenceNumber":"4421584500000000017450439091","SizeBytes":16,"StreamViewType":"NEW_AND_OLD_IMAGES"}`}
	remove := changeVector{EventID: "c81e728d9d4c2f636f067f89cc14862c", EventName: "REMOVE", Sequence: "4421584500000000017450439092", Type: "Service", Principal: "dynamodb.amazonaws.com",
		DynamoDB: `{ "ApproximateCreationDateTime" : 1700000001 , "Keys":{}, "OldImage": { "s":{"S":"a\"b\u00fc"}, "n":{"N":"-1.5e3"}, "b":{"B":"AP8="}, "t":{"BOOL":true}, "f":{"BOOL":false}, "z":{"NULL":true},` +
			` "ss":{"SS":["x","y"]}, "ns":{"NS":["1","2"]}, "bs":{"BS":["AA==",""]}, "l":{"L":[{"S":"in"},{"L":[]},{"M":{}}]}, "m":{"M":{"deep":{"M":{"er":{"N":"0"}}}}} },` +
			` "SequenceNumber":"4421584500000000017450439092","SizeBytes":99,"StreamViewType":"OLD_IMAGE"}`}
	table := func(name string, changes ...changeVector) requestVector {
		return requestVector{Name: name, Kind: kindDynamoDB, RequestID: id, FunctionARN: arn, DeadlineMS: 1700000003123, Shard: "shardId-00000001700000000000-0a1b2c3d",
			SourceARN: "arn:aws:dynamodb:us-east-1:000000000000:table/t/stream/2026-01-01T00:00:00.000", Region: "us-east-1", Changes: changes}
	}
	tabled := table("a window of changes", insert)
	tabled.Window = window
	vs.Requests = append(vs.Requests, table("one change", insert), table("two changes, values of each type", insert, remove), tabled)
	for i := range vs.Requests {
		v := &vs.Requests[i]
		v.Hex = hex.EncodeToString(v.encode(t))
		if b, _ := v.batch(t); v.Kind != kindJSON {
			v.Event = string(AppendJSON(nil, b))
		}
	}

	section := func(tag, flags byte, body string) string {
		s := string([]byte{tag, 0, flags, 0, byte(len(body)), 0, 0, 0}) + body
		return s + string(make([]byte, pad(len(s), 8)-len(s)))
	}
	message := func(status byte, body string) string {
		return "WMR1" + string([]byte{1, 0, status, 0, byte(responseHeader + len(body)), 0, 0, 0, 0, 0, 0, 0}) + body
	}
	reply := func(v responseVector, b string) {
		v.Hex = hex.EncodeToString([]byte(b))
		vs.Replies = append(vs.Replies, v)
	}
	reply(responseVector{Name: "nothing returned"}, message(0, ""))
	reply(responseVector{Name: "json", JSON: `{"ok":true}`}, message(0, section(1, 0, `{"ok":true}`)))
	reply(responseVector{Name: "json, padding left out", JSON: `[1]`}, message(0, strings.TrimRight(section(1, 0, `[1]`), "\x00")))
	reply(responseVector{Name: "failures by index", Failures: []uint32{2, 5}}, message(0, section(2, 0, "\x02\x00\x00\x00\x05\x00\x00\x00")))
	reply(responseVector{Name: "no failures by index", Failures: []uint32{}}, message(0, section(2, 0, "")))
	one := emitVector{0, "alerts", "ci", hex.EncodeToString([]byte("shaken"))}
	two := emitVector{-1, "alerts", "Zürich", ""}
	emit := func(e emitVector) string {
		data, _ := hex.DecodeString(e.DataHex)
		s := string(binary.LittleEndian.AppendUint32(nil, uint32(e.Item)))
		for _, n := range []int{len(e.Stream), len(e.PartitionKey), len(data)} {
			s += string([]byte{byte(n), 0, 0, 0})
		}
		s += e.Stream + e.PartitionKey + string(data)
		return s + string(make([]byte, pad(len(s), 8)-len(s)))
	}
	reply(responseVector{Name: "emits", Emits: []emitVector{one, two}}, message(0, section(3, sectionMust, emit(one)+emit(two))))
	reply(responseVector{Name: "emits, failures and JSON", JSON: `{"n":1}`, Failures: []uint32{1}, Emits: []emitVector{one}},
		message(0, section(1, 0, `{"n":1}`)+section(2, 0, "\x01\x00\x00\x00")+section(3, 0, emit(one))))
	reply(responseVector{Name: "emits, padding left out", Emits: []emitVector{two}}, message(0, strings.TrimRight(section(3, sectionMust, strings.TrimRight(emit(two), "\x00")), "\x00")))
	reply(responseVector{Name: "no emits", Emits: []emitVector{}}, message(0, section(3, sectionMust, "")))
	state := `{"count":"8"}`
	reply(responseVector{Name: "window state", State: &state}, message(0, section(4, 0, state)))
	reply(responseVector{Name: "window state and failures", State: &state, Failures: []uint32{1}}, message(0, section(2, 0, "\x01\x00\x00\x00")+section(4, 0, state)))
	reply(responseVector{Name: "error", Failed: true, ErrorType: "errorString", ErrorMessage: "no"}, message(1, section(16, 0, "errorString")+section(17, 0, "no")))
	reply(responseVector{Name: "error with stack trace", Failed: true, ErrorMessage: "x", StackTrace: `["main.f"]`}, message(1, section(18, 0, `["main.f"]`)+section(17, 0, "x")))
	reply(responseVector{Name: "not understood", NotUnderstood: true}, message(2, ""))
	reply(responseVector{Name: "unknown section is skipped", JSON: "1"}, message(0, section(99, 0, "later")+section(1, 0, "1")))
	bad := responseVector{Malformed: true}
	for _, b := range []struct{ name, message string }{
		{"unknown section that must be known", message(0, section(99, sectionMust, "later"))},
		{"empty", ""},
		{"other beginning", "WMQ1" + message(0, "")[4:]},
		{"other version", "WMR1\x02" + message(0, "")[5:]},
		{"unknown status", message(3, "")},
		{"length is another", message(0, "") + "\x00\x00\x00\x00\x00\x00\x00\x00"},
		{"section longer than the message", message(0, "\x01\x00\x00\x00\xff\x00\x00\x00{}")},
		{"section header cut off", message(0, "\x01\x00\x00")},
		{"emit cut off", message(0, section(3, sectionMust, emit(one)+emit(two)[:15]))},
		{"emit longer than its section", message(0, section(3, sectionMust, emit(emitVector{0, "a", "b", "00"})[:16]+"ab"))},
		{"emit with a length beyond 32 bits", message(0, section(3, sectionMust, "\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"))},
		{"emits twice", message(0, section(3, sectionMust, emit(one))+section(3, sectionMust, ""))},
		{"index cut off", message(0, section(2, 0, "\x02\x00\x00"))},
	} {
		bad.Name = b.name
		reply(bad, b.message)
	}
	out, err := json.MarshalIndent(vs, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(vectorsFile, append(out, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}
