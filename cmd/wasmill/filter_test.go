package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/api/admin"
)

func TestFiltersAreTriedWithoutAServer(t *testing.T) {
	w := nowhere(t)
	const orders = `{"data": {"type": ["order"], "total": [{"numeric": [">", 100]}]}}`
	criteria := w.file("criteria.json", `{"Filters": [{"Pattern": "{\"data\":{\"a\":[1]}}"}, {"Pattern": "{\"partitionKey\":[\"k\"]}"}]}`)
	lines := w.file("records.jsonl", "{\"type\": \"order\", \"total\": 200}\n\n{\"type\": \"refund\"}\r\nno JSON\n")
	event := `{"Records":[{"kinesis":{"partitionKey":"k","data":"eyJhIjoyfQ=="},"eventSource":"aws:kinesis"}]}`
	for _, r := range []struct {
		name   string
		in     string
		args   []string
		status int
		want   string
	}{
		{"a match", "", []string{"--filter", orders, "--data", `{"type": "order", "total": 100.5}`}, 0, "record 1 matches\n"},
		{"no match, and why", "", []string{"--filter", orders, "--data", `{"type": "refund"}`}, 1,
			"record 1 does not match\n  data.total is missing, wanted: [{\"numeric\": [\">\", 100]}]\n  data.type is \"refund\", wanted: [\"order\"]\n"},
		{"lines of a file", "", []string{"--filter", orders, "-f", lines}, 0,
			"record 1 matches\nrecord 2 does not match\n  data.total is missing, wanted: [{\"numeric\": [\">\", 100]}]\n  data.type is \"refund\", wanted: [\"order\"]\nrecord 3 does not match\n  data is not JSON\n1 of 3 records match\n"},
		{"standard input", `{"type":"order","total":101}`, []string{"--filter", "@" + w.file("p.json", "\n"+orders+"\n")}, 0, "record 1 matches\n"},
		{"AWS's FilterCriteria, on an event", event, []string{"--filter", "@" + criteria, "--event", "-"}, 0, "record 1 matches, filter 2\n"},
		{"AWS's FilterCriteria, none", "", []string{"--filter", "@" + criteria, "--data", `{"a":2}`}, 1,
			"record 1 does not match\n  filter 1\n    data.a is 2, wanted: [1]\n  filter 2\n    partitionKey is missing, wanted: [\"k\"]\n"},
		{"a partition key", "", []string{"--filter", "@" + criteria, "--data", `{"a":2}`, "--key", "k"}, 0, "record 1 matches, filter 2\n"},
		{"a queue's event", `{"Records":[{"messageId":"m","body":"plain","eventSource":"aws:sqs"}]}`, []string{"--filter", `{"body":["plain"],"messageId":["m"]}`, "--event", "-"}, 0, "record 1 matches\n"},
		{"a table's event", `{"Records":[{"eventName":"INSERT","dynamodb":{"NewImage":{"n":{"N":"1"}}},"eventSource":"aws:dynamodb"}]}`,
			[]string{"--filter", `{"eventName":["INSERT"],"dynamodb":{"NewImage":{"n":{"N":["1"]}}}}`, "--event", "-"}, 0, "record 1 matches\n"},
		{"elements of an array", "", []string{"--filter", `{"data":{"e":{"a":[1],"b":[2]}}}`, "--data", `{"e":[{"a":1},{"b":2}]}`}, 1,
			"record 1 does not match\n  data.e.a: no element of its array meets all conditions, wanted: [1]\n  data.e.b: no element of its array meets all conditions, wanted: [2]\n"},
	} {
		w.in = r.in
		o := w.run(append([]string{"trigger", "test-filter"}, r.args...)...)
		if o.status != r.status || o.out != r.want || o.err != "" {
			t.Errorf("%s: exit status %d\n%s%s", r.name, o.status, o.out, o.err)
		}
	}
	w.in = ""
	w.fails(2, admin.CodeUsage, "trigger", "test-filter", "--data", "{}")
	w.fails(2, admin.CodeUsage, "trigger", "test-filter", "--filter", orders, "--data", "{}", "--event", "-")
	w.fails(1, admin.CodeInput, "trigger", "test-filter", "--filter", orders)
	w.fails(1, admin.CodeInput, "trigger", "test-filter", "--filter", "@"+w.file("x", "")+".not", "--data", "{}")
	for _, event := range []string{``, `{}`, `[]`, `{"Records":[{}]}`, `{"Records":[{"eventSource":"aws:kinesis"}]}`, `{"Records":[{"eventSource":"aws:kinesis","kinesis":{"data":"%"}}]}`,
		`{"Records":[{"eventSource":"aws:sqs","body":""},{"eventSource":"aws:dynamodb","dynamodb":{}}]}`} {
		w.in = event
		w.fails(1, admin.CodeInput, "trigger", "test-filter", "--filter", orders, "--event", "-")
	}
}

