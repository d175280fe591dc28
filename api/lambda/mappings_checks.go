package lambda

import (
	"strings"
	"time"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/filter"
)

// source is a kind of event source. Only Kinesis is served; of the others a request is
// checked as far as that goes without them.
type source uint16

const (
	kinesis source = 1 << iota
	dynamoDB
	queue     // SQS, standard
	fifo      // SQS, first in first out
	kafka     // managed by AWS
	ownKafka  // not managed by AWS
	broker    // MQ
	documents // DocumentDB

	streams = kinesis | dynamoDB
	queues  = queue | fifo
	kafkas  = kafka | ownKafka
)

// named is what a source is called to those who are refused it.
var named = map[source]string{
	dynamoDB: "DynamoDB streams", queue: "SQS queues", fifo: "SQS queues", kafka: "Amazon MSK", ownKafka: "Apache Kafka", broker: "Amazon MQ", documents: "DocumentDB",
}

// fitting says which sources take a parameter that others refuse.
var fitting = []struct {
	parameter string
	sources   source
}{
	{"StartingPosition", streams | kafkas | documents},
	{"StartingPositionTimestamp", streams | kafkas | documents},
	{"ParallelizationFactor", streams},
	{"BisectBatchOnFunctionError", streams | kafkas},
	{"MaximumRetryAttempts", streams | kafkas},
	{"MaximumRecordAgeInSeconds", streams | kafkas},
	{"TumblingWindowInSeconds", streams},
	{"FunctionResponseTypes", streams | queues | kafkas},
	{"SourceAccessConfigurations", kafkas | broker | documents},
	{"SelfManagedEventSource", ownKafka},
	{"Topics", kafkas},
	{"Queues", broker},
	{"AmazonManagedKafkaEventSourceConfig", kafka},
	{"SelfManagedKafkaEventSourceConfig", ownKafka},
	{"ScalingConfig", queues},
	{"DocumentDBEventSourceConfig", documents},
	{"LoggingConfig", kafkas},
	{"ProvisionedPollerConfig", queue | kafkas},
}

// unfitting is recorded for DestinationConfig, which AWS alone does not quote; for others it
// was reported (pulumi-aws 1418).
func unfitting(parameter string) *wire.Error {
	if parameter != "DestinationConfig" {
		parameter = "'" + strings.ToLower(parameter[:1]) + parameter[1:] + "'"
	}
	return invalid("Unsupported %s parameter for given event source mapping type.", parameter)
}

// given says whether a request sets a member: an empty list or structure sets nothing.
func given(in wire.Values, name string) bool {
	switch v := in[name].(type) {
	case []any:
		return len(v) > 0
	case wire.Values:
		return len(v) > 0
	}
	return in.Has(name)
}

// recognize is the kind of source that a request to create names.
func recognize(in wire.Values) (source, error) {
	arn := in.String("EventSourceArn")
	if arn == "" {
		if !given(in, "SelfManagedEventSource") {
			return 0, invalid("Unrecognized event source.")
		}
		if !given(in, "SourceAccessConfigurations") {
			return 0, invalid("Required 'sourceAccessConfigurations' parameter is missing.")
		}
		return ownKafka, nil
	}
	parts := strings.SplitN(arn, ":", 6) // the table's pattern has six parts
	switch service, resource := parts[2], parts[5]; {
	case service == "kinesis" && strings.HasPrefix(resource, "stream/"):
		return kinesis, nil
	case service == "dynamodb" && strings.HasPrefix(resource, "table/") && strings.Contains(resource, "/stream/"):
		return dynamoDB, nil
	case service == "sqs" && strings.HasSuffix(resource, ".fifo"):
		return fifo, nil
	case service == "sqs":
		return queue, nil
	case service == "kafka":
		return kafka, nil
	case service == "mq":
		return broker, nil
	case service == "rds":
		return documents, nil
	}
	return 0, invalid("Unrecognized event source.")
}

// noSuccess refuses what AWS refuses before all else.
func noSuccess(in wire.Values) error {
	if in.Map("DestinationConfig").Has("OnSuccess") {
		return unfitting("DestinationConfig")
	}
	return nil
}

// checkFitting refuses parameters that are for other sources.
func checkFitting(kind source, in wire.Values) error {
	if kind&(streams|kafkas) == 0 && given(in, "DestinationConfig") {
		return unfitting("DestinationConfig")
	}
	for _, f := range fitting {
		if kind&f.sources == 0 && given(in, f.parameter) {
			return unfitting(f.parameter)
		}
	}
	if kind&kafkas == 0 {
		for _, name := range in.Map("MetricsConfig").Strings("Metrics") {
			if name != "EventCount" {
				return unfitting("MetricsConfig")
			}
		}
	}
	return nil
}

