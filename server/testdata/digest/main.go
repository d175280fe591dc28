// Command digest is a handler that cannot digest poison.
package main

import (
	"bytes"
	"context"
	"fmt"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
)

func handle(_ context.Context, e events.KinesisEvent) error {
	for _, r := range e.Records {
		if bytes.HasPrefix(r.Kinesis.Data, []byte("poison")) {
			return fmt.Errorf("cannot digest %s", r.Kinesis.SequenceNumber)
		}
	}
	return nil
}

func main() { lambda.Start(handle) }
