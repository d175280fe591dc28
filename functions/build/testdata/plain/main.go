// Plain is a Lambda function without package events.
package main

import (
	"context"

	"github.com/aws/aws-lambda-go/lambda"
)

// A name that another file's import must not collide with.
var wasmill = "hello"

func handle(_ context.Context, name string) (string, error) { return wasmill + " " + name, nil }

func main() { lambda.Start(handle) }
