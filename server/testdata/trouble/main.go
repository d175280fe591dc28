// Command trouble is a handler that hands each record on to the stream out, unless
// one begins with a word that has it go wrong.
package main

import (
	"context"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
)

type reply struct {
	Emit []record `json:"emit"`
}

type record struct {
	Stream         string `json:"stream"`
	PartitionKey   string `json:"partitionKey"`
	Data           []byte `json:"data"`
	ItemIdentifier string `json:"itemIdentifier"`
}

var (
	kept  [][]byte
	count int
)

func handle(_ context.Context, e events.KinesisEvent) (out reply, err error) {
	for _, r := range e.Records {
		word, rest, _ := strings.Cut(string(r.Kinesis.Data), " ")
		if word == "stuck" {
			word = os.Getenv("STUCK")
		}
		switch word {
		case "count":
			count++
			r.Kinesis.Data = []byte(strconv.Itoa(count))
		case "hold":
			mb, _ := strconv.Atoi(rest)
			hold(mb)
		case "hog":
			for {
				hold(1)
			}
		case "spin":
			spin()
		case "sleep":
			time.Sleep(time.Hour)
		case "deep":
			deep(len(e.Records))
		case "exit":
			os.Exit(3)
		case "panic":
			panic("at the record")
		case "kill": // by somebody who looks for a process as large as that
			println("about to be killed")
			for range 200 {
				hold(1)
			}
			spin()
		}
		out.Emit = append(out.Emit, record{"out", r.Kinesis.PartitionKey, r.Kinesis.Data, r.Kinesis.SequenceNumber})
	}
	return out, nil
}

// hold keeps so many megabytes, and has them be real.
func hold(mb int) {
	b := make([]byte, mb<<20)
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	kept = append(kept, b)
}

//go:noinline
func spin() {
	for i := 0; ; i++ {
		if i < 0 {
			return
		}
	}
}

//go:noinline
func deep(n int) int {
	if n < 0 {
		return 0
	}
	return deep(n+1) + n
}

func main() { lambda.Start(handle) }
