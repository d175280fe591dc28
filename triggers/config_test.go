package triggers

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/stream"
)

func valid() Config {
	return Config{Function: "f", Stream: "s", Position: stream.Position{Kind: stream.TrimHorizon}}.WithDefaults()
}

func TestConfig(t *testing.T) {
	n := func(i int) *int { return &i }
	tests := []struct {
		name   string
		change func(*Config)
		want   string // part of the error; empty: valid
	}{
		{"the zero value but for names and position works", func(*Config) {}, ""},
		{"a batch has at least one record", func(c *Config) { c.BatchSize = -1 }, "batch size -1"},
		{"and at most ten thousand", func(c *Config) { c.BatchSize = 10_001 }, "batch size 10001"},
		{"a window of five minutes is the longest", func(c *Config) { c.Window = 301 * time.Second }, "batching window"},
		{"ten batches a shard at most", func(c *Config) { c.Parallel = 11 }, "parallel"},
		{"no retries is a number of retries", func(c *Config) { c.Retries = n(0) }, ""},
		{"-1 is for ever", func(c *Config) { c.Retries = n(-1) }, ""},
		{"-2 is nothing", func(c *Config) { c.Retries = n(-2) }, "retries -2"},
		{"an age of 59 s lies in AWS's model and is refused there too", func(c *Config) { c.RecordAge = 59 * time.Second }, "record age"},
		{"an age of a week is the most", func(c *Config) { c.RecordAge = 604_801 * time.Second }, "record age"},
		{"a position is required", func(c *Config) { c.Position = stream.Position{} }, "no starting position"},
		{"a time is required with AT_TIMESTAMP", func(c *Config) { c.Position = stream.Position{Kind: stream.AtTimestamp} }, "without a time"},
		{"fifteen minutes of whole seconds make the longest tumbling window", func(c *Config) { c.Tumbling = 900 * time.Second }, ""},
		{"no more than that", func(c *Config) { c.Tumbling = 901 * time.Second }, "tumbling window"},
		{"no parts of a second", func(c *Config) { c.Tumbling = 1500 * time.Millisecond }, "tumbling window"},
		{"tumbling windows want one batch at a time", func(c *Config) { c.Tumbling, c.Parallel = time.Minute, 2 }, "want 1"},
		{"ten filters at most", func(c *Config) { c.Filters = make([]string, 11) }, "11 filters"},
		{"of 4,096 characters", func(c *Config) { c.Filters = []string{strings.Repeat("ä", 4096)} }, ""},
		{"and no more", func(c *Config) { c.Filters = []string{strings.Repeat("x", 4097)} }, "filter 1"},
		{"a destination has 350 characters at most", func(c *Config) { c.OnFailure = strings.Repeat("x", 351) }, "destination of 351"},
		{"a notice is dropped or tried for ever", func(c *Config) { c.OnDestinationFailure = Drop }, ""},
		{"nothing else", func(c *Config) { c.OnDestinationFailure = "retry" }, "on destination failure"},
		{"a stream may be an ARN", func(c *Config) { c.Stream = "arn:aws:kinesis:eu-west-1:111122223333:stream/x" }, ""},
		{"of a stream", func(c *Config) { c.Stream = "arn:aws:sqs:eu-west-1:111122223333:x" }, "no ARN of a stream"},
		{"and of no consumer", func(c *Config) { c.Stream = "arn:aws:kinesis:eu-west-1:111122223333:stream/x/consumer/c:1" }, "no ARN of a stream"},
		{"a mapping cannot start at a sequence number", func(c *Config) { c.Position.Kind = stream.At }, "AT_SEQUENCE_NUMBER"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := valid()
			tt.change(&c)
			err := c.Validate()
			if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("Validate = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestConfigNamesEveryFaultAtOnce(t *testing.T) {
	err := Config{BatchSize: 20_000, Parallel: 99, Backoff: time.Hour}.Validate()
	for _, want := range []string{"no function", "no stream", "batch size", "parallel", "back-off", "no starting position"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
}

func TestTriggerNames(t *testing.T) {
	for name, ok := range map[string]bool{"quakes": true, "a.b-c_1": true, "": false, "-x": false, "a b": false, strings.Repeat("a", 65): false} {
		if err := ValidateName(name); (err == nil) != ok {
			t.Errorf("ValidateName(%q) = %v", name, err)
		}
	}
}
