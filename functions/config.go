package functions

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxName is the most characters of a function's name.
const MaxName = 64

// MaxDescription is the most characters of a description.
const MaxDescription = 256

// WithDefaults fills in what was not set.
func (c Config) WithDefaults() Config {
	c.Timeout = cmp.Or(c.Timeout, DefaultTimeout)
	c.Memory = cmp.Or(c.Memory, MinMemory)
	c.Isolation = cmp.Or(c.Isolation, IsolationEnvironment)
	return c
}

// Validate names every fault of a configuration with its defaults filled in, in one
// error that wraps [ErrInvalid], and what is taken but worth a word.
func (c Config) Validate() (warnings []string, err error) {
	var errs []error
	fault := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if c.Timeout < MinTimeout || c.Timeout > MaxTimeout || c.Timeout%time.Second != 0 {
		fault("timeout %v: want whole seconds, %v to %v", c.Timeout, MinTimeout, MaxTimeout)
	}
	switch {
	case c.Memory < MinMemory || c.Memory > MaxMemory:
		fault("memory %d MB: want %d to %d", c.Memory, MinMemory, MaxMemory)
	case c.Memory > MemoryCap:
		warnings = append(warnings, fmt.Sprintf("memory %d MB: a function can address %d MB, and gets no more", c.Memory, MemoryCap))
	}
	if n := utf8.RuneCountInString(c.Description); n > MaxDescription {
		fault("description of %d characters: want at most %d", n, MaxDescription)
	}
	if !utf8.ValidString(c.Description) {
		fault("description is not UTF-8")
	}
	total := 0
	for _, name := range slices.Sorted(maps.Keys(c.Environment)) {
		value := c.Environment[name]
		total += len(name) + len(value)
		switch {
		case reserved[name]:
			fault("environment variable %s: the runtime sets it; take another name", name)
		case !variable.MatchString(name):
			fault("environment variable %q: want a letter and then letters, digits and _, two characters at least", name)
		}
		if strings.ContainsRune(value, 0) || !utf8.ValidString(value) {
			fault("environment variable %s: want UTF-8 without zero characters", name)
		}
	}
	if total > MaxEnvironment {
		fault("environment of %d bytes: want at most %d, names and values together", total, MaxEnvironment)
	}
	if len(c.Emits) > MaxEmits {
		fault("%d streams to emit to: want at most %d", len(c.Emits), MaxEmits)
	}
	for i, name := range c.Emits {
		switch {
		case !ValidStreamName(name):
			fault("stream to emit to %.140q: want a stream's name, 1 to %d letters, digits, _, . and -", name, maxStream)
		case slices.Contains(c.Emits[:i], name):
			fault("stream to emit to %q: named twice", name)
		}
	}
	if len(c.Allow) > MaxAllow {
		fault("%d places to dial: want at most %d", len(c.Allow), MaxAllow)
	}
	for i, pattern := range c.Allow {
		switch _, err := ParseAllow(pattern); {
		case err != nil:
			fault("place to dial %.300q: %w", pattern, err)
		case slices.Contains(c.Allow[:i], pattern):
			fault("place to dial %q: named twice", pattern)
		}
	}
	if c.Isolation != "" && c.Isolation != IsolationEnvironment && c.Isolation != IsolationInvocation {
		fault("isolation %q: want %s or %s", c.Isolation, IsolationEnvironment, IsolationInvocation)
	}
	if c.Concurrency != nil && *c.Concurrency < 0 {
		fault("concurrency %d: want 0 or more", *c.Concurrency)
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, errors.Join(errs...))
	}
	return warnings, nil
}

// ValidateName says what is wrong with a function's name, wrapping [ErrInvalid].
func ValidateName(name string) error {
	if len(name) > MaxName || !named.MatchString(name) {
		return fmt.Errorf("%w: function name %q: want 1 to %d letters, digits, - and _", ErrInvalid, name, MaxName)
	}
	return nil
}

// ValidStreamName says whether a stream can bear a name.
func ValidStreamName(name string) bool { return len(name) <= maxStream && streamName.MatchString(name) }

// maxStream is the most characters of a stream's name.
const maxStream = 128

var (
	named = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)
	// As package stream takes them; it is on our floor.
	streamName = regexp.MustCompile(`^[a-zA-Z0-9_.-]+$`)
	variable   = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_]+$`) // as AWS Lambda
)

// Reserved says whether an environment variable is the runtime's to set.
func Reserved(variable string) bool { return reserved[variable] }

// reserved are the variables that AWS Lambda lets no function set.
var reserved = map[string]bool{
	"_HANDLER": true, "_X_AMZN_TRACE_ID": true,
	"AWS_DEFAULT_REGION": true, "AWS_REGION": true, "AWS_EXECUTION_ENV": true,
	"AWS_LAMBDA_FUNCTION_NAME": true, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": true, "AWS_LAMBDA_FUNCTION_VERSION": true,
	"AWS_LAMBDA_INITIALIZATION_TYPE": true, "AWS_LAMBDA_LOG_GROUP_NAME": true, "AWS_LAMBDA_LOG_STREAM_NAME": true,
	"AWS_LAMBDA_RUNTIME_API": true, "AWS_LAMBDA_MAX_CONCURRENCY": true,
	"AWS_ACCESS_KEY": true, "AWS_ACCESS_KEY_ID": true, "AWS_SECRET_ACCESS_KEY": true, "AWS_SESSION_TOKEN": true,
	"LAMBDA_TASK_ROOT": true, "LAMBDA_RUNTIME_DIR": true,
}
