// Command stuck is a handler that does not return, in the way that the variable
// MODE says.
package main

import (
	"context"
	"net"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
)

var (
	sum  int
	room = make([]byte, 64<<20)
)

// chain calls itself twice, so that no loop is needed to take for ever.
func chain(depth int) int {
	if depth == 0 {
		return 1
	}
	return chain(depth-1) + chain(depth-1)
}

func handle(context.Context, events.KinesisEvent) error {
	switch os.Getenv("MODE") {
	case "loop":
		for {
			sum++
		}
	case "calls":
		sum += chain(60)
	case "fill":
		for {
			clear(room)
		}
	case "sleep":
		time.Sleep(time.Hour)
	case "host":
		for {
			sum += time.Now().Nanosecond()
		}
	case "peer":
		conn, err := net.Dial("tcp", os.Getenv("PEER"))
		if err != nil {
			return err
		}
		_, err = conn.Read(make([]byte, 1))
		return err
	}
	return nil
}

func main() { lambda.Start(handle) }
