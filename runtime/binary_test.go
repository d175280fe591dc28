package runtime

import (
	"encoding/binary"
	"strings"
	"testing"
)

func change(data string) *Batch {
	return &Batch{Kind: KindDynamoDB, ARN: "arn", Region: "r", Records: []Record{{Sequence: "1", Data: []byte(`{"Keys":{}}`)}, {Sequence: "2", Data: []byte(data), Change: &Change{}}}}
}

func kindOfMessage(m []byte) int { return int(binary.LittleEndian.Uint16(m[6:])) }

func nested(n int) string {
	return `{"NewImage":{"a":` + strings.Repeat(`{"L":[`, n) + `{"S":"x"}` + strings.Repeat(`]}`, n) + `}}`
}

func TestChangesThatAreNoneGoAsJSON(t *testing.T) {
	for name, data := range map[string]string{
		"nothing":             ``,
		"cut off":             `{"Keys":{"a":{"S":"x"`,
		"more behind it":      `{"Keys":{}}}`,
		"a list":              `[]`,
		"no object of keys":   `{"Keys":[]}`,
		"a value of no type":  `{"Keys":{"a":{}}}`,
		"an unknown type":     `{"Keys":{"a":{"X":"x"}}}`,
		"two types":           `{"Keys":{"a":{"S":"x","N":"1"}}}`,
		"a number unquoted":   `{"Keys":{"a":{"N":1}}}`,
		"no base64":           `{"Keys":{"a":{"B":"*"}}}`,
		"a set of other":      `{"Keys":{"a":{"SS":[1]}}}`,
		"no boolean":          `{"Keys":{"a":{"BOOL":"true"}}}`,
		"a comma too many":    `{"Keys":{"a":{"L":[{"S":"x"},]}}}`,
		"a wrong escape":      `{"Keys":{"a":{"S":"\x"}}}`,
		"a time that is none": `{"ApproximateCreationDateTime":"now"}`,
		"a size that is none": `{"SizeBytes":1.5}`,
		"too deep":            nested(63),
		"far too deep":        nested(100_000),
	} {
		b, h := change(data), BatchHeader{RequestID: "id", FunctionARN: "f"}
		m := AppendBinary(nil, b, h)
		if kindOfMessage(m) != kindNone || binary.LittleEndian.Uint32(m[24:]) != 0 || len(m) != BinarySize(b, h) {
			t.Errorf("%s: kind %d, %d records, %d bytes of %d", name, kindOfMessage(m), binary.LittleEndian.Uint32(m[24:]), len(m), BinarySize(b, h))
		}
	}
	if m := AppendBinary(nil, change(nested(62)), BatchHeader{}); kindOfMessage(m) != kindDynamoDB {
		t.Error("as deep as may be: not understood")
	}
}

