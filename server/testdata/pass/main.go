// Command pass is a handler that hands each record on to the stream TARGET. It
// cannot digest records with the word POISON in them; with PARTIAL it says which,
// and emits what comes behind all the same.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
)

type reply struct {
	Failures []events.KinesisBatchItemFailure `json:"batchItemFailures"`
	Emit     []record                         `json:"emit"`
}

type record struct {
	Stream         string `json:"stream"`
	PartitionKey   string `json:"partitionKey"`
	Data           []byte `json:"data"`
	ItemIdentifier string `json:"itemIdentifier"`
}

func handle(_ context.Context, e events.KinesisEvent) (out reply, err error) {
	target, partial := os.Getenv("TARGET"), os.Getenv("PARTIAL") != ""
	poison := []byte(os.Getenv("POISON"))
	for _, r := range e.Records {
		if len(poison) > 0 && bytes.Contains(r.Kinesis.Data, poison) {
			if !partial {
				return reply{}, fmt.Errorf("cannot digest %s", r.Kinesis.SequenceNumber)
			}
			out.Failures = append(out.Failures, events.KinesisBatchItemFailure{ItemIdentifier: r.Kinesis.SequenceNumber})
		}
		out.Emit = append(out.Emit, record{target, r.Kinesis.PartitionKey, r.Kinesis.Data, r.Kinesis.SequenceNumber})
	}
	return out, nil
}

func main() { lambda.Start(handle) }
