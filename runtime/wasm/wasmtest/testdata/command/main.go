// Command is a function that is a plain WASI command. It does without package
// encoding/json to be small.
package main

import (
	"io"
	"os"
	"strconv"
	"strings"
)

func main() {
	b, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	event := string(b)
	os.Stderr.WriteString("handling " + strconv.Itoa(len(event)) + " bytes\n")
	do := func(what string) bool { return event == `{"do":"`+what+`"}` }
	switch {
	case !strings.HasPrefix(event, "{"):
		os.Exit(3)
	case do("nothing"):
		return
	case do("exit0"):
		os.Stdout.WriteString(`{"before":"exit"}`)
		os.Exit(0)
	case do("panic"):
		panic("command")
	case do("loop"):
		for {
		}
	case do("garbage"):
		os.Stdout.WriteString("handled it")
	case do("large"):
		os.Stdout.WriteString(`"` + strings.Repeat("x", 7<<20) + `"`)
	default:
		os.Stdout.WriteString(`{"id":"` + os.Getenv("_X_WASMILL_REQUEST_ID") + `","name":"` + os.Getenv("AWS_LAMBDA_FUNCTION_NAME") +
			`","records":` + strconv.Itoa(strings.Count(event, "aws:kinesis:record")) + "}\n")
	}
}
