package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/runtime"
)

func TestOnlyTheConstantOfHTTPIsWrittenOut(t *testing.T) {
	for _, tt := range []struct{ name, src, want string }{
		{"the constant alone", "package events\n\nimport (\n\t\"io\"\n\t\"net/http\"\n)\n\nvar a, b = http.StatusOK, http.StatusOK // as http.StatusOK\nvar _ io.Reader\n",
			"package events\n\nimport (\n\t\"io\"\n\t_ \"errors\"\n)\n\nvar a, b = 200, 200 // as http.StatusOK\nvar _ io.Reader\n"},
		{"an import of its own", "package events\n\nimport \"net/http\"\n\nvar a = http.StatusOK\n", "package events\n\nimport _ \"errors\"\n\nvar a = 200\n"},
		{"more than the constant", "package events\n\nimport \"net/http\"\n\nvar a = http.StatusOK\nvar h http.Header\n", ""},
		{"another name for it", "package events\n\nimport http \"net/http\"\n\nvar a = http.StatusOK\n", ""},
		{"another package", "package events\n\nimport \"example.com/http\"\n\nvar a = http.StatusOK\n", ""},
		{"a variable of that name", "package events\n\nimport \"net/http\"\n\nfunc f(http struct{ StatusOK int }) int { return http.StatusOK }\n", ""},
		{"in a comment alone", "package events\n\n// http.StatusOK\n", ""},
		{"no Go", "http.StatusOK", ""},
	} {
		path := filepath.Join(t.TempDir(), "x.go")
		write(t, path, tt.src)
		got, err := withoutHTTP(path, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if tt.want == "" {
			if got != path {
				t.Errorf("%s: it was changed", tt.name)
			}
			continue
		}
		if b, err := os.ReadFile(got); err != nil || string(b) != tt.want {
			t.Errorf("%s: %v\n%s", tt.name, err, b)
		}
		if b, _ := os.ReadFile(path); string(b) != tt.src {
			t.Errorf("%s: the user's file was written to", tt.name)
		}
	}
}

// TestCryptographyThatNobodyUsesIsLeftOut has a program that uses what the
// constant stands in, and no other of net/http.
func TestCryptographyThatNobodyUsesIsLeftOut(t *testing.T) {
	dir := copyOf(t, "handlers")
	write(t, filepath.Join(dir, "main.go"), `package main

import (
	"bytes"
	"io"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
)

func handle() (string, error) {
	b, err := io.ReadAll(&events.LambdaFunctionURLStreamingResponse{Body: bytes.NewReader([]byte("hi"))})
	return string(b), err
}

func main() { lambda.Start(handle) }
`)
	_, code := build(t, dir)
	if strings.Contains(string(code), "crypto/tls.") {
		t.Error("the module holds TLS, which the program has no use for")
	}
	e, log, err := environment(t, code, nil)
	if err != nil {
		t.Fatal(err)
	}
	res := invoke(t, e, runtime.Invocation{Payload: []byte("{}")})
	if got := string(res.Response); !strings.Contains(got, `{\"statusCode\":200}`) || !strings.Contains(got, "hi") {
		t.Errorf("got %v %s %s\n%s", res.Outcome, got, res.ErrorMessage, log)
	}
}
