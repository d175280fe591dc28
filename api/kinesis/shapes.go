package kinesis

import "github.com/wasmill/wasmill/api/wire"

// Shapes that several operations share, as botocore's model 2013-12-02 has them. The
// members of an operation stand in the order in which AWS was seen to complain of
// them, those it got later behind.
var (
	streamNameShape  = wire.String(1, 128, `[a-zA-Z0-9_.-]+`)
	streamARNShape   = wire.String(1, 2048, `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`)
	streamIDShape    = wire.String(1, 24, `[a-z0-9]{20}-[a-z0-9]{3}`)
	resourceARNShape = wire.String(1, 2048, `arn:aws.*:kinesis:.*:\d{12}:.*stream/\S+`)
	consumerARNShape = wire.String(1, 2048, `^(arn):aws.*:kinesis:.*:\d{12}:.*stream\/[a-zA-Z0-9_.-]+\/consumer\/[a-zA-Z0-9_.-]+:[0-9]+`)
	nameShape        = wire.String(1, 128, `[a-zA-Z0-9_.-]+`) // of shards and consumers
	hashKeyShape     = wire.String(0, 0, `0|([1-9]\d{0,38})`)
	sequenceShape    = wire.String(0, 0, `0|([1-9]\d{0,128})`)
	nextTokenShape   = wire.String(1, 1<<20, "")
	pageShape        = wire.Integer(1, 10_000)
	tagKeyShape      = wire.String(1, 128, "")
	tagsShape        = wire.Map(tagKeyShape, wire.String(0, 256, ""), 1, 200)
	tagKeysShape     = wire.List(tagKeyShape, 1, 50)
	modeShape        = wire.Structure(must("StreamMode", wire.Enum("PROVISIONED", "ON_DEMAND")))
	encryptionShape  = wire.Enum("NONE", "KMS")
	metricsShape     = wire.List(wire.Enum("IncomingBytes", "IncomingRecords", "OutgoingBytes", "OutgoingRecords",
		"WriteProvisionedThroughputExceeded", "ReadProvisionedThroughputExceeded", "IteratorAgeMilliseconds", "ALL"), 1, 7)
)

// The members by which an operation is told its stream.
var (
	byName = may("StreamName", streamNameShape)
	byARN  = may("StreamARN", streamARNShape)
	byID   = may("StreamId", streamIDShape)
)

func must(name string, s *wire.Shape) wire.Member {
	return wire.Member{Name: name, Shape: s, Required: true}
}

func may(name string, s *wire.Shape) wire.Member { return wire.Member{Name: name, Shape: s} }
