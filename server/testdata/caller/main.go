// Command caller is a handler that asks the server's own endpoint for a path, and
// answers with the status and what the body begins with.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/aws/aws-lambda-go/lambda"
)

func handle(call struct {
	Method, Path, Body string
	Head               map[string]string
}) (string, error) {
	req, err := http.NewRequest(call.Method, os.Getenv("AWS_ENDPOINT_URL")+call.Path, strings.NewReader(call.Body))
	if err != nil {
		return "", err
	}
	for name, value := range call.Head {
		req.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 200))
	return fmt.Sprint(res.StatusCode, " ", string(b)), err
}

func main() { lambda.Start(handle) }
