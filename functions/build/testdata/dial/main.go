// Dial is a Lambda function that wants to reach out.
package main

import (
	"context"
	"net/http"

	"example.com/dial/store"
	"github.com/aws/aws-lambda-go/lambda"
)

func main() {
	lambda.Start(func(ctx context.Context) error {
		r, err := http.Get("http://example.com")
		if err != nil {
			return err
		}
		return store.Keep(r.Body)
	})
}
