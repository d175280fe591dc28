package triggers

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wasmill/wasmill/stream"
)

var nameRule = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$`)

// ValidateName says what is wrong with a trigger's name: 1 to 64 letters,
// digits, '-', '_' and '.', beginning with a letter or digit.
func ValidateName(name string) error {
	if !nameRule.MatchString(name) {
		return fmt.Errorf("%w: trigger name %q: want 1 to 64 letters, digits, '-', '_' or '.', beginning with a letter or digit", ErrInvalid, name)
	}
	return nil
}

// WithDefaults fills in what was left out.
func (c Config) WithDefaults() Config {
	c.BatchSize = cmp.Or(c.BatchSize, DefaultBatchSize)
	c.Parallel = cmp.Or(c.Parallel, 1)
	c.Backoff = cmp.Or(c.Backoff, DefaultBackoff)
	if c.RecordAge == Forever*time.Second || c.RecordAge == Forever {
		c.RecordAge = 0
	}
	if c.Retries == nil {
		forever := Forever
		c.Retries = &forever
	}
	return c
}

// Validate names every fault at once. The bounds are AWS's (CreateEventSourceMapping)
// but for Backoff, which AWS does not have.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...))
	}
	if c.Function == "" {
		bad("no function named")
	}
	if c.Stream == "" {
		bad("no stream named")
	} else if _, err := c.Source("", ""); err != nil {
		errs = append(errs, err)
	}
	if c.BatchSize < 1 || c.BatchSize > MaxBatchSize {
		bad("batch size %d: want 1 to %d records", c.BatchSize, MaxBatchSize)
	}
	if c.Window < 0 || c.Window > MaxWindow {
		bad("batching window %s: want 0s to %s", c.Window, MaxWindow)
	}
	if c.Parallel < 1 || c.Parallel > MaxParallel {
		bad("parallel batches per shard %d: want 1 to %d", c.Parallel, MaxParallel)
	}
	if c.Retries != nil && (*c.Retries < Forever || *c.Retries > MaxRetryAttempts) {
		bad("retries %d: want -1 (for ever) to %d", *c.Retries, MaxRetryAttempts)
	}
	if c.RecordAge != 0 && (c.RecordAge < MinRecordAge || c.RecordAge > MaxRecordAge) {
		bad("record age %s: want 0 (no limit) or %s to %s", c.RecordAge, MinRecordAge, MaxRecordAge)
	}
	if c.Backoff < time.Millisecond || c.Backoff > MaxBackoff {
		bad("back-off %s: want 1ms to %s", c.Backoff, MaxBackoff)
	}
	if c.Tumbling < 0 || c.Tumbling > MaxTumbling || c.Tumbling%time.Second != 0 {
		bad("tumbling window %s: want 0s (none) or whole seconds to %s", c.Tumbling, MaxTumbling)
	} else if c.Tumbling > 0 && c.Parallel > 1 {
		bad("parallel batches per shard %d: tumbling windows want 1", c.Parallel)
	}
	if len(c.Filters) > MaxFilters {
		bad("%d filters: want %d at most", len(c.Filters), MaxFilters)
	}
	for i, f := range c.Filters {
		if n := utf8.RuneCountInString(f); n > MaxPattern {
			bad("filter %d has %d characters: want %d at most", i+1, n, MaxPattern)
		}
	}
	if n := utf8.RuneCountInString(c.OnFailure); n > MaxDestination {
		bad("destination of %d characters: want %d at most", n, MaxDestination)
	}
	if c.OnDestinationFailure != "" && c.OnDestinationFailure != Drop {
		bad("on destination failure %q: want %s, or nothing for trying for ever", c.OnDestinationFailure, Drop)
	}
	switch p := c.Position; p.Kind {
	case stream.TrimHorizon, stream.Latest:
	case stream.AtTimestamp:
		if p.Time.IsZero() {
			bad("position %s without a time", p.Kind)
		}
	case "":
		bad("no starting position: want %s, %s or %s", stream.TrimHorizon, stream.Latest, stream.AtTimestamp)
	default:
		bad("starting position %s: want %s, %s or %s", p.Kind, stream.TrimHorizon, stream.Latest, stream.AtTimestamp)
	}
	return errors.Join(errs...)
}

// Source is the stream that c names: a name is one of that account and region, and an
// ARN says its own. The error wraps [ErrInvalid].
func (c Config) Source(account, region string) (stream.Ref, error) {
	if !strings.HasPrefix(c.Stream, "arn:") {
		return stream.Ref{Account: account, Region: region, Name: c.Stream}, nil
	}
	parts := strings.SplitN(c.Stream, ":", 6)
	if len(parts) == 6 && parts[2] == "kinesis" {
		name, of := strings.CutPrefix(parts[5], "stream/")
		if ref := (stream.Ref{Account: parts[4], Region: parts[3], Name: name}); of && ref.Validate() == nil {
			return ref, nil
		}
	}
	return stream.Ref{}, fmt.Errorf("%w: %q is no ARN of a stream: want arn:aws:kinesis:REGION:ACCOUNT:stream/NAME", ErrInvalid, c.Stream)
}

// StreamName is the name in c.Stream.
func (c Config) StreamName() string {
	if ref, err := c.Source("", ""); err == nil {
		return ref.Name
	}
	return c.Stream
}
