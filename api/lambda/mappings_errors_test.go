package lambda

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// jsonText is s within a JSON text.
func jsonText(s string) string {
	b, _ := json.Marshal(s)
	return string(b[1 : len(b)-1])
}

func decoded(t *testing.T, text string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

const (
	queueARN       = "arn:aws:sqs:us-east-1:000000000000:q"
	tableARN       = "arn:aws:dynamodb:us-east-1:000000000000:table/t/stream/2026-01-01T00:00:00.000"
	ownKafkaSource = `"EventSourceArn":"-","StartingPosition":"-","Topics":["topic"],"SelfManagedEventSource":{"Endpoints":{"KAFKA_BOOTSTRAP_SERVERS":["h:9092"]}}`
)

// mappingRefusals are AWS's errors (esm.md 1.3), and ours of what there is not yet.
var mappingRefusals = []struct {
	rule    string
	members string // of the request to create, in place of usual ones
	code    string // "": InvalidParameterValueException
	message string
	source  string // R recorded on AWS, D documented, F reported, I ours
}{
	{"a stream without a position", `"StartingPosition":"-"`, "", "1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: Member must not be null.", "R"},
	{"a position that is none", `"StartingPosition":"invalid"`, "ValidationException", "1 validation error detected: Value 'invalid' at 'startingPosition' failed to satisfy constraint: Member must satisfy enum value set: [LATEST, AT_TIMESTAMP, TRIM_HORIZON]", "R"},
	{"AT_TIMESTAMP on DynamoDB", `"EventSourceArn":"` + tableARN + `","StartingPosition":"AT_TIMESTAMP"`, "", "Unsupported starting position for arn type: " + tableARN, "R"},
	{"AT_TIMESTAMP without a time", `"StartingPosition":"AT_TIMESTAMP"`, "", "1 validation error detected: Value null at 'startingPositionTimestamp' failed to satisfy constraint: Member must not be null.", "I"},
	{"AT_TIMESTAMP in the future", `"StartingPosition":"AT_TIMESTAMP","StartingPositionTimestamp":4102444800`, "", "StartingPositionTimestamp 2100-01-01T00:00:00Z is in the future.", "I"},
	{"no such stream", `"EventSourceArn":"` + streamARN + `s"`, "", "Stream not found: " + streamARN + "s", "R"},
	{"a stream of another region", `"EventSourceArn":"arn:aws:kinesis:eu-west-1:000000000000:stream/s"`, "", "Stream not found: arn:aws:kinesis:eu-west-1:000000000000:stream/s", "I"},
	{"a stream of another account", `"EventSourceArn":"arn:aws:kinesis:us-east-1:111111111111:stream/s"`, "", "Cannot access stream arn:aws:kinesis:us-east-1:111111111111:stream/s. It belongs to another account, and no policy is evaluated here.", "I"},
	{"no such consumer", `"EventSourceArn":"` + streamARN + `/consumer/fan:1"`, "", "Stream not found: " + streamARN + "/consumer/fan:1", "I"},
	{"no source", `"EventSourceArn":"-"`, "", "Unrecognized event source.", "R"},
	{"a source of no kind", `"EventSourceArn":"arn:aws:s3:us-east-1:000000000000:bucket"`, "", "Unrecognized event source.", "I"},
	{"no such function", `"FunctionName":"nobody"`, "", "Function does not exist", "R"},
	{"no such version", `"FunctionName":"f:8"`, "", "Function does not exist", "I"},
	{"Kafka without a way to log in", ownKafkaSource, "", "Required 'sourceAccessConfigurations' parameter is missing.", "R"},
	{"OnSuccess", `"DestinationConfig":{"OnSuccess":{"Destination":"` + failuresARN + `"}}`, "", "Unsupported DestinationConfig parameter for given event source mapping type.", "R"},
	{"a destination of a queue's mapping", `"EventSourceArn":"` + queueARN + `","StartingPosition":"-","DestinationConfig":{"OnFailure":{"Destination":"` + failuresARN + `"}}`, "", "Unsupported DestinationConfig parameter for given event source mapping type.", "R"},
	{"a position in a queue", `"EventSourceArn":"` + queueARN + `"`, "", "Unsupported 'startingPosition' parameter for given event source mapping type.", "F"},
	{"bisect of a queue's batch", `"EventSourceArn":"` + queueARN + `","StartingPosition":"-","BisectBatchOnFunctionError":true`, "", "Unsupported 'bisectBatchOnFunctionError' parameter for given event source mapping type.", "F"},
	{"scaling of a stream", `"ScalingConfig":{"MaximumConcurrency":2}`, "", "Unsupported 'scalingConfig' parameter for given event source mapping type.", "F"},
	{"topics of a stream", `"Topics":["topic"]`, "", "Unsupported 'topics' parameter for given event source mapping type.", "F"},
	{"queues of a stream", `"Queues":["queue"]`, "", "Unsupported 'queues' parameter for given event source mapping type.", "F"},
	{"Kafka's metrics of a stream", `"MetricsConfig":{"Metrics":["KafkaMetrics"]}`, "", "Unsupported 'metricsConfig' parameter for given event source mapping type.", "I"},
	{"a large batch of a queue that nobody waits for", `"EventSourceArn":"` + queueARN + `","StartingPosition":"-","BatchSize":11`, "", "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10", "R"},
	{"a window on a FIFO queue", `"EventSourceArn":"` + queueARN + `.fifo","StartingPosition":"-","MaximumBatchingWindowInSeconds":1`, "", "Batching window is not supported for FIFO queues", "F"},
	{"an age below a minute", `"MaximumRecordAgeInSeconds":59`, "", "MaximumRecordAgeInSeconds must be either -1 (forever) or between 60 and 604800 (inclusive)", "F"},
	{"tumbling windows on several lanes", `"TumblingWindowInSeconds":60,"ParallelizationFactor":2`, "", "TumblingWindowInSeconds can be set only with a ParallelizationFactor of 1.", "I"},
	{"a number out of range", `"BatchSize":10001`, "ValidationException", "1 validation error detected: Value '10001' at 'batchSize' failed to satisfy constraint: Member must have value less than or equal to 10000", "D"},
	{"several of them", `"BatchSize":0,"ParallelizationFactor":11`, "ValidationException", "2 validation errors detected: Value '0' at 'batchSize' failed to satisfy constraint: Member must have value greater than or equal to 1; Value '11' at 'parallelizationFactor' failed to satisfy constraint: Member must have value less than or equal to 10", "D"},
	{"a pattern that is no JSON", filterOf(`{"data":`), "", "Invalid filter pattern definition.", "R"},
	{"one that is a JSON string", filterOf(`"data"`), "", "Invalid filter pattern definition.", "R"},
	{"one that is null", filterOf(`null`), "", "Invalid filter pattern definition.", "R"},
	{"a leaf outside of an array", filterOf(`{"data":{"a":1}}`), "", "Invalid filter pattern definition.", "R"},
	{"an empty array", filterOf(`{"data":{"a":[]}}`), "", "Invalid filter pattern definition.", "R"},
	{"an empty pattern", filterOf(``), "", "Invalid filter pattern definition.", "I"},
	{"no pattern", `"FilterCriteria":{"Filters":[{}]}`, "", "Invalid filter pattern definition.", "I"},
	{"too many filters", `"FilterCriteria":{"Filters":[` + strings.Repeat(`{"Pattern":"{\"data\":[\"a\"]}"},`, 10) + `{"Pattern":"{\"data\":[\"a\"]}"}]}`, "", "FilterCriteria can have 10 filters at most, not 11.", "I"},
	{"a destination that is not there", `"DestinationConfig":{"OnFailure":{"Destination":"arn:aws:s3:::nowhere"}}`, "", "arn:aws:s3:::nowhere: no such place", "I"},
	{"DynamoDB streams", `"EventSourceArn":"` + tableARN + `"`, "", "wasmill has no event source mappings for DynamoDB streams yet: only for Kinesis streams.", "I"},
	{"queues", `"EventSourceArn":"` + queueARN + `","StartingPosition":"-"`, "", "wasmill has no event source mappings for SQS queues yet: only for Kinesis streams.", "I"},
	{"Kafka", ownKafkaSource + `,"SourceAccessConfigurations":[{"Type":"BASIC_AUTH","URI":"arn"}]`, "", "wasmill has no event source mappings for Apache Kafka yet: only for Kinesis streams.", "I"},
	{"MSK", `"EventSourceArn":"arn:aws:kafka:us-east-1:000000000000:cluster/c/u","Topics":["topic"]`, "", "wasmill has no event source mappings for Amazon MSK yet: only for Kinesis streams.", "I"},
	{"MQ", `"EventSourceArn":"arn:aws:mq:us-east-1:000000000000:broker:b:1","StartingPosition":"-","Queues":["q"]`, "", "wasmill has no event source mappings for Amazon MQ yet: only for Kinesis streams.", "I"},
	{"DocumentDB", `"EventSourceArn":"arn:aws:rds:us-east-1:000000000000:cluster:c"`, "", "wasmill has no event source mappings for DocumentDB yet: only for Kinesis streams.", "I"},

	// The order of checks: what is wrong twice tells of the first.
	{"OnSuccess comes before the source", `"EventSourceArn":"-","DestinationConfig":{"OnSuccess":{"Destination":"` + failuresARN + `"}}`, "", "Unsupported DestinationConfig parameter for given event source mapping type.", "R"},
	{"the source before the position", `"EventSourceArn":"-","StartingPosition":"-"`, "", "Unrecognized event source.", "R"},
	{"the position before filters", `"StartingPosition":"-",` + filterOf(`null`), "", "1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: Member must not be null.", "R"},
	{"batch and window before filters", `"EventSourceArn":"` + queueARN + `","StartingPosition":"-","BatchSize":11,` + filterOf(`null`), "", "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10", "R"},
	{"filters before the function", `"FunctionName":"nobody",` + filterOf(`null`), "", "Invalid filter pattern definition.", "R"},
	{"the function before the stream", `"FunctionName":"nobody","EventSourceArn":"` + streamARN + `s"`, "", "Function does not exist", "R"},
	{"the stream before duplicates", `"EventSourceArn":"` + streamARN + `s","FunctionName":"g"`, "", "Stream not found: " + streamARN + "s", "R"},
	{"the table before all else", `"BatchSize":0,"DestinationConfig":{"OnSuccess":{"Destination":"` + failuresARN + `"}}`, "ValidationException", "1 validation error detected: Value '0' at 'batchSize' failed to satisfy constraint: Member must have value greater than or equal to 1", "D"},
}

// filterOf is the member with one pattern.
func filterOf(pattern string) string {
	return `"FilterCriteria":{"Filters":[{"Pattern":"` + jsonText(pattern) + `"}]}`
}

func TestMappingsAreRefusedInAWSWords(t *testing.T) {
	m := newMill(t)
	m.create(`"FunctionName":"g"`)
	for _, tt := range mappingRefusals {
		a := m.send("", http.MethodPost, mappingsPath, mappingBody(tt.members))
		code, want := tt.code, `{"Type":"User","message":"`+jsonText(tt.message)+`"}`
		if code == "" {
			code = "InvalidParameterValueException"
		} else {
			want = `{"message":"` + jsonText(tt.message) + `"}`
		}
		if a.status != http.StatusBadRequest || a.code != code || asJSON(t, decoded(t, a.body)) != asJSON(t, decoded(t, want)) {
			t.Errorf("%s: %d %s %s, want %s %s", tt.rule, a.status, a.code, a.body, code, want)
		}
	}
	if r := m.list(""); len(r) != 1 {
		t.Errorf("%d mappings after refusals only, want the one before them", len(r))
	}
}

func TestUpdatesAreRefusedInAWSWords(t *testing.T) {
	m := newMill(t)
	id := m.create(`"ParallelizationFactor":2`).id()
	before := asJSON(t, m.get(id))
	for _, tt := range []struct{ rule, members, message string }{
		{"OnSuccess", `"DestinationConfig":{"OnSuccess":{"Destination":"` + failuresARN + `"}}`, "Unsupported DestinationConfig parameter for given event source mapping type."},
		{"scaling", `"ScalingConfig":{"MaximumConcurrency":2}`, "Unsupported 'scalingConfig' parameter for given event source mapping type."},
		{"a pattern", filterOf(`null`), "Invalid filter pattern definition."},
		{"a pattern before the function", filterOf(`null`) + `,"FunctionName":"nobody"`, "Invalid filter pattern definition."},
		{"the function", `"FunctionName":"nobody"`, "Function does not exist"},
		{"an age", `"MaximumRecordAgeInSeconds":1`, "MaximumRecordAgeInSeconds must be either -1 (forever) or between 60 and 604800 (inclusive)"},
		{"windows on the lanes there are", `"TumblingWindowInSeconds":60`, "TumblingWindowInSeconds can be set only with a ParallelizationFactor of 1."},
		{"a destination", `"DestinationConfig":{"OnFailure":{"Destination":"arn:aws:s3:::nowhere"}}`, "arn:aws:s3:::nowhere: no such place"},
	} {
		a := m.send("", http.MethodPut, mappingsPath+"/"+id, `{"BatchSize":5,`+tt.members+`}`)
		if want := `{"Type":"User","message":"` + jsonText(tt.message) + `"}`; a.status != http.StatusBadRequest || a.code != codeInvalid || asJSON(t, decoded(t, a.body)) != asJSON(t, decoded(t, want)) {
			t.Errorf("%s: %d %s %s, want %s", tt.rule, a.status, a.code, a.body, want)
		}
	}
	if after := asJSON(t, m.get(id)); after != before {
		t.Errorf("refused updates made of %s\n%s", before, after)
	}
}

func TestOnePairOfSourceAndFunctionHasOneMapping(t *testing.T) {
	m := newMill(t)
	first := m.create(``)
	fan := m.create(`"EventSourceArn":"` + streamARN + `/consumer/fan:1700000000"`) // another source
	for _, other := range []string{`"FunctionName":"g"`, `"EventSourceArn":"arn:aws:kinesis:us-east-1:000000000000:stream/t"`, `"FunctionName":"f:7"`, `"FunctionName":"f:$LATEST"`} {
		m.create(other)
	}
	taken := func(source, function, id string) string {
		return `{"Type":"User","message":"` + jsonText(`The event source arn (" `+source+` ") and function (" `+function+` ") provided mapping already exists. Please update or delete the existing mapping with UUID `+id) + `"}`
	}
	for _, tt := range []struct{ rule, method, path, body, want string }{
		{"the same again", http.MethodPost, mappingsPath, mappingBody(``), taken(streamARN, "f", first.id())},
		{"the same by its ARN", http.MethodPost, mappingsPath, mappingBody(`"FunctionName":"` + functionF + `","StartingPosition":"LATEST"`), taken(streamARN, "f", first.id())},
		{"the same consumer", http.MethodPost, mappingsPath, mappingBody(`"EventSourceArn":"` + streamARN + `/consumer/fan:1700000000"`), taken(streamARN+"/consumer/fan:1700000000", "f", fan.id())},
		{"an update that makes it the same", http.MethodPut, mappingsPath + "/" + m.create(`"FunctionName":"slow"`).id(), `{"FunctionName":"f"}`, taken(streamARN, "f", first.id())},
	} {
		if a := m.send("", tt.method, tt.path, tt.body); a.status != http.StatusConflict || a.code != "ResourceConflictException" || asJSON(t, decoded(t, a.body)) != asJSON(t, decoded(t, tt.want)) {
			t.Errorf("%s: %d %s %s, want %s", tt.rule, a.status, a.code, a.body, tt.want)
		}
	}
}

func TestAMappingThatIsNotThere(t *testing.T) {
	m := newMill(t)
	id := m.create(``).id()
	const nobody = "11111111-2222-3333-4444-555555555555"
	for _, tt := range []struct{ rule, from, method, path, body string }{
		{"get", "", http.MethodGet, "/" + nobody, ""},
		{"update", "", http.MethodPut, "/" + nobody, `{"BatchSize":1}`},
		{"delete", "", http.MethodDelete, "/" + nobody, ""},
		{"no UUID at all", "", http.MethodGet, "/nonsense", ""},
		{"one of another account", "111111111111", http.MethodGet, "/" + id, ""},
		{"one of another region", "AKIDEXAMPLE eu-west-1", http.MethodDelete, "/" + id, ""},
	} {
		a := m.send(tt.from, tt.method, mappingsPath+tt.path, tt.body)
		if a.status != http.StatusNotFound || a.code != "ResourceNotFoundException" || asJSON(t, decoded(t, a.body)) != `{"Message":"The resource you requested does not exist.","Type":"User"}` {
			t.Errorf("%s: %d %s %s", tt.rule, a.status, a.code, a.body)
		}
	}
}
