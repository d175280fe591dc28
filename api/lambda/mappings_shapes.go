package lambda

import "github.com/wasmill/wasmill/api/wire"

// What botocore 1.43.11 has of event source mappings. file:// is ours.
const (
	noticePattern = `$|kafka://([^.]([a-zA-Z0-9\-_.]{0,248}))|arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\-])+:([a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1})?:(\d{12})?:(.*)|file://.*`
	uriPattern    = `[a-zA-Z0-9-\/*:_+=.@-]*`
)

var (
	noticeShape = wire.Structure(may("Destination", wire.String(0, 350, noticePattern)))
	kafkaShape  = wire.Structure(
		may("ConsumerGroupId", wire.String(1, 200, uriPattern)),
		may("SchemaRegistryConfig", wire.Structure(
			may("SchemaRegistryURI", wire.String(1, 10_000, uriPattern)),
			may("EventRecordFormat", wire.Enum("JSON", "SOURCE")),
			may("AccessConfigs", wire.List(wire.Structure(
				may("Type", wire.Enum("BASIC_AUTH", "CLIENT_CERTIFICATE_TLS_AUTH", "SERVER_ROOT_CA_CERTIFICATE")),
				may("URI", anyARN),
			), 0, 0)),
			may("SchemaValidationConfigs", wire.List(wire.Structure(may("Attribute", wire.Enum("KEY", "VALUE"))), 0, 0)),
		)),
	)
	endpointPattern = `(([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9\-]*[a-zA-Z0-9])\.)*([A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9\-]*[A-Za-z0-9]):[0-9]{1,5}`
	bySource        = may("EventSourceArn", anyARN)
	byUUID          = path("UUID", text)
)

// changeable are the members of mappings that an update takes too.
var changeable = []wire.Member{
	may("Enabled", wire.Boolean()),
	may("BatchSize", wire.Integer(1, 10_000)),
	may("FilterCriteria", wire.Structure(may("Filters", wire.List(wire.Structure(may("Pattern", wire.String(0, 4096, `.*`))), 0, 0)))),
	may("MaximumBatchingWindowInSeconds", wire.Integer(0, 300)),
	may("ParallelizationFactor", wire.Integer(1, 10)),
	may("DestinationConfig", wire.Structure(may("OnSuccess", noticeShape), may("OnFailure", noticeShape))),
	may("MaximumRecordAgeInSeconds", wire.Integer(-1, 604_800)),
	may("BisectBatchOnFunctionError", wire.Boolean()),
	may("MaximumRetryAttempts", wire.Integer(-1, 10_000)),
	may("TumblingWindowInSeconds", wire.Integer(0, 900)),
	may("SourceAccessConfigurations", wire.List(wire.Structure(
		may("Type", wire.Enum("BASIC_AUTH", "VPC_SUBNET", "VPC_SECURITY_GROUP", "SASL_SCRAM_512_AUTH", "SASL_SCRAM_256_AUTH", "VIRTUAL_HOST", "CLIENT_CERTIFICATE_TLS_AUTH", "SERVER_ROOT_CA_CERTIFICATE")),
		may("URI", wire.String(1, 200, uriPattern)),
	), 0, 22)),
	may("FunctionResponseTypes", wire.List(wire.Enum("ReportBatchItemFailures"), 0, 1)),
	may("AmazonManagedKafkaEventSourceConfig", kafkaShape),
	may("SelfManagedKafkaEventSourceConfig", kafkaShape),
	may("ScalingConfig", wire.Structure(may("MaximumConcurrency", wire.Integer(2, 1000)))),
	may("DocumentDBEventSourceConfig", wire.Structure(
		may("DatabaseName", wire.String(1, 63, `[^ /\.$\x22]*`)),
		may("CollectionName", wire.String(1, 57, `(^(?!(system\x2e)))(^[_a-zA-Z0-9])([^$]*)`).Matching(`[_a-zA-Z0-9][^$]*`)),
		may("FullDocument", wire.Enum("UpdateLookup", "Default")),
	)),
	may("KMSKeyArn", kmsShape),
	may("MetricsConfig", wire.Structure(may("Metrics", wire.List(wire.Enum("EventCount", "ErrorCount", "KafkaMetrics"), 0, 3)))),
	may("LoggingConfig", wire.Structure(may("SystemLogLevel", wire.Enum("DEBUG", "INFO", "WARN")))),
	may("ProvisionedPollerConfig", wire.Structure(
		may("MinimumPollers", wire.Integer(1, 200)),
		may("MaximumPollers", wire.Integer(1, 2000)),
		may("PollerGroupName", wire.String(0, 128, `[a-zA-Z0-9-_]*`)),
	)),
}

var createMappingInput = wire.Structure(append([]wire.Member{
	must("FunctionName", wire.String(1, 256, namespacePattern)),
	bySource,
	// In this order AWS lists them: recorded.
	may("StartingPosition", wire.Enum("LATEST", "AT_TIMESTAMP", "TRIM_HORIZON")),
	may("StartingPositionTimestamp", wire.Timestamp()),
	may("Tags", tagsShape),
	may("Topics", wire.List(wire.String(1, 249, `[^.]([a-zA-Z0-9\-_.]+)`), 1, 1)),
	may("Queues", wire.List(wire.String(1, 1000, `[\s\S]*`), 1, 1)),
	may("SelfManagedEventSource", wire.Structure(
		may("Endpoints", wire.Map(wire.Enum("KAFKA_BOOTSTRAP_SERVERS"), wire.List(wire.String(1, 300, endpointPattern), 1, 10), 1, 2)),
	)),
}, changeable...)...)

var updateMappingInput = wire.Structure(append([]wire.Member{
	byUUID,
	may("FunctionName", wire.String(1, 256, namespacePattern)),
}, changeable...)...)

var mappingInput = wire.Structure(byUUID)

var listMappingsInput = wire.Structure(
	query("EventSourceArn", anyARN),
	query("FunctionName", wire.String(1, 256, namespacePattern)),
	marker,
	query("MaxItems", wire.Integer(1, 10_000)),
)
