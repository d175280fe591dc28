package kinesis

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/stream"
)

// tables read inputs the long way: they are what the fast way is measured against.
type tables struct {
	*wire.Handler
	in wire.Values // of the last call that was valid
}

func newTables(t testing.TB) *tables {
	t.Helper()
	tb := &tables{}
	s := &wire.Service{Name: "kinesis", Target: "Kinesis_20131202", Signing: "kinesis"}
	for name, input := range map[string]*wire.Shape{"PutRecord": putRecordInput, "PutRecords": putRecordsInput, "GetRecords": getRecordsInput} {
		s.Ops = append(s.Ops, &wire.Operation{Name: name, Input: input, Do: func(_ context.Context, c *wire.Call) (any, error) {
			tb.in = c.In
			return nil, nil
		}})
	}
	h, err := wire.New(wire.Options{Services: []*wire.Service{s}})
	if err != nil {
		t.Fatal(err)
	}
	tb.Handler = h
	return tb
}

// read is what the table makes of a body; nil if it refuses it.
func (tb *tables) read(op string, f wire.Format, body []byte) (wire.Values, string) {
	tb.in = nil
	r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
	r.Header.Set("X-Amz-Target", "Kinesis_20131202."+op)
	r.Header.Set("Content-Type", f.ContentType())
	r.Header.Set("X-Amz-Date", "20260101T000000Z")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=00")
	w := httptest.NewRecorder()
	tb.ServeHTTP(w, r)
	return tb.in, w.Body.String()
}

// slow is the input of an operation as the handlers take it from the table.
func slow(op string, v wire.Values) any {
	if op == "GetRecords" {
		return getInputOf(v)
	}
	in := putInputOf(v)
	if op == "PutRecord" {
		in.entries, in.ordering = []stream.Entry{entryOf(v)}, v.String("SequenceNumberForOrdering")
		return in
	}
	in.entries = entriesOf(v)
	return in
}

var decoders = map[string]func(wire.Format, []byte) (any, bool){"PutRecord": decodePutRecord, "PutRecords": decodePutRecords, "GetRecords": decodeGetRecords}

// check compares the fast way with the table's, and says whether the fast way was taken.
func (tb *tables) check(t testing.TB, op string, f wire.Format, body []byte) bool {
	t.Helper()
	mine := bytes.Clone(body)
	got, ok := decoders[op](f, mine)
	if !ok {
		if !bytes.Equal(mine, body) {
			t.Errorf("%s: body %q is %q after it was left to the table", op, body, mine)
		}
		return false
	}
	v, answer := tb.read(op, f, body)
	if v == nil {
		t.Errorf("%s: %q was taken; the table says %s", op, body, answer)
		return true
	}
	if want := slow(op, v); !same(got, want) {
		t.Errorf("%s: %q is %+v; the table says %+v", op, body, got, want)
	}
	return true
}

// same is reflect.DeepEqual with data that is empty and data that is nil alike.
func same(a, b any) bool {
	for _, in := range []any{a, b} {
		if p, ok := in.(*putInput); ok {
			for i := range p.entries {
				p.entries[i].Data = append([]byte{}, p.entries[i].Data...)
			}
		}
	}
	return reflect.DeepEqual(a, b)
}

// bodies are inputs as clients write them, which must take the fast way.
var bodies = []struct{ op, body string }{
	{"PutRecord", `{"StreamName":"s","Data":"QUJD","PartitionKey":"k"}`},
	{"PutRecord", `{"PartitionKey":"kéy","Data":"","StreamName":"s","ExplicitHashKey":"0","SequenceNumberForOrdering":"49"}`},
	{"PutRecord", ` { "Data" : "QQ==" , "PartitionKey" : "k" , "StreamARN" : "arn:aws:kinesis:us-east-1:000000000000:stream/s" } `},
	{"PutRecord", `{"Data":"QQ==","PartitionKey":"k","StreamId":"abcdefghij0123456789-abc"}`},
	{"PutRecords", `{"StreamName":"s","Records":[{"Data":"QUJD","PartitionKey":"k"}]}`},
	{"PutRecords", `{"Records":[{"Data":"QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=","PartitionKey":"1","ExplicitHashKey":"340282366920938463463374607431768211455"},{"PartitionKey":"2","Data":""}],"StreamName":"s"}`},
	{"GetRecords", `{"ShardIterator":"AAAAAAAAAAE="}`},
	{"GetRecords", `{"ShardIterator":"x","Limit":10000,"StreamARN":"arn:aws:kinesis:us-east-1:000000000000:stream/s"}`},
}

