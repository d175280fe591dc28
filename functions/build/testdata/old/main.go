// Old is a Lambda function from years ago: before handlertrace, partial replies and generics.
package main

import (
	"context"
	"strconv"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
)

func handle(_ context.Context, e events.KinesisEvent) (string, error) {
	return strconv.Itoa(len(e.Records)), nil
}

func main() { lambda.Start(handle) }
