// Command noop is a handler that looks at every record and keeps nothing, or with
// the variable EMIT hands each on to the stream of that name.
package main

import (
	"context"
	"os"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
)

var (
	bytes  int
	target = os.Getenv("EMIT")
)

type reply struct {
	Emit []record `json:"emit"`
}

type record struct {
	Stream       string `json:"stream"`
	PartitionKey string `json:"partitionKey"`
	Data         []byte `json:"data"`
}

func handle(_ context.Context, e events.KinesisEvent) (out reply, _ error) {
	if target != "" {
		out.Emit = make([]record, len(e.Records))
	}
	for i := range e.Records {
		r := &e.Records[i].Kinesis
		bytes += len(r.Data)
		if target != "" {
			out.Emit[i] = record{target, r.PartitionKey, r.Data}
		}
	}
	return out, nil
}

func main() { lambda.Start(handle) }
