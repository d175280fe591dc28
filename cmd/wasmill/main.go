// Command wasmill turns streams into function calls on one machine: `wasmill
// up` is the server, everything else talks to one.
//
// Data goes to standard output, talk and progress to standard error. Exit
// status: 0 done, 1 failed, 2 called wrongly, 3 not found, 4 conflict, 5 no
// server answers, 6 timed out.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/wasmill/wasmill/runtime/sandbox"
)

func main() {
	if sandbox.Child(os.Args) {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, system(), os.Args[1:]))
}