// position is where a new mapping starts.
func position(kind source, in wire.Values) (p stream.Position, err error) {
	p.Kind = stream.PositionKind(in.String("StartingPosition"))
	switch {
	case kind&streams != 0 && p.Kind == "":
		return p, invalid("1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: Member must not be null.")
	case kind == dynamoDB && p.Kind == stream.AtTimestamp:
		return p, invalid("Unsupported starting position for arn type: %s", in.String("EventSourceArn"))
	case p.Kind != stream.AtTimestamp:
		return p, nil // a time beside it says nothing
	}
	p.Time = in.Time("StartingPositionTimestamp").UTC()
	switch {
	case !in.Has("StartingPositionTimestamp"):
		return p, invalid("1 validation error detected: Value null at 'startingPositionTimestamp' failed to satisfy constraint: Member must not be null.")
	case p.Time.After(time.Now()):
		return p, invalid("StartingPositionTimestamp %s is in the future.", p.Time.Format(time.RFC3339))
	}
	return p, nil
}

// checkBatch is about batches and how long they are waited for, kept and tried.
func checkBatch(kind source, in wire.Values) error {
	window := in.Int("MaximumBatchingWindowInSeconds")
	switch age := in.Int("MaximumRecordAgeInSeconds"); {
	case kind == fifo && window > 0:
		return invalid("Batching window is not supported for FIFO queues")
	case kind == queue && in.Int("BatchSize") > 10 && window == 0:
		return invalid("Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10")
	case in.Has("MaximumRecordAgeInSeconds") && age >= 0 && age < 60: // terraform-provider-aws 16113
		return invalid("MaximumRecordAgeInSeconds must be either -1 (forever) or between 60 and 604800 (inclusive)")
	}
	return nil
}

// checkWindows is about a mapping with all its settings.
func checkWindows(c triggers.Config) error {
	if c.Tumbling > 0 && c.Parallel > 1 {
		return invalid("TumblingWindowInSeconds can be set only with a ParallelizationFactor of 1.")
	}
	return nil
}

// patterns are those of a request. They are not looked at yet.
func patterns(in wire.Values) (list []string) {
	for _, f := range in.Map("FilterCriteria").List("Filters") {
		list = append(list, f.(wire.Values).String("Pattern"))
	}
	return list
}

// checkFilters gives no reason for what is wrong with a pattern: AWS does not.
func checkFilters(list []string, strict bool) error {
	if len(list) > triggers.MaxFilters {
		return invalid("FilterCriteria can have %d filters at most, not %d.", triggers.MaxFilters, len(list))
	}
	if _, err := filter.Compile(list, filter.Options{Kind: runtime.KindKinesis, Strict: strict}); err != nil {
		e := invalid("Invalid filter pattern definition.")
		e.Cause = err
		return e
	}
	return nil
}

// destination is what a request sets of where notices go; set: it says something of it.
// Empty takes it away.
func destination(in wire.Values) (to string, set bool) {
	return in.Map("DestinationConfig").Map("OnFailure").String("Destination"), in.Has("DestinationConfig")
}

// set writes into c what a request says, and leaves what it does not.
func set(c *triggers.Config, in wire.Values) {
	duration := func(name string, to *time.Duration) {
		if in.Has(name) {
			*to = time.Duration(in.Int(name)) * time.Second
		}
	}
	if in.Has("BatchSize") {
		c.BatchSize = int(in.Int("BatchSize"))
	}
	duration("MaximumBatchingWindowInSeconds", &c.Window)
	duration("TumblingWindowInSeconds", &c.Tumbling)
	duration("MaximumRecordAgeInSeconds", &c.RecordAge)
	c.RecordAge = max(c.RecordAge, 0) // -1: no limit
	if in.Has("ParallelizationFactor") {
		c.Parallel = int(in.Int("ParallelizationFactor"))
	}
	if in.Has("MaximumRetryAttempts") {
		n := int(in.Int("MaximumRetryAttempts"))
		c.Retries = &n
	}
	if in.Has("BisectBatchOnFunctionError") {
		c.Bisect = in.Bool("BisectBatchOnFunctionError")
	}
	if in.Has("FunctionResponseTypes") {
		c.PartialReplies = len(in.List("FunctionResponseTypes")) > 0
	}
	if in.Has("FilterCriteria") {
		c.Filters = patterns(in)
	}
	if to, set := destination(in); set {
		c.OnFailure = to
	}
	if in.Has("MetricsConfig") {
		c.Metrics = in.Map("MetricsConfig").Strings("Metrics")
	}
	if in.Has("KMSKeyArn") {
		c.KMSKey = in.String("KMSKeyArn")
	}
}
