package build

import (
	"strings"
	"testing"

	"github.com/wasmill/wasmill/runtime"
)

// BenchmarkBatch runs batches of 100 x 1 KB through handlers that return different
// things.
func BenchmarkBatch(b *testing.B) {
	data := make([]string, 100)
	for i := range data {
		data[i] = strings.Repeat("x", 1<<10)
	}
	kinesis := batch(data...)
	for _, tt := range []struct {
		name, guest string
		batch       *runtime.Batch
		partial     bool
	}{
		{"kinesis/error", "kinesis-error", kinesis, false},
		{"kinesis/struct", "kinesis-reply", kinesis, false},
		{"kinesis/struct, counted", "kinesis-reply", kinesis, true},
		{"kinesis/pointer, no struct", "kinesis-pointer", kinesis, false},
		{"kinesis/window", "window", in(batch(data...), `{"n":"1"}`, false), true},
		{"sqs/struct", "sqs", messages(data...), true},
		{"dynamodb/struct", "dynamodb-quiet", changes(100), true},
	} {
		b.Run(tt.name, func(b *testing.B) {
			e, _ := start(b, tt.guest)
			inv := runtime.Invocation{ID: requestID, Batch: tt.batch, PartialReplies: tt.partial}
			for b.Loop() {
				if res := e.Invoke(b.Context(), &inv); res.Outcome != runtime.Done {
					b.Fatalf("%v %s: %s", res.Outcome, res.ErrorType, res.ErrorMessage)
				}
			}
		})
	}
}
