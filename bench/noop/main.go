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

// handle keeps nothing.
func handle(_ context.Context, e events.KinesisEvent) error {
	for i := range e.Records {
		bytes += len(e.Records[i].Kinesis.Data)
	}
	return nil
}

// pass hands each record on.
func pass(_ context.Context, e events.KinesisEvent) (out reply, _ error) {
	out.Emit = make([]record, len(e.Records))
	for i := range e.Records {
		r := &e.Records[i].Kinesis
		out.Emit[i] = record{target, r.PartitionKey, r.Data}
	}
	return out, nil
}

func main() {
	if target != "" {
		lambda.Start(pass)
		return
	}
	lambda.Start(handle)
}
