package filter

import (
	"strings"
	"testing"

	"github.com/wasmill/wasmill/runtime"
)

func TestAPatternThatNoRecordOfTheSourceCanMatchIsNamed(t *testing.T) {
	for _, tt := range []struct {
		name    string
		kind    runtime.Kind
		pattern string
		says    string // empty: it may match
	}{
		{"data", runtime.KindKinesis, `{"data": {"a": [1]}}`, ""},
		{"metadata", runtime.KindKinesis, `{"partitionKey": ["a"], "data": {"a": [1]}}`, ""},
		{"metadata where the event has them", runtime.KindKinesis, `{"kinesis": {"partitionKey": ["a"]}}`, ""},
		{"a message's body", runtime.KindKinesis, `{"body": {"a": [1]}}`, `"body" is of SQS: a Kinesis record has data, partitionKey, `},
		{"a change of a table", runtime.KindKinesis, `{"dynamodb": {"Keys": {"a": {"S": ["x"]}}}}`, `"dynamodb" is of DynamoDB: a Kinesis record has data, `},
		{"a key of the data at the top", runtime.KindKinesis, `{"type": ["order"]}`, `as in {"data": {"type": …}}`},
		{"one wrong key is enough", runtime.KindKinesis, `{"data": {"a": [1]}, "body": ["x"]}`, `"body" is of SQS`},
		{"a key that has to be missing is", runtime.KindKinesis, `{"body": [{"exists": false}]}`, ""},
		{"a key that may be missing", runtime.KindKinesis, `{"body": ["x", {"exists": false}]}`, ""},
		{"anything-but needs the key", runtime.KindKinesis, `{"body": [{"anything-but": ["x"]}]}`, `"body" is of SQS`},
		{"data below kinesis", runtime.KindKinesis, `{"kinesis": {"data": {"a": [1]}}}`, `at the key "data"`},
		{"text is no object", runtime.KindKinesis, `{"partitionKey": {"a": [1]}}`, "is no object"},
		{"an alternative that may match", runtime.KindKinesis, `{"$or": [{"body": ["x"]}, {"data": {"a": [1]}}]}`, ""},
		{"alternatives of which none may", runtime.KindKinesis, `{"$or": [{"body": ["x"]}, {"messageId": ["y"]}]}`, "is of SQS"},
		{"data of a message", runtime.KindSQS, `{"data": {"a": [1]}}`, `"data" is of Kinesis: an SQS message has body, `},
		{"a message's attribute", runtime.KindSQS, `{"messageAttributes": {"a": {"stringValue": ["x"]}}, "body": {"a": [1]}}`, ""},
		{"a change's name", runtime.KindDynamoDB, `{"eventName": ["INSERT"], "dynamodb": {"Keys": {"a": {"S": ["x"]}}}}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set, err := Compile([]string{`{"eventID": ["x"], "eventSource": ["y"]}`, tt.pattern}, Options{Kind: tt.kind})
			if tt.kind == runtime.KindSQS {
				set, err = Compile([]string{`{"messageId": ["x"]}`, tt.pattern}, Options{Kind: tt.kind})
			}
			if err != nil {
				t.Fatal(err)
			}
			never := set.Never()
			if tt.says == "" {
				if len(never) != 0 {
					t.Errorf("it never matches: %+v", never)
				}
				return
			}
			if len(never) != 1 || never[0].Pattern != 1 || !strings.Contains(never[0].Reason, tt.says) || !strings.HasSuffix(never[0].Reason, "nothing will ever match") {
				t.Errorf("never = %+v, want filter 1 with %q", never, tt.says)
			}
		})
	}
}