func TestAWrongFilterIsShownWithACaret(t *testing.T) {
	w := nowhere(t)
	o := w.fails(1, admin.CodeTriggerInvalid, "trigger", "create", "t", "--stream", "s", "--fn", "f", "--filter", `{"data":{"é":[{"Prefix":"x"}]}}`)
	if !strings.Contains(o.err, "the filter is not sound: Unrecognized match type Prefix\n") ||
		!strings.HasSuffix(o.err, "\n  {\"data\":{\"é\":[{\"Prefix\":\"x\"}]}}\n                 ^\n") {
		t.Errorf("%s", o.err)
	}
	// Of a long pattern with lines, the line, and of that what is around.
	long := "{\n  \"data\": {\n    \"" + strings.Repeat("k", 100) + "\": [],\n    \"z\": [1]\n  }\n}"
	o = w.fails(1, admin.CodeTriggerInvalid, "trigger", "update", "t", "--filter", `{"data":{"a":[1]}}`, "--filter", "@"+w.file("p.json", long))
	if !strings.Contains(o.err, "filter 2 is not sound: Empty arrays are not allowed\n") || !strings.HasSuffix(o.err, "\n  …"+strings.Repeat("k", 57)+"\": [],\n"+strings.Repeat(" ", 63)+"^\n") {
		t.Errorf("%s", o.err)
	}
	o = w.fails(1, admin.CodeTriggerInvalid, "trigger", "test-filter", "--json", "--filter", `{"data":`, "--data", "{}")
	if !strings.Contains(o.out, `"offset":8`) || !strings.Contains(o.out, `"reason":"Unexpected end of the filter: it is not JSON"`) {
		t.Errorf("%s", o.out)
	}
	w.fails(1, admin.CodeTriggerInvalid, "trigger", "create", "t", "--stream", "s", "--fn", "f", "--strict-filters", "--filter", `{"data":{"a":[{"wildcard":"x*"}]}}`)
	w.fails(2, admin.CodeUsage, "trigger", "create", "t", "--stream", "s", "--fn", "f", "--on-destination-failure", "maybe")
	w.fails(2, admin.CodeUsage, "trigger", "update", "t", "--filter", `{"data":{"a":[1]}}`, "--no-filters")
}

func TestATriggerWithFiltersAndWindows(t *testing.T) {
	w := newWorld(t)
	w.ok("stream", "create", "orders")
	w.ok("stream", "create", "failures")
	w.ok("fn", "create", "f", w.file("bad.wasm", traps()))
	const pattern = `{"data":{"n":[{"numeric":[">",1]}]}}`
	arn := data[admin.Stream](w, "stream", "get", "failures").ARN
	v := data[admin.Trigger](w, "trigger", "create", "t", "--stream", "orders", "--fn", "f", "--filter", pattern, "--filter", `{"partitionKey":["vip"]}`, "--retries", "0", "--batch-size", "1",
		"--on-failure", arn, "--on-destination-failure", "drop")
	if len(v.Filters) != 2 || v.Filters[0] != pattern || v.OnFailure != arn || v.OnDestinationFailure != "drop" {
		t.Errorf("created %+v", v)
	}
	for i, key := range []string{"a", "b", "vip"} {
		w.ok("stream", "put", "orders", "--data", `{"n":`+string(rune('0'+i%2*2))+`}`, "--key", key)
	}
	w.ok("trigger", "wait", "t", "--drained", "--timeout", "30s")
	v = data[admin.Trigger](w, "trigger", "get", "t")
	if s := v.Shards[0]; s.Buried != 2 || s.Lag != 0 || s.Next != 3 || len(s.Explain) == 0 {
		t.Errorf("two of three records go to the function: %+v", s)
	}
	shown := w.ok("trigger", "get", "t")
	for _, want := range []string{"filters      " + pattern + ` or {"partitionKey":["vip"]}`, "on failure   " + arn + ", dropped if it cannot be told"} {
		if !strings.Contains(shown, want) {
			t.Errorf("get shows no %q:\n%s", want, shown)
		}
	}
	told := w.ok("trigger", "explain", "t")
	for _, want := range []string{"t: orders calls f with up to 1 record at once, those that match one of its filters", "It is at the end of 1 shard: nothing to do.",
		"shardId-000000000000  ████████████████████████  3 of 3 records done", "2 records were given up"} {
		if !strings.Contains(told, want) {
			t.Errorf("explain says no %q:\n%s", want, told)
		}
	}
	if o := w.run("trigger", "test-filter", "--trigger", "t", "--data", `{"n":1}`); o.status != 1 || !strings.Contains(o.out, "data.n is 1") {
		t.Errorf("%+v", o)
	}
	v = data[admin.Trigger](w, "trigger", "update", "t", "--no-filters", "--on-failure", "none", "--on-destination-failure", "retry", "--tumbling-window", "30s")
	if len(v.Filters) != 0 || v.OnFailure != "" || v.OnDestinationFailure != "" || v.TumblingWindow.String() != "30s" {
		t.Errorf("updated %+v", v)
	}
	w.fails(2, admin.CodeUsage, "trigger", "test-filter", "--trigger", "t", "--data", `{}`)
	for _, wrong := range [][]string{{"--tumbling-window", "901s"}, {"--tumbling-window", "1500ms"}, {"--parallel", "2"}, {"--on-failure", "arn:aws:sns:us-east-1:000000000000:topic"}, {"--on-failure", "file:///etc"}} {
		w.fails(1, admin.CodeTriggerInvalid, append([]string{"trigger", "update", "t"}, wrong...)...)
	}
	w.ok("trigger", "pause", "t")
	w.ok("stream", "put", "orders", "--data", `{}`, "--key", "a")
	if told := w.ok("trigger", "explain", "t"); !strings.Contains(told, "It is paused, with 1 record to do.") || !strings.Contains(told, "in windows of 30s") || !strings.Contains(told, "3 of 4 records done, 1 behind") {
		t.Errorf("explain of a paused trigger:\n%s", told)
	}
	w.fails(3, admin.CodeTriggerNotFound, "trigger", "explain", "u")
}

func TestPatternsAreReadFromFilesAndCriteria(t *testing.T) {
	w := nowhere(t)
	got, err := patterns([]string{`{"a":[1]}`, `{"Filters":[1]}`, `{"Filters":["x"]}`, `{"Filters":[{"Pattern":"p"},{"Pattern":"q"}]}`, `{"Filters":[]}`, "@" + w.file("p", " r\n"), ""})
	if want := []string{`{"a":[1]}`, `{"Filters":[1]}`, `{"Filters":["x"]}`, "p", "q", "r", ""}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}
