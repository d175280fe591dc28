package lambda

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// mappingParameters are those of mappings (esm.md 1.2): what they default to, what they take, and
// what becomes of what they do not take. The compatibility page is made of them.
var mappingParameters = []struct {
	name     string
	usual    string // default, as it is shown; "-": it is not
	taken    string // values that are, in JSON, between |
	refused  string // values that are not: value=>text of the error, between |; "low" and "high" stand for the table's words
	code     string // of the refusals; ValidationException
	immobile bool   // an update does not take it
	note     string
}{
	{"FunctionName", `-`, `"f"|"f:7"|"f:$LATEST"|"000000000000:function:f"|"` + functionF + `:live"`, `""=>2 validation errors detected: Value '' at 'functionName' failed to satisfy constraint: Member must satisfy regular expression pattern`, "", false, "a name, a part of an ARN or a whole one, with a version or an alias or without"},
	{"EventSourceArn", `-`, `"` + streamARN + `"|"` + streamARN + `/consumer/fan:1700000000"`, `"s"=>1 validation error detected: Value 's' at 'eventSourceArn' failed to satisfy constraint: Member must satisfy regular expression pattern`, "", true, "a Kinesis stream, or a consumer of one; other sources are refused by name"},
	{"Enabled", `-`, `false`, `[]=>`, "SerializationException", false, ""},
	{"BatchSize", `100`, `1|10000`, `0=>low 1|10001=>high 10000`, "", false, ""},
	{"MaximumBatchingWindowInSeconds", `0`, `0|300`, `-1=>low 0|301=>high 300`, "", false, ""},
	{"StartingPosition", `"TRIM_HORIZON"`, `"TRIM_HORIZON"|"LATEST"`, `"invalid"=>1 validation error detected: Value 'invalid' at 'startingPosition' failed to satisfy constraint: Member must satisfy enum value set: [LATEST, AT_TIMESTAMP, TRIM_HORIZON]`, "", true, "AT_TIMESTAMP too, with a StartingPositionTimestamp"},
	{"ParallelizationFactor", `1`, `10|1`, `0=>low 1|11=>high 10`, "", false, "order is kept per partition key"},
	{"BisectBatchOnFunctionError", `false`, `true|false`, `{}=>`, "SerializationException", false, ""},
	{"MaximumRetryAttempts", `-1`, `-1|0|10000`, `-2=>low -1|10001=>high 10000`, "", false, ""},
	{"MaximumRecordAgeInSeconds", `-1`, `-1|60|604800`, `-2=>low -1|604801=>high 604800`, "", false, "0 to 59 are refused by the service, not by the model"},
	{"TumblingWindowInSeconds", `0`, `900|0`, `-1=>low 0|901=>high 900`, "", false, "with a ParallelizationFactor of 1"},
	{"FunctionResponseTypes", `[]`, `[]|["ReportBatchItemFailures"]`, `["Other"]=>1 validation error detected: Value '[Other]' at 'functionResponseTypes' failed to satisfy constraint: Member must satisfy constraint: [Member must satisfy enum value set: [ReportBatchItemFailures]]` +
		`|["ReportBatchItemFailures","ReportBatchItemFailures"]=>1 validation error detected: Value '[ReportBatchItemFailures, ReportBatchItemFailures]' at 'functionResponseTypes' failed to satisfy constraint: Member must have length less than or equal to 1`, "", false, ""},
	{"DestinationConfig", `{"OnFailure":{}}`, `{"OnFailure":{"Destination":"` + failuresARN + `"}}|{"OnFailure":{}}`, `{"OnFailure":{"Destination":"here"}}=>1 validation error detected: Value 'here' at 'destinationConfig.onFailure.destination' failed to satisfy constraint: Member must satisfy regular expression pattern`, "", false,
		"OnFailure: a stream of this server, an S3 bucket, or file:// and a directory (ours); SQS when there are queues; SNS and Kafka are refused by name; OnSuccess as on AWS"},
	{"FilterCriteria", `-`, `{"Filters":[{"Pattern":"{\"data\":{\"a\":[{\"prefix\":\"x\"}]}}"}]}`, `{"Filters":[{"Pattern":"` + strings.Repeat("x", 4097) + `"}]}=>1 validation error detected: Value '`, "", false, "10 filters at most, which AWS gives on request"},
	{"MetricsConfig", `-`, `{"Metrics":["EventCount"]}`, `{"Metrics":["Other"]}=>1 validation error detected: Value '[Other]' at 'metricsConfig.metrics' failed to satisfy constraint: Member must satisfy constraint: [Member must satisfy enum value set: [EventCount, ErrorCount, KafkaMetrics]]`, "", false, "they are counted anyway"},
	{"KMSKeyArn", `-`, `"arn:aws:kms:us-east-1:000000000000:key/k"`, `"k"=>1 validation error detected: Value 'k' at 'kMSKeyArn' failed to satisfy constraint: Member must satisfy regular expression pattern`, "", false, "remembered and shown; filters are not encrypted"},
}