// odd are inputs that are left to the table, whatever it makes of them.
var odd = []struct{ op, body string }{
	{"PutRecord", `{"StreamName":"s","Data":"QUJD"}`},
	{"PutRecord", `{"StreamName":"s","PartitionKey":"k"}`},
	{"PutRecord", `{"StreamName":"s","PartitionKey":"","Data":""}`},
	{"PutRecord", `{"StreamName":"s","PartitionKey":"k","PartitionKey":"k","Data":""}`},
	{"PutRecord", `{"StreamName":"s","PartitionKey":"\u006b","Data":""}`},
	{"PutRecord", "{\"StreamName\":\"s\",\"PartitionKey\":\"\xff\",\"Data\":\"\"}"},
	{"PutRecord", "{\"StreamName\":\"s\",\"PartitionKey\":\"\n\",\"Data\":\"\"}"},
	{"PutRecord", `{"StreamName":"s","PartitionKey":"k","Data":"QR=="}`},
	{"PutRecord", `{"StreamName":"s","PartitionKey":"k","Data":"Q\/=="}`},
	{"PutRecord", `{"StreamName":"s","PartitionKey":"k","Data":null}`},
	{"PutRecord", `{"StreamName":"s","PartitionKey":"k","Data":"","ExplicitHashKey":"01"}`},
	{"PutRecord", `{"StreamName":"s","PartitionKey":"k","Data":""} x`},
	{"PutRecord", `{"StreamName":"s","PartitionKey":"k","Data":"",}`},
	{"PutRecord", `{"StreamName":"s","PartitionKey":"k","Data":"","Other":1}`},
	{"PutRecord", `{"StreamName":"s*","PartitionKey":"k","Data":""}`},
	{"PutRecord", `[]`},
	{"PutRecords", `{"StreamName":"s","Records":[]}`},
	{"PutRecords", `{"StreamName":"s","Records":[{"Data":"QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=","PartitionKey":"1"},{"Data":"QUJDREVGR0hJSktMTU5PUFFSU1RVV\rdYWVo=","PartitionKey":"1"}]}`},
	{"PutRecords", `{"StreamName":"s","Records":[{"Data":"QUJD","PartitionKey":"1"},[]]}`},
	{"PutRecords", `{"StreamName":"s","Records":[{"Data":"QUJD","PartitionKey":"1"}}]`},
	{"PutRecords", `{"StreamName":"s","Records":[{"Data":"QUJD","PartitionKey":"1"}`},
	{"GetRecords", `{"ShardIterator":"x","Limit":0}`},
	{"GetRecords", `{"ShardIterator":"x","Limit":01}`},
	{"GetRecords", `{"ShardIterator":"x","Limit":1.0}`},
	{"GetRecords", `{"ShardIterator":"x","Limit":99999999999}`},
	{"GetRecords", `{"Limit":1}`},
}

func TestWhatClientsWriteIsReadFast(t *testing.T) {
	tb := newTables(t)
	for _, b := range bodies {
		if !tb.check(t, b.op, wire.JSON11, []byte(b.body)) {
			t.Errorf("%s %s is left to the table", b.op, b.body)
		}
		if c := toCBOR(t, b.body); !tb.check(t, b.op, wire.CBOR11, c) {
			t.Errorf("%s %s, in CBOR %x, is left to the table", b.op, b.body, c)
		}
	}
}

func TestWhatIsOddIsLeftToTheTable(t *testing.T) {
	tb := newTables(t)
	for _, b := range odd {
		if tb.check(t, b.op, wire.JSON11, []byte(b.body)) {
			t.Errorf("%s %s is taken", b.op, b.body)
		}
	}
	long := func(n int) []byte {
		return []byte(`{"StreamName":"s","PartitionKey":"k","Data":"` + base64.StdEncoding.EncodeToString(make([]byte, n)) + `"}`)
	}
	if tb.check(t, "PutRecord", wire.JSON11, long(stream.MaxRecordBytes+1)) {
		t.Error("a record larger than any is taken")
	}
	if !tb.check(t, "PutRecord", wire.JSON11, long(stream.MaxRecordBytes)) {
		t.Error("the largest record is left to the table")
	}
	many := func(n int) []byte {
		return []byte(`{"StreamName":"s","Records":[` + strings.TrimSuffix(strings.Repeat(`{"PartitionKey":"k","Data":""},`, n), ",") + `]}`)
	}
	if tb.check(t, "PutRecords", wire.JSON11, many(stream.MaxPutRecords+1)) {
		t.Error("too many records are taken")
	}
	if !tb.check(t, "PutRecords", wire.JSON11, many(stream.MaxPutRecords)) {
		t.Error("the most records are left to the table")
	}
}

