package runtime

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/functions"
)

// ten is a batch of records 10 to 19.
func ten() *Batch {
	b := &Batch{}
	for i := range 10 {
		b.Records = append(b.Records, Record{Sequence: fmt.Sprint(10 + i)})
	}
	return b
}

func TestEmitsOfAReply(t *testing.T) {
	const good = `{"stream":"a","partitionKey":"k","data":"eA=="}`
	x := func(item int) Emit { return Emit{"a", "k", []byte("x"), item} }
	a := []string{"a", "b"}
	tests := []struct {
		name    string
		reply   string
		allowed []string
		partial bool
		want    []Emit
		rest    string // the response that is left
		fault   string // part of the message; empty: none
	}{
		{"a record", `{"emit":[` + good + `]}`, a, false, []Emit{x(-1)}, `{}`, ""},
		{"beside others, in any order", `{"n": 1, "emit" : [ ` + good + ` ], "m":[{}]}`, a, false, []Emit{x(-1)}, `{"n":1,"m":[{}]}`, ""},
		{"in the order given", `{"emit":[` + strings.Replace(good, `"a"`, `"b"`, 1) + `,` + good + `]}`, a, false, []Emit{{"b", "k", []byte("x"), -1}, x(-1)}, `{}`, ""},
		{"with its item", `{"emit":[{"itemIdentifier":"13",` + good[1:] + `]}`, a, false, []Emit{x(3)}, `{}`, ""},
		{"an empty item is none", `{"emit":[{"itemIdentifier":"",` + good[1:] + `,{"itemIdentifier":null,` + good[1:] + `]}`, a, false, []Emit{x(-1), x(-1)}, `{}`, ""},
		{"null data are no bytes", `{"emit":[{"stream":"a","partitionKey":"k","data":null}]}`, a, false, []Emit{{"a", "k", []byte{}, -1}}, `{}`, ""},
		{"escaped texts", `{"\u0065mit":[{"stream":"\u0061","partitionKey":"\"\u00fc\\","data":"\/w=="}]}`, a, false, []Emit{{"a", `"ü\`, []byte{0xff}, -1}}, `{}`, ""},
		{"other members are ignored", `{"emit":[{"x":[{"stream":1}],` + good[1:] + `]}`, a, false, []Emit{x(-1)}, `{}`, ""},
		{"the last of two members counts", `{"emit":7,"emit":[` + good + `]}`, a, false, []Emit{x(-1)}, `{}`, ""},
		{"a key of 256 characters", `{"emit":[{"stream":"a","partitionKey":"` + strings.Repeat("ü", 256) + `","data":""}]}`, a, false, []Emit{{"a", strings.Repeat("ü", 256), []byte{}, -1}}, `{}`, ""},
		{"nothing", ``, a, false, nil, ``, ""},
		{"null", `null`, a, false, nil, `null`, ""},
		{"no such member", `{"emits":[1]}`, a, false, nil, `{"emits":[1]}`, ""},
		{"the member in another case", `{"Emit":[1]}`, a, false, nil, `{"Emit":[1]}`, ""},
		{"a member further inside", `{"n":{"emit":[1]}}`, a, false, nil, `{"n":{"emit":[1]}}`, ""},
		{"null emits", `{"emit":null}`, a, false, nil, `{}`, ""},
		{"an empty list", `{"n":1,"emit":[ ]}`, a, false, nil, `{"n":1}`, ""},
		{"an empty list of a function that may not", `{"n":1,"emit":[ ]}`, nil, false, nil, `{"n":1}`, ""},

		{"not a list", `{"emit":"x"}`, a, false, nil, ``, "emit is a string: want a list of {"},
		{"an object", `{"emit":` + good + `}`, a, false, nil, ``, "emit is an object: want a list of {"},
		{"not an object", `{"emit":[` + good + `,7]}`, a, false, nil, ``, "emit 1 is a number: want {"},
		{"no stream", `{"emit":[{"partitionKey":"k","data":""}]}`, a, false, nil, ``, `emit 0 has no "stream": want {`},
		{"no key", `{"emit":[` + good + `,{"stream":"a","data":""}]}`, a, false, nil, ``, `emit 1 has no "partitionKey": want {`},
		{"no data", `{"emit":[{"stream":"a","partitionKey":"k"}]}`, a, false, nil, ``, `emit 0 has no "data": want {`},
		{"a key in another case", `{"emit":[{"stream":"a","PartitionKey":"k","data":""}]}`, a, false, nil, ``, `emit 0 has "PartitionKey": want "partitionKey"`},
		{"a stream that is no text", `{"emit":[{"stream":1,"partitionKey":"k","data":""}]}`, a, false, nil, ``, `emit 0 has a number as "stream": want a string`},
		{"an item that is no text", `{"emit":[{"itemIdentifier":13,` + good[1:] + `]}`, a, false, nil, ``, `emit 0 has a number as "itemIdentifier": want a string`},
		{"data that are no base64", `{"emit":[{"stream":"a","partitionKey":"k","data":"{}"}]}`, a, false, nil, ``, `emit 0 has data that is not base64 (the standard alphabet, with padding): "{}"`},
		{"an empty key", `{"emit":[{"stream":"a","partitionKey":"","data":""}]}`, a, false, nil, ``, "emit 0, to stream a, has an empty partitionKey"},
		{"a key of 257 characters", `{"emit":[{"stream":"a","partitionKey":"` + strings.Repeat("ü", 257) + `","data":""}]}`, a, false, nil, ``, "emit 0, to stream a, has a partitionKey of 257 characters: want 1 to 256"},
		{"a stream that is not allowed", `{"emit":[` + good + `,{"stream":"c","partitionKey":"k","data":""}]}`, a, false, nil, ``, `emit 1 is to stream "c", which the function may not emit to; allow it with: wasmill fn update fn --emit a --emit b --emit c (if a wasmill.toml deploys the function, in its emits, `},
		{"an empty stream", `{"emit":[{"stream":"","partitionKey":"k","data":""}]}`, a, false, nil, ``, `emit 0 is to stream "", which the function may not emit to; allow it with: wasmill fn update fn --emit a --emit b`},
		{"a stream that no shell should see", `{"emit":[{"stream":"c;ls","partitionKey":"k","data":""}]}`, a, false, nil, ``, `fn update fn --emit a --emit b`},
		{"an item of another batch", `{"emit":[{"itemIdentifier":"9",` + good[1:] + `]}`, a, false, nil, ``, `emit 0 names item "9", which the batch has not`},
		{"10,001 records", `{"emit":[` + strings.Repeat(good+",", 10_000) + good + `]}`, a, false, nil, ``, "emitted more than 10000 records in one invocation"},
		{"emits of a function that may not", `{"emit":[` + good + `]}`, nil, false, nil, ``, "allow it with: wasmill fn update fn --emit a"},
		{"emits without the tags, of a function that may not", `{"emit":[{"Stream":"a","PartitionKey":"k","Data":"eA=="}]}`, nil, false, nil, ``, "emit 0 has \"Stream\": want \"stream\", keys are matched with their case; in Go, tag the field `json:\"stream\"`"},
		{"one of several that looks like an emit, of a function that may not", `{"emit":[7,{"stream":1,"partitionkey":2,"DATA":3}]}`, nil, false, nil, ``, "emit 0 is a number: want {"},
		{"an emit that is in no list, of a function that may not", `{"emit":` + good + `}`, nil, false, nil, ``, "emit is an object: want a list of {"},
		{"the member without its tag, of a function that may not", `{"Emit":[` + good + `]}`, nil, false, nil, ``, "the reply has \"Emit\": want \"emit\", keys are matched with their case; in Go, tag the field `json:\"emit\"`"},
		{"the member without its tag", `{"Emit":[{"Stream":"a","PartitionKey":"k","Data":"eA=="}]}`, a, false, nil, ``, `the reply has "Emit": want "emit"`},
		{"the member without its tag, beside the right one", `{"Emit":[` + good + `],"emit":[` + good + `]}`, a, false, []Emit{x(-1)}, `{"Emit":[` + good + `]}`, ""},
		{"an object of other things, of a function that may not", `{"emit":{"stream":"a","data":1}}`, nil, false, nil, `{"emit":{"stream":"a","data":1}}`, ""},
		{"texts of a function that may not", `{"emit":["stream","partitionKey","data"]}`, nil, false, nil, `{"emit":["stream","partitionKey","data"]}`, ""},
		{"something else of a function that may not", `{"emit":[{"stream":"a"}]}`, nil, false, nil, `{"emit":[{"stream":"a"}]}`, ""},
		{"a flag of a function that may not", `{"emit":true}`, nil, false, nil, `{"emit":true}`, ""},

		{"beside no failures, without items", `{"batchItemFailures":[],"emit":[` + good + `]}`, a, true, []Emit{x(-1)}, `{"batchItemFailures":[]}`, ""},
		{"beside failures, with items", `{"batchItemFailures":[{"itemIdentifier":"15"}],"emit":[{"itemIdentifier":"13",` + good[1:] + `,{"itemIdentifier":"18",` + good[1:] + `]}`, a, true,
			[]Emit{x(3), x(8)}, `{"batchItemFailures":[{"itemIdentifier":"15"}]}`, ""},
		{"beside failures, one without an item", `{"batchItemFailures":[{"itemIdentifier":"15"}],"emit":[{"itemIdentifier":"13",` + good[1:] + `,` + good + `]}`, a, true, nil, ``,
			"emit 1, to stream a, has no itemIdentifier: in a reply with batchItemFailures each emit must name"},
		{"beside failures that do not count", `{"batchItemFailures":[{"itemIdentifier":"15"}],"emit":[` + good + `]}`, a, false, []Emit{x(-1)}, `{"batchItemFailures":[{"itemIdentifier":"15"}]}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := Result{Response: []byte(tt.reply), Version: functions.Version{Function: "fn"}}
			Classify(&Invocation{Batch: ten(), PartialReplies: tt.partial}, tt.allowed, &r)
			if tt.fault != "" {
				if r.Outcome != FunctionError || r.ErrorType != TypeBadEmits || !strings.Contains(r.ErrorMessage, tt.fault) || r.Emits != nil || r.Failures != nil {
					t.Errorf("%v %s: %s, %d emits, want %q", r.Outcome, r.ErrorType, r.ErrorMessage, len(r.Emits), tt.fault)
				}
				return
			}
			if r.Outcome != Done && r.Outcome != Partial || !reflect.DeepEqual(r.Emits, tt.want) || string(r.Response) != tt.rest {
				t.Errorf("%v %s %+v, response %s\nwant %+v, response %s", r.Outcome, r.ErrorMessage, r.Emits, r.Response, tt.want, tt.rest)
			}
		})
	}
}

func TestEmitsOfABinaryReply(t *testing.T) {
	batch := Invocation{Batch: ten()}
	one := func(e Emit) []Emit { return []Emit{{"a", "k", nil, 0}, e} }
	a := []string{"a"}
	tests := []struct {
		name    string
		in      Result
		allowed []string
		emits   int
		rest    string
		fault   string
	}{
		{"taken", Result{Emits: one(Emit{"a", "k", nil, 9})}, a, 2, "", ""},
		{"they win over those of the JSON", Result{Emits: one(Emit{"a", "k", nil, -1}), Response: []byte(`{"emit":7,"n":1}`)}, a, 2, `{"n":1}`, ""},
		{"none wins too", Result{Emits: []Emit{}, Response: []byte(`{"emit":[1],"n":1}`)}, a, 0, `{"n":1}`, ""},
		{"another stream", Result{Emits: one(Emit{"b", "k", nil, -1})}, a, 0, "", `emit 1 is to stream "b"`},
		{"none is allowed", Result{Emits: one(Emit{"a", "k", nil, -1})}, nil, 0, "", "emit 0 is to stream"},
		{"no key", Result{Emits: one(Emit{"a", "", nil, -1})}, a, 0, "", "emit 1, to stream a, has an empty partitionKey"},
		{"a key that is no text", Result{Emits: one(Emit{"a", "\xff", nil, -1})}, a, 0, "", "emit 1, to stream a, has a partitionKey that is not UTF-8"},
		{"a record that the batch has not", Result{Emits: one(Emit{"a", "k", nil, 10})}, a, 0, "", "emit 1, to stream a, names record 10"},
		{"another outcome has none", Result{Outcome: Timeout, Emits: one(Emit{"a", "k", nil, 1})}, a, 0, "", ""},
	}
	for _, tt := range tests {
		r := tt.in
		Classify(&batch, tt.allowed, &r)
		switch {
		case tt.fault != "":
			if r.Outcome != FunctionError || r.ErrorType != TypeBadEmits || !strings.Contains(r.ErrorMessage, tt.fault) || r.Emits != nil {
				t.Errorf("%s: %v %s, want %q", tt.name, r.Outcome, r.ErrorMessage, tt.fault)
			}
		case r.Outcome != tt.in.Outcome || len(r.Emits) != tt.emits || string(r.Response) != tt.rest || tt.emits == 0 && r.Emits != nil:
			t.Errorf("%s: %v %s, emits %+v, response %s", tt.name, r.Outcome, r.ErrorMessage, r.Emits, r.Response)
		}
	}
}

// A message of 7 MB has room for nearly half a million empty records.
func TestFloodOfEmitsTakesNoMemory(t *testing.T) {
	section := make([]byte, 7<<20)
	message := append([]byte("WMR1\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x00\x00\x70\x00"), section...)
	binary.LittleEndian.PutUint32(message[8:], uint32(len(message)))
	reply, err := DecodeReply(message)
	if err != nil || len(reply.Emits) != MaxEmits+1 {
		t.Errorf("%d records, %v, want one more than is allowed", len(reply.Emits), err)
	}
}

func TestReplyThatCannotBeReadLosesNoEmits(t *testing.T) {
	for _, tt := range []struct {
		allowed []string
		want    Outcome
	}{{nil, Done}, {[]string{"a"}, FunctionError}} {
		r := Result{Response: []byte(`{"emit":[{"stream"`)}
		Classify(&Invocation{Batch: ten()}, tt.allowed, &r)
		if r.Outcome != tt.want || r.Outcome == FunctionError && r.ErrorType != TypeMalformed {
			t.Errorf("allowed %q: %v %s", tt.allowed, r.Outcome, r.ErrorType)
		}
	}
}

func TestWrongFailuresEmitNothing(t *testing.T) {
	for _, failures := range []string{`[{"itemIdentifier":"99"}]`, `7`} {
		r := Result{Response: []byte(`{"batchItemFailures":` + failures + `,"emit":[{"stream":"a","partitionKey":"k","data":"","itemIdentifier":"10"}]}`)}
		Classify(&Invocation{Batch: ten(), PartialReplies: true}, []string{"a"}, &r)
		if r.Outcome != Partial || r.ErrorType != TypeBadItems || r.Emits != nil {
			t.Errorf("%s: %v %s, %d emits", failures, r.Outcome, r.ErrorType, len(r.Emits))
		}
	}
}

func TestCallersReplyIsLeftAsItIs(t *testing.T) {
	const reply = `{ "emit":[{"stream":"a","partitionKey":"k","data":""}] }`
	for _, allowed := range [][]string{nil, {"a"}} {
		r := Result{Response: []byte(reply)}
		Classify(&Invocation{Payload: []byte("{}")}, allowed, &r)
		if r.Outcome != Done || r.Emits != nil || string(r.Response) != reply {
			t.Errorf("%v %s, emits %v", r.Outcome, r.Response, r.Emits)
		}
	}
}

func TestPreviewSaysWhatABatchWouldEmit(t *testing.T) {
	const event = `{"Records":[{"kinesis":{"sequenceNumber":"10"}},{"kinesis":{"sequenceNumber":"11"}}]}`
	reply := func(item string) []byte {
		return []byte(`{"emit":[{"stream":"a","partitionKey":"k","data":"eA==","itemIdentifier":"` + item + `"}]}`)
	}
	for _, tt := range []struct {
		name, payload string
		reply         []byte
		allowed       []string
		emits         int
		fault         string
	}{
		{"of a batch", event, reply("11"), []string{"a"}, 1, ""},
		{"an item it has not", event, reply("12"), []string{"a"}, 0, `names item "12"`},
		{"of any payload", `{}`, reply("12"), []string{"a"}, 1, ""},
		{"not allowed", event, reply("11"), nil, 0, "wasmill fn update fn --emit a"},
		{"not JSON", event, []byte("x"), []string{"a"}, 0, ""},
		{"nothing", event, nil, []string{"a"}, 0, ""},
	} {
		emits, err := PreviewEmits("fn", []byte(tt.payload), tt.reply, tt.allowed)
		if tt.fault == "" && (err != nil || len(emits) != tt.emits) || tt.fault != "" && (err == nil || !strings.Contains(err.Error(), tt.fault)) {
			t.Errorf("%s: %v, %v", tt.name, emits, err)
		}
	}
}

func TestUnreadFailures(t *testing.T) {
	named := `{"batchItemFailures":[{"itemIdentifier":"12"},{"itemIdentifier":"13"}]}`
	for _, tt := range []struct {
		name    string
		inv     Invocation
		outcome Outcome
		reply   string
		want    int
	}{
		{"named and not read", Invocation{Batch: ten()}, Done, named, 2},
		{"read", Invocation{Batch: ten(), PartialReplies: true}, Done, named, 0},
		{"of a caller", Invocation{}, Done, named, 0},
		{"failed", Invocation{Batch: ten()}, FunctionError, named, 0},
		{"none", Invocation{Batch: ten()}, Done, `{"batchItemFailures":[]}`, 0},
		{"of another batch: a word of its own", Invocation{Batch: ten()}, Done, `{"batchItemFailures":[{"itemIdentifier":"1"}]}`, 0},
		{"no JSON", Invocation{Batch: ten()}, Done, `{"batchItemFailures":[{"itemIdentifier":`, 0},
	} {
		if n := UnreadFailures(&tt.inv, &Result{Outcome: tt.outcome, Response: []byte(tt.reply)}); n != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, n, tt.want)
		}
	}
}

// The walk over JSON must find what encoding/json finds, in anything that is valid.
func FuzzMembers(f *testing.F) {
	for _, s := range []string{`{}`, ` { "a" : [ 1 , {"b":"}"} ] , "c\"\\":null,"c":-1e5 }`, `{"":"","\u0065mit":[true,false,"]"]}`, `[]`, ` "x" `, `{"a":"\\"}`, `{"a":{"a":"\\\""},"b":[[],[[]]]}`, `7`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if !json.Valid(b) {
			return
		}
		var want map[string]json.RawMessage
		_ = json.Unmarshal(b, &want) // fails for what is no object
		got := map[string]json.RawMessage{}
		for k, v := range members(b) {
			got[k] = v
			if v[0] != '[' {
				continue
			}
			var list []json.RawMessage
			if err := json.Unmarshal(v, &list); err != nil {
				t.Fatal(err)
			}
			n := 0
			for e := range elements(v) {
				if n >= len(list) || !bytes.Equal(e, list[n]) {
					t.Fatalf("element %d of %s is %s", n, v, e)
				}
				n++
			}
			if n != len(list) {
				t.Fatalf("%d elements of %s", n, v)
			}
		}
		if len(got) != len(want) {
			t.Fatalf("members %q of %s", got, b)
		}
		for k, v := range want {
			if !bytes.Equal(got[k], v) {
				t.Fatalf("member %q of %s is %s", k, b, got[k])
			}
		}
		if len(got) > 0 {
			if rest := without(b, "emit"); !json.Valid(rest) {
				t.Fatalf("without emit: %s", rest)
			}
		}
	})
}

func FuzzParseEmits(f *testing.F) {
	f.Add([]byte(`{"emit":[{"stream":"a","partitionKey":"k","data":"eA==","itemIdentifier":"11"}],"batchItemFailures":[{"itemIdentifier":"12"}]}`))
	f.Add([]byte(`{"emit":[{"stream":"a","partitionKey":"","data":null}]}`))
	f.Add([]byte(`{"emit":7,"emit":[]}`))
	f.Fuzz(func(t *testing.T, reply []byte) {
		for _, allowed := range [][]string{nil, {"a"}} {
			r := Result{Response: reply}
			Classify(&Invocation{Batch: ten(), PartialReplies: true}, allowed, &r)
			for _, e := range r.Emits {
				if e.Stream != "a" || e.PartitionKey == "" || e.Item < -1 || e.Item > 9 || r.Outcome == Partial && e.Item < 0 {
					t.Errorf("%v: %+v", r.Outcome, e)
				}
			}
			if len(r.Emits) > 0 && (allowed == nil || r.Outcome != Done && r.Outcome != Partial) {
				t.Errorf("%v with emits, allowed %q", r.Outcome, allowed)
			}
			if (r.Outcome == Done) != (r.ErrorType == "") {
				t.Errorf("%v of type %q", r.Outcome, r.ErrorType)
			}
		}
	})
}

func TestIgnoredEmitsAreThoseThatNobodyEmits(t *testing.T) {
	const good = `{"stream":"a","partitionKey":"k","data":""}`
	for _, tt := range []struct {
		reply   string
		allowed []string
		partial bool
		want    int
	}{
		{`{"emit":[{"topic":"a"},{"topic":"b"}]}`, nil, false, 2},
		{`{"emit":["x"],"batchItemFailures":[{"itemIdentifier":"12"}]}`, nil, true, 1},
		{`{"Emit":[1]}`, []string{"a"}, false, 1},
		{`{"emit":[` + good + `]}`, []string{"a"}, false, 0}, // emitted
		{`{"emit":[` + good + `]}`, nil, false, 0},           // failed, and said so
		{`{"emit":[]}`, nil, false, 0},
		{`{"emit":true}`, nil, false, 0},
		{`{"n":{"emit":[1]}}`, nil, false, 0},
		{`"emit"`, nil, false, 0},
		{`not JSON "emit"`, nil, false, 0},
		{``, nil, false, 0},
	} {
		inv := Invocation{Batch: ten(), PartialReplies: tt.partial}
		r := Result{Response: []byte(tt.reply)}
		Classify(&inv, tt.allowed, &r)
		if n := IgnoredEmits(&inv, &r); n != tt.want {
			t.Errorf("%s, allowed %q: %d, want %d", tt.reply, tt.allowed, n, tt.want)
		}
	}
	if n := IgnoredEmits(&Invocation{}, &Result{Response: []byte(`{"emit":[1]}`)}); n != 0 {
		t.Errorf("of a caller: %d", n)
	}
}

func TestTargetsOfEmits(t *testing.T) {
	down := errors.New("down")
	asked := 0
	limit := func(stream string) (int, error) {
		asked++
		switch stream {
		case "a":
			return 4, nil
		case "down":
			return 0, down
		}
		return 0, nil
	}
	for _, tt := range []struct {
		emits []Emit
		fault string
	}{
		{nil, ""},
		{[]Emit{{"a", "key", []byte("x"), -1}, {"a", "k", nil, -1}, {"a", "key", []byte("x"), 3}}, ""},
		{[]Emit{{"a", "k", nil, -1}, {"a", "key", []byte("xy"), -1}}, "emit 1 has 5 bytes of data and key; stream a takes records of at most 4"},
		{[]Emit{{"a", "k", nil, -1}, {"b", "k", nil, -1}}, "emit 1 goes to stream b, which does not exist; create it with: wasmill stream create b"},
	} {
		asked = 0
		err := CheckTargets(tt.emits, limit)
		if tt.fault == "" && err != nil || tt.fault != "" && (!errors.Is(err, ErrEmit) || err.Error() != tt.fault) {
			t.Errorf("%+v: %v, want %q", tt.emits, err, tt.fault)
		}
		if asked > 2 {
			t.Errorf("asked %d times", asked)
		}
	}
	if err := CheckTargets([]Emit{{"down", "k", nil, -1}}, limit); err != down {
		t.Errorf("what is not the function's fault: %v", err)
	}
}