func TestParametersOfMappings(t *testing.T) {
	m := newMill(t)
	base := m.create(`"FunctionName":"g"`)
	same := func(got any, want string) bool { return asJSON(t, got) == asJSON(t, decoded(t, want)) }
	for _, p := range mappingParameters {
		if shown, ok := base[p.name]; ok != (p.usual != "-") && p.name != "EventSourceArn" || p.usual != "-" && !same(shown, p.usual) {
			t.Errorf("%s defaults to %v, want %s", p.name, shown, p.usual)
		}
		for v := range strings.SplitSeq(p.taken, "|") {
			r := m.create(fmt.Sprintf(`"%s":%s`, p.name, v))
			if shown, ok := r[p.name]; ok && !same(shown, v) {
				t.Errorf("%s %s is shown as %v", p.name, v, shown)
			}
			m.remove(r.id())
			if !p.immobile && p.name != "FunctionName" {
				if shown, ok := m.update(base.id(), fmt.Sprintf(`"%s":%s`, p.name, v))[p.name]; ok && !same(shown, v) {
					t.Errorf("%s %s is shown as %v after an update", p.name, v, shown)
				}
			}
		}
		for tt := range strings.SplitSeq(p.refused, "|") {
			v, says, _ := strings.Cut(tt, "=>")
			bound := "greater than or equal to "
			lower := strings.ToLower(p.name[:1]) + p.name[1:]
			if n, ok := strings.CutPrefix(says, "high "); ok {
				bound, says = "less than or equal to ", "low "+n
			}
			if n, ok := strings.CutPrefix(says, "low "); ok {
				says = "1 validation error detected: Value '" + v + "' at '" + lower + "' failed to satisfy constraint: Member must have value " + bound + n
			}
			code := p.code
			if code == "" {
				code = "ValidationException"
			}
			answers := map[string]mappingAnswer{"create": m.send("", http.MethodPost, mappingsPath, mappingBody(fmt.Sprintf(`"%s":%s`, p.name, v)))}
			if !p.immobile {
				answers["update"] = m.send("", http.MethodPut, mappingsPath+"/"+base.id(), fmt.Sprintf(`{"%s":%s}`, p.name, v))
			}
			for op, a := range answers {
				if a.status != http.StatusBadRequest || a.code != code || !strings.Contains(a.body, jsonText(says)) || strings.Contains(a.body, `"Type"`) && code == "ValidationException" {
					t.Errorf("%s %s %s = %d %s %.300s, want %s without Type: %s", op, p.name, v, a.status, a.code, a.body, code, says)
				}
			}
		}
	}
	// 0 to 59 lie within the model's range.
	for _, v := range []int{0, 1, 59} {
		a := m.send("", http.MethodPut, mappingsPath+"/"+base.id(), `{"MaximumRecordAgeInSeconds":`+strconv.Itoa(v)+`}`)
		if want := `"MaximumRecordAgeInSeconds must be either -1 (forever) or between 60 and 604800 (inclusive)"`; a.code != "InvalidParameterValueException" || !strings.Contains(a.body, want) {
			t.Errorf("age %d: %s %s", v, a.code, a.body)
		}
	}
}

func TestAnUpdateLeavesWhatItDoesNotName(t *testing.T) {
	m := newMill(t)
	const all = `"BatchSize":7,"MaximumBatchingWindowInSeconds":3,"MaximumRecordAgeInSeconds":60,"MaximumRetryAttempts":2,"ParallelizationFactor":4,"BisectBatchOnFunctionError":true,"FunctionResponseTypes":["ReportBatchItemFailures"],` +
		`"DestinationConfig":{"OnFailure":{"Destination":"` + failuresARN + `"}},"FilterCriteria":{"Filters":[{"Pattern":"{\"data\":{\"a\":[1]}}"}]},"MetricsConfig":{"Metrics":["EventCount"]},"KMSKeyArn":"arn:aws:kms:us-east-1:000000000000:key/k"`
	made := m.create(all)
	was := shownMapping{}
	for k, v := range made {
		was[k] = v
	}
	for _, tt := range []struct {
		rule, members, changed, want string
	}{
		{"nothing", ``, "", ""},
		{"one number", `"BatchSize":8`, "BatchSize", `8`},
		{"for ever again", `"MaximumRetryAttempts":-1`, "MaximumRetryAttempts", `-1`},
		{"no age again", `"MaximumRecordAgeInSeconds":-1`, "MaximumRecordAgeInSeconds", `-1`},
		{"no bisect", `"BisectBatchOnFunctionError":false`, "BisectBatchOnFunctionError", `false`},
		{"no partial replies", `"FunctionResponseTypes":[]`, "FunctionResponseTypes", `[]`},
		{"an empty destination removes it", `"DestinationConfig":{"OnFailure":{"Destination":""}}`, "DestinationConfig", `{"OnFailure":{}}`},
		{"empty criteria remove the filters", `"FilterCriteria":{}`, "FilterCriteria", `null`},
		{"empty metrics remove them", `"MetricsConfig":{}`, "MetricsConfig", `null`},
		{"an empty key removes it", `"KMSKeyArn":""`, "KMSKeyArn", `null`},
		{"the function", `"FunctionName":"g:live"`, "FunctionArn", `"arn:aws:lambda:us-east-1:000000000000:function:g:live"`},
		{"back to one lane for windows", `"ParallelizationFactor":1`, "ParallelizationFactor", `1`},
		{"windows", `"TumblingWindowInSeconds":30`, "TumblingWindowInSeconds", `30`},
	} {
		answered := m.update(made.id(), tt.members)
		got := m.get(made.id())
		if tt.changed != "" {
			if was[tt.changed] = decoded(t, tt.want); was[tt.changed] == nil {
				delete(was, tt.changed)
			}
		}
		was["LastModified"] = got["LastModified"]
		if asJSON(t, got) != asJSON(t, was) {
			t.Errorf("%s:\n got %s\nwant %s", tt.rule, asJSON(t, got), asJSON(t, was))
		}
		if got["State"] = "Updating"; asJSON(t, answered) != asJSON(t, got) {
			t.Errorf("%s: answered %s, and then shows %s", tt.rule, asJSON(t, answered), asJSON(t, got))
		}
	}
	if got := m.get(made.id())["LastModified"].(float64); got < made["LastModified"].(float64) {
		t.Errorf("LastModified went back")
	}
}
