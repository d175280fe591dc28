package log

import (
	"fmt"
	"os"
	"testing"

	"github.com/nats-io/nats-server/v2/server/ats"
)

// children are what this test binary does instead of testing when it finds the
// variable, whose value it is given, in its environment.
var children = map[string]func(value string) error{}

func TestMain(m *testing.M) {
	for name, child := range children {
		if value := os.Getenv(name); value != "" {
			if err := child(value); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	ats.Register() // lets the embedded server run in synctest bubbles
	code := m.Run()
	ats.Unregister()
	os.Exit(code)
}
