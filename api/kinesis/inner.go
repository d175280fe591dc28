package kinesis

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/wasmill/wasmill/api/wire"
)

// forFunctions are operations that functions may call beside those that read.
var forFunctions = []string{"PutRecord", "PutRecords", "SubscribeToShard"}

// ForFunctions is a service of [New] as functions see it: they put and read records, and look
// at streams, but change none. What is under way, subscriptions say, both share.
func ForFunctions(s *wire.Service) *wire.Service {
	inner := *s
	inner.Ops = slices.Clone(s.Ops)
	for i, op := range inner.Ops {
		if slices.Contains(forFunctions, op.Name) || slices.ContainsFunc([]string{"Describe", "Get", "List"}, func(verb string) bool { return strings.HasPrefix(op.Name, verb) }) {
			continue
		}
		// Without the input's rules: what is wrong with the rest does not matter.
		inner.Ops[i] = &wire.Operation{Name: op.Name, Do: func(_ context.Context, c *wire.Call) (any, error) {
			return nil, &wire.Error{Code: codeAccessDenied, Status: http.StatusForbidden,
				Message: "Functions of this server may not call " + c.Operation.Name + ": of Kinesis they may call PutRecord, PutRecords and what reads. Call it from outside."}
		}}
	}
	return &inner
}
