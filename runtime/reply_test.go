package runtime

import (
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// The rows of AWS's documentation and of recordings (streams).
var replies = []struct {
	name, reply string
	failures    []string
	valid       bool
}{
	{"nothing at all", ``, nil, true},
	{"white space", " \n", nil, true},
	{"null", `null`, nil, true},
	{"empty string", `""`, nil, true},
	{"empty list", `[]`, nil, true},
	{"empty list with a blank", `[ ]`, nil, true},
	{"empty object", `{}`, nil, true},
	{"empty object with a blank", `{ }`, nil, true},
	{"no failures", `{"batchItemFailures":[]}`, nil, true},
	{"null failures", `{ "batchItemFailures" : null }`, nil, true},
	{"an object without the key", `{"statusCode":200}`, nil, true},
	{"the key in another case is another key", `{"BatchItemFailures":[{"itemIdentifier":"1"}]}`, nil, true},
	{"one", `{"batchItemFailures":[{"itemIdentifier":"7"}]}`, []string{"7"}, true},
	{"two", `{"batchItemFailures":[{"itemIdentifier":"7"},{"itemIdentifier":"8","x":1}]}`, []string{"7", "8"}, true},
	{"number as id", `{"batchItemFailures":[{"itemIdentifier":123}]}`, nil, false},
	{"empty id", `{"batchItemFailures":[{"itemIdentifier":""}]}`, nil, false},
	{"null id", `{"batchItemFailures":[{"itemIdentifier":null}]}`, nil, false},
	{"wrong key", `{"batchItemFailures":[{"foo":"7"}]}`, nil, false},
	{"wrong key, null", `{"batchItemFailures":[{"foo":null}]}`, nil, false},
	{"key in another case", `{"batchItemFailures":[{"ItemIdentifier":"7"}]}`, nil, false},
	{"null item", `{"batchItemFailures":[null]}`, nil, false},
	{"item that is no object", `{"batchItemFailures":["7"]}`, nil, false},
	{"one good, one bad", `{"batchItemFailures":[{"itemIdentifier":"7"},{"itemIdentifier":""}]}`, nil, false},
	{"no list", `{"batchItemFailures":{"itemIdentifier":"7"}}`, nil, false},
	{"a list outside", `[{"itemIdentifier":"7"}]`, nil, false},
	{"a string", `"done"`, nil, false},
	{"a number", `7`, nil, false},
	{"not JSON", `{"batchItemFailures":`, nil, false},
}

func TestParseReply(t *testing.T) {
	for _, tt := range replies {
		t.Run(tt.name, func(t *testing.T) {
			failures, valid := ParseReply([]byte(tt.reply))
			if valid != tt.valid || !slices.Equal(failures, tt.failures) {
				t.Errorf("ParseReply(%s) = %q, %v, want %q, %v", tt.reply, failures, valid, tt.failures, tt.valid)
			}
		})
	}
}

func TestLowestFailed(t *testing.T) {
	b := &Batch{Records: []Record{{Sequence: "9"}, {Sequence: "10"}, {Sequence: "11"}, {Sequence: "200"}}}
	turned := &Batch{Records: []Record{{Sequence: "200"}, {Sequence: "9"}, {Sequence: "11"}, {Sequence: "10"}}}
	tests := []struct {
		name     string
		batch    *Batch
		failures []string
		index    int
		valid    bool
	}{
		{"none", b, nil, -1, true},
		{"numbers, not text", b, []string{"10", "9"}, 0, true},
		{"the same twice", b, []string{"11", "11"}, 2, true},
		{"last", b, []string{"200"}, 3, true},
		{"not of the batch", b, []string{"12"}, -1, false},
		{"one of them not of the batch", b, []string{"9", "x"}, -1, false},
		{"records in another order", turned, []string{"200", "11", "10"}, 3, true},
	}
	for _, tt := range tests {
		if index, valid := LowestFailed(tt.batch, tt.failures); index != tt.index || valid != tt.valid {
			t.Errorf("%s: LowestFailed(%q) = %d, %v, want %d, %v", tt.name, tt.failures, index, valid, tt.index, tt.valid)
		}
	}
}

func TestClassify(t *testing.T) {
	batch := &Batch{Records: []Record{{Sequence: "1"}, {Sequence: "2"}}}
	two := `{"batchItemFailures":[{"itemIdentifier":"2"}]}`
	tests := []struct {
		name     string
		inv      Invocation
		in       Result
		outcome  Outcome
		errType  string
		failures []string
	}{
		{"a batch is done whatever it answers, unless replies count", Invocation{Batch: batch}, Result{Response: []byte(`{"batchItem`)}, Done, "", nil},
		{"failures do not count unless the trigger lets them", Invocation{Batch: batch}, Result{Response: []byte(two)}, Done, "", nil},
		{"failures count", Invocation{Batch: batch, PartialReplies: true}, Result{Response: []byte(two)}, Partial, TypeItemFailures, []string{"2"}},
		{"nothing failed", Invocation{Batch: batch, PartialReplies: true}, Result{Response: []byte("null")}, Done, "", nil},
		{"an id of no record fails the batch", Invocation{Batch: batch, PartialReplies: true}, Result{Response: []byte(strings.ReplaceAll(two, "2", "3"))}, Partial, TypeBadItems, []string{"3"}},
		{"a wrong key fails the batch", Invocation{Batch: batch, PartialReplies: true}, Result{Response: []byte(`{"batchItemFailures":[{"foo":"2"}]}`)}, Partial, TypeBadItems, nil},
		{"no JSON is an error where the reply counts", Invocation{Batch: batch, PartialReplies: true}, Result{Response: []byte("ok")}, FunctionError, TypeMalformed, nil},
		{"no JSON is an error for a caller", Invocation{Payload: []byte("1")}, Result{Response: []byte("ok")}, FunctionError, TypeMalformed, nil},
		{"a caller gets batchItemFailures as any JSON", Invocation{Payload: []byte("1"), PartialReplies: true}, Result{Response: []byte(two)}, Done, "", nil},
		{"nothing returned to a caller", Invocation{Payload: []byte("1")}, Result{}, Done, "", nil},
		{"other outcomes stay", Invocation{Batch: batch, PartialReplies: true}, Result{Outcome: Timeout, ErrorType: TypeTimeout, Response: []byte(two)}, Timeout, TypeTimeout, nil},
	}
	for _, tt := range tests {
		r := tt.in
		Classify(&tt.inv, nil, &r)
		if r.Outcome != tt.outcome || r.ErrorType != tt.errType || !slices.Equal(r.Failures, tt.failures) {
			t.Errorf("%s: %v %s %q (%s), want %v %s %q", tt.name, r.Outcome, r.ErrorType, r.Failures, r.ErrorMessage, tt.outcome, tt.errType, tt.failures)
		}
		if (r.ErrorType == "") != (r.ErrorMessage == "") && tt.outcome != Timeout {
			t.Errorf("%s: type %q with message %q", tt.name, r.ErrorType, r.ErrorMessage)
		}
	}
}

func FuzzParseReply(f *testing.F) {
	for _, r := range replies {
		f.Add([]byte(r.reply))
	}
	f.Fuzz(func(t *testing.T, reply []byte) {
		failures, valid := ParseReply(reply)
		if len(failures) > 0 && !valid {
			t.Error("failures of a reply that is not valid")
		}
		if valid && len(failures) > 0 && !json.Valid(reply) {
			t.Error("failures from what is not JSON")
		}
		if slices.Contains(failures, "") {
			t.Error("an empty identifier")
		}
	})
}

func FuzzDecodeReply(f *testing.F) {
	for _, v := range []string{"WMR1\x01\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00\x00", "WMR1\x01\x00\x00\x00\x20\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x08\x00\x00\x00\x02\x00\x00\x00\x05\x00\x00\x00"} {
		f.Add([]byte(v))
	}
	for _, v := range readVectors(f).Replies {
		b, _ := hex.DecodeString(v.Hex)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeReply(b)
		if err != nil {
			return
		}
		emitted := 0
		for _, e := range r.Emits {
			emitted += emitHeader + len(e.Stream) + len(e.Key) + len(e.Data)
		}
		if emitted+len(r.JSON)+4*len(r.Failures)+len(r.ErrorMessage)+len(r.ErrorType)+len(r.StackTrace) > len(b) {
			t.Errorf("%d bytes say more than they hold: %+v", len(b), r)
		}
	})
}
