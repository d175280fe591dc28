package kinesis

import (
	"context"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/stream/natsstream"
)

// dataStreams is what the data plane needs of the store.
type dataStreams interface {
	Put(ctx context.Context, ref stream.Ref, entries []stream.Entry) ([]stream.PutResult, error)
	Read(ctx context.Context, ref stream.Ref, shard string, pos stream.Position, limit int) (natsstream.Page, error)
	Wait(ctx context.Context, ref stream.Ref, shard string) (<-chan struct{}, func(), error)
	Peek(ref stream.Ref) (*stream.Description, error)
}

func (s *service) dataOps() []*wire.Operation {
	return []*wire.Operation{
		{Name: "PutRecord", Input: putRecordInput, Decode: decodePutRecord, Do: s.putRecord},
		{Name: "PutRecords", Input: putRecordsInput, Decode: decodePutRecords, Do: s.putRecords},
		{Name: "GetShardIterator", Input: getShardIteratorInput, Do: s.getShardIterator},
		{Name: "GetRecords", Input: getRecordsInput, Decode: decodeGetRecords, Do: s.getRecords},
		{Name: "SubscribeToShard", Input: subscribeToShardInput, Stream: s.subscribeToShard},
	}
}

// encryption is the EncryptionType that answers about a stream's records show: as on
// AWS none unless the records are encrypted.
func encryption(d *stream.Description) string {
	if d.Attributes.KeyID == "" {
		return ""
	}
	return "KMS"
}
