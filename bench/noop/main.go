// Command noop is a handler that looks at every record and keeps nothing. The
// variable MODE has it do more, and EMIT hand each record on to the stream of that
// name.
package main

import (
	"context"
	"encoding/json"
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

// decode reads each record as JSON.
func decode(_ context.Context, e events.KinesisEvent) error {
	for i := range e.Records {
		var v map[string]any
		if err := json.Unmarshal(e.Records[i].Kinesis.Data, &v); err != nil {
			return err
		}
		bytes += len(v)
	}
	return nil
}

// compute goes round a short loop.
func compute(_ context.Context, e events.KinesisEvent) error {
	h := uint64(14695981039346656037)
	for i := range uint64(700_000) {
		h = (h ^ i) * 1099511628211
	}
	bytes += int(h & 1)
	return nil
}

func main() {
	switch mode := os.Getenv("MODE"); {
	case target != "":
		lambda.Start(pass)
	case mode == "decode":
		lambda.Start(decode)
	case mode == "compute":
		lambda.Start(compute)
	default:
		lambda.Start(handle)
	}
}
