// Command noop is a handler that looks at every record and keeps nothing.
package main

import (
	"context"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
)

var bytes int

func handle(_ context.Context, e events.KinesisEvent) error {
	for i := range e.Records {
		bytes += len(e.Records[i].Kinesis.Data)
	}
	return nil
}

func main() { lambda.Start(handle) }