func FuzzChangesOfAnyBytes(f *testing.F) {
	f.Add([]byte(`{"ApproximateCreationDateTime":1.5,"Keys":{"a\"":{"S":"\u00fc"}},"NewImage":{"l":{"L":[{"NULL":true},{"BS":["AA=="]}]}},"SizeBytes":1,"StreamViewType":"X"}`))
	f.Add([]byte(`{"Keys":{"a":{"M":{"b":{"BOOL":false}}}}}`))
	f.Add([]byte(`{"Keys" : { "a":{"NS":["1" , "2"] } } , "x":[1,{"y":null}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		b := change(string(data))
		// It panics itself if it has another size than computed.
		m := AppendBinary(nil, b, BatchHeader{})
		if kind := kindOfMessage(m); kind != kindDynamoDB && kind != kindNone {
			t.Errorf("kind %d", kind)
		}
	})
}

func TestStateOfAWindow(t *testing.T) {
	batch := func(final bool) *Batch {
		return &Batch{Window: &Window{Final: final}, Records: []Record{{Sequence: "1"}}}
	}
	for _, tt := range []struct {
		name, response string
		section        []byte // state of its own section
		final          bool
		state, failure string
	}{
		{name: "of the reply", response: `{"state":{"a":1}}`, state: `{"a":1}`},
		{name: "of its section", section: []byte(`{"a":1}`), state: `{"a":1}`},
		{name: "the section wins", response: `{"state":{"b":1}}`, section: []byte(`{"a":1}`), state: `{"a":1}`},
		{name: "null is empty", response: `{"state":null}`, state: `{}`},
		{name: "beside failures", response: `{"batchItemFailures":[],"state":{}}`, state: `{}`},
		{name: "of the last invocation nobody wants one", response: `null`, final: true},
		{name: "of the last invocation nobody keeps one", response: `{"state":{"a":1}}`, section: []byte(`{}`), final: true},
		{name: "none", response: `{}`, failure: `has no "state"`},
		{name: "no reply", response: ``, failure: `has no "state"`},
		{name: "no object", response: `{"state":[1]}`, failure: "a list: want an object"},
		{name: "another case", response: `{"State":{}}`, failure: `has "State": want "state"`},
		{name: "no JSON", response: `{`, failure: "not JSON"},
		{name: "a section that is no JSON", section: []byte(`{`), failure: "not JSON"},
		{name: "an empty section", section: []byte{}, failure: "not JSON"},
	} {
		r := Result{Response: []byte(tt.response), State: tt.section}
		Classify(&Invocation{ID: "i", Batch: batch(tt.final)}, nil, &r)
		if tt.failure != "" {
			if r.Outcome != FunctionError || !strings.Contains(r.ErrorMessage, tt.failure) || r.State != nil {
				t.Errorf("%s: %v %s, state %s", tt.name, r.Outcome, r.ErrorMessage, r.State)
			}
			continue
		}
		if r.Outcome != Done || string(r.State) != tt.state {
			t.Errorf("%s: %v %s, state %s", tt.name, r.Outcome, r.ErrorMessage, r.State)
		}
	}
	r := Result{Response: []byte(`{}`), State: []byte(`{}`)}
	if Classify(&Invocation{Batch: &Batch{}}, nil, &r); r.State != nil || r.Outcome != Done {
		t.Errorf("without a window: %v, state %s", r.Outcome, r.State)
	}
}

func TestFailuresOfMessagesHaveNoOrder(t *testing.T) {
	b := &Batch{Kind: KindSQS, Records: []Record{{Sequence: "c"}, {Sequence: "a"}, {Sequence: "b"}}}
	if i, valid := LowestFailed(b, []string{"b", "a"}); i != 1 || !valid {
		t.Errorf("got %d, %v", i, valid)
	}
	if _, valid := LowestFailed(b, []string{"b", "x"}); valid {
		t.Error("a message that the batch has not is valid")
	}
	if i, valid := LowestFailed(b, nil); i != -1 || !valid {
		t.Errorf("got %d, %v", i, valid)
	}
}

func BenchmarkAppendBinaryOfKinds(b *testing.B) {
	for name, batch := range map[string]*Batch{"kinesis": testBatch(100, 1024), "dynamodb": dynamoDB(100)} {
		b.Run(name, func(b *testing.B) {
			var dst []byte
			b.SetBytes(int64(BinarySize(batch, BatchHeader{})))
			for b.Loop() {
				BinarySize(batch, BatchHeader{})
				dst = AppendBinary(dst[:0], batch, BatchHeader{})
			}
		})
	}
}

func dynamoDB(n int) *Batch {
	b := &Batch{Kind: KindDynamoDB}
	for range n {
		b.Records = append(b.Records, Record{Sequence: seqA, Data: []byte(`{"ApproximateCreationDateTime":1733418659.0,"Keys":{"id":{"S":"1"}},"NewImage":{"id":{"S":"1"},"text":{"S":"` + strings.Repeat("x", 900) + `"},"n":{"N":"12"}},"SequenceNumber":"1","SizeBytes":3,"StreamViewType":"KEYS_ONLY"}`)})
	}
	return b
}