func FuzzDecodersReadWhatTheTablesRead(f *testing.F) {
	tb := newTables(f)
	for i, op := range []string{"PutRecord", "PutRecords", "GetRecords"} {
		for _, b := range append(bodies, odd...) {
			if b.op == op {
				f.Add(i, false, []byte(b.body))
			}
		}
		for _, b := range bodies {
			if b.op == op {
				f.Add(i, true, toCBOR(f, b.body))
			}
		}
	}
	f.Fuzz(func(t *testing.T, i int, cbor bool, body []byte) {
		op := []string{"PutRecord", "PutRecords", "GetRecords"}[(i%3+3)%3]
		format := wire.JSON11
		if cbor {
			format = wire.CBOR11
		}
		tb.check(t, op, format, body)
	})
}

// Every proper piece of a body is refused by the table or left to it, and never is one
// byte changed unnoticed.
func TestPiecesAndMutationsOfABodyAreReadAlike(t *testing.T) {
	tb := newTables(t)
	for _, b := range bodies {
		for f, body := range map[wire.Format][]byte{wire.JSON11: []byte(b.body), wire.CBOR11: toCBOR(t, b.body)} {
			for i := range body {
				tb.check(t, b.op, f, body[:i])
				for _, c := range []byte{0, '"', '\\', ',', '}', '=', 'A', 0x5f, 0x7f, 0x9f, 0xbf, 0xff, body[i] ^ 1, body[i] ^ 0x80} {
					mutant := bytes.Clone(body)
					mutant[i] = c
					tb.check(t, b.op, f, mutant)
				}
			}
		}
	}
}

func benchmarkBody(records, size int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"StreamName":"bench","Records":[`)
	data := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("x\x00\xf3"), size/3+1)[:size])
	for i := range records {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"Data":"%s","PartitionKey":"key-%d"}`, data, i)
	}
	b.WriteString(`]}`)
	return b.Bytes()
}

func BenchmarkDecodePutRecords(b *testing.B) {
	body := benchmarkBody(500, 1000)
	buf := make([]byte, len(body))
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		copy(buf, body)
		if _, ok := decodePutRecords(wire.JSON11, buf); !ok {
			b.Fatal("refused")
		}
	}
}

func BenchmarkEncodeAnswers(b *testing.B) {
	results := make([]stream.PutResult, 500)
	for i := range results {
		results[i] = stream.PutResult{Shard: stream.ShardID(0), Sequence: stream.SequenceNumber{Epoch: 1e9, Frame: 77, Index: uint16(i), Time: 1e9}}
	}
	records := make([]stream.Record, 500)
	for i := range records {
		records[i] = stream.Record{Sequence: results[i].Sequence, PartitionKey: "key", Data: make([]byte, 1000)}
	}
	for name, a := range map[string]wire.Appender{"put": &putRecordsAnswer{results: results}, "get": &getRecordsAnswer{records: records}} {
		b.Run(name, func(b *testing.B) {
			var buf []byte
			for b.Loop() {
				buf, _ = a.AppendAnswer(buf[:0], wire.JSON11)
			}
			b.SetBytes(int64(len(buf)))
		})
	}
}

// toCBOR writes a JSON input as AWS's SDKs for Java write it in CBOR: objects and lists
// without their length, Data in bytes.
func toCBOR(t testing.TB, text string) []byte {
	t.Helper()
	var b []byte
	head := func(major byte, n int) {
		if n < 24 {
			b = append(b, major<<5|byte(n))
		} else {
			b = binary.BigEndian.AppendUint16(append(b, major<<5|25), uint16(n))
		}
	}
	var item func(name string, v any)
	item = func(name string, v any) {
		switch v := v.(type) {
		case map[string]any:
			b = append(b, 0xbf)
			for name, v := range v {
				head(cborText, len(name))
				b = append(b, name...)
				item(name, v)
			}
			b = append(b, 0xff)
		case []any:
			b = append(b, 0x9f)
			for _, v := range v {
				item("", v)
			}
			b = append(b, 0xff)
		case float64:
			head(cborUint, int(v))
		case string:
			if name == "Data" {
				data, err := base64.StdEncoding.DecodeString(v)
				if err != nil {
					t.Fatal(err)
				}
				head(cborBytes, len(data))
				b = append(b, data...)
				return
			}
			head(cborText, len(v))
			b = append(b, v...)
		}
	}
	item("", unmarshal(t, text))
	return b
}

func BenchmarkEncodingJSON(b *testing.B) {
	body := benchmarkBody(500, 1000)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		var in struct {
			StreamName string
			Records    []struct {
				Data         []byte
				PartitionKey string
			}
		}
		if err := json.Unmarshal(body, &in); err != nil {
			b.Fatal(err)
		}
	}
}
