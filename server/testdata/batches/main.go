// Command batches is a handler that prints the numbers of each batch's records, and fails at
// those that POISON lists. With PARTIAL it names them in its reply.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
)

type reply struct {
	Failures []events.KinesisBatchItemFailure `json:"batchItemFailures"`
}

func handle(_ context.Context, e events.KinesisEvent) (out reply, err error) {
	line, poison := "batch", strings.Split(os.Getenv("POISON"), ",")
	for _, r := range e.Records {
		var data struct {
			N json.Number `json:"n"`
		}
		if err := json.Unmarshal(r.Kinesis.Data, &data); err != nil {
			return out, err
		}
		line += " " + data.N.String()
		if slices.Contains(poison, data.N.String()) {
			err = fmt.Errorf("cannot digest %s", data.N)
			out.Failures = append(out.Failures, events.KinesisBatchItemFailure{ItemIdentifier: r.Kinesis.SequenceNumber})
		}
	}
	fmt.Println(line)
	if os.Getenv("PARTIAL") != "" {
		return out, nil
	}
	return out, err
}

func main() { lambda.Start(handle) }
