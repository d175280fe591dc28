// Package emit has what a Go handler returns to give records out to streams of
// the same server, which keeps them with the batch: they become visible exactly
// once, when the batch counts as done, or never.
//
//	func handle(ctx context.Context, e events.KinesisEvent) (emit.Reply, error) {
//		var reply emit.Reply
//		for _, r := range e.Records {
//			alert, err := judge(r.Kinesis.Data)
//			if err != nil {
//				reply.Fail(r.Kinesis.SequenceNumber) // wants --partial-replies of the trigger
//			} else if alert != nil {
//				reply.Add(emit.Record{Stream: "alerts", PartitionKey: alert.Region, Data: alert.JSON, ItemIdentifier: r.Kinesis.SequenceNumber})
//			}
//		}
//		return reply, nil
//	}
//
// The function is told which streams it may emit to:
//
//	wasmill fn create alarm ./alarm --emit alerts
//
// Nobody needs this package: any struct with these fields and tags does, and so
// does the JSON they make, in any language. Fields without the tags fail the
// batch. On AWS the records are ignored.
package emit

// Reply is what the handler returns. The zero value emits nothing and reports no
// failure.
type Reply struct {
	// BatchItemFailures are the records that failed, as Lambda takes them from a
	// function whose trigger lets them count.
	BatchItemFailures []Failure `json:"batchItemFailures"`
	// Emit are the records to give out, 10,000 at most. Records of one stream and
	// one partition key stay in this order. Whatever is wrong with one of them
	// fails the whole batch.
	Emit []Record `json:"emit"`
}

// Failure names a record of the batch that failed.
type Failure struct {
	ItemIdentifier string `json:"itemIdentifier"` // its sequence number
}

// Record is one record to give out.
type Record struct {
	// Stream is the name of a stream that the function may emit to.
	Stream string `json:"stream"`
	// PartitionKey has 1 to 256 characters.
	PartitionKey string `json:"partitionKey"`
	// Data is of any kind; with the key as long as the stream's records may be,
	// 1 MiB unless it is configured otherwise.
	Data []byte `json:"data"`
	// ItemIdentifier is the sequence number of the record of the batch that this
	// one comes from. It may be left out of a reply without failures only: of
	// one with failures, what comes from the lowest failed record or a later one
	// is not taken, for those records run again.
	ItemIdentifier string `json:"itemIdentifier,omitempty"`
}

// Add gives records out.
func (r *Reply) Add(records ...Record) { r.Emit = append(r.Emit, records...) }

// Fail reports the record of that sequence number as failed.
func (r *Reply) Fail(sequenceNumber string) {
	r.BatchItemFailures = append(r.BatchItemFailures, Failure{sequenceNumber})
}
