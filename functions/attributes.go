package functions

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// State of a version, in AWS's words.
type State string

const (
	Pending State = "Pending" // being compiled
	Active  State = "Active"  // the zero State means it too
	Failed  State = "Failed"
)

// UpdateState is how the last change of $LATEST came out, in AWS's words.
type UpdateState string

const (
	UpdateSuccessful UpdateState = "Successful" // the zero UpdateState means it too
	UpdateInProgress UpdateState = "InProgress" // the new code is being compiled; the old one runs
	UpdateFailed     UpdateState = "Failed"     // the old code stays
)

// Package is what a client uploaded when that was not the module itself.
type Package struct {
	SHA256 string `json:"sha256"` // hex digest
	Size   int64  `json:"size"`   // bytes
}

// Upload is new code of a function.
type Upload struct {
	Module  []byte
	Package *Package // what it came in; nil: it came by itself
}

// Change says how new code is to be put in place. The zero value works.
type Change struct {
	// Publish makes a version of it at once, which is Pending while $LATEST is, or fails
	// with it.
	Publish bool
	// Architectures are what is declared with the code; nil: what is declared now.
	Architectures []string
	// DryRun checks only.
	DryRun bool
	// RevisionID is that which $LATEST must have; empty: any.
	RevisionID string
}

// Publication is what is to be published. The zero value works.
type Publication struct {
	Description string // of the version; empty: the function's
	// RevisionID and SHA256 are what $LATEST must have; the digest is that of
	// [Code.Uploaded], in hex. Empty: any.
	RevisionID, SHA256 string
}

// Declared is what a client of AWS's API says of a function and reads back. It is stored
// with each version and shown; nothing acts on it: what runs is the module.
type Declared struct {
	Role           string   `json:"role,omitempty"`    // ARN
	Runtime        string   `json:"runtime,omitempty"` // "provided.al2023"
	Handler        string   `json:"handler,omitempty"`
	Architectures  []string `json:"architectures,omitempty"`
	Ephemeral      int      `json:"ephemeral,omitempty"` // MB of /tmp
	Tracing        string   `json:"tracing,omitempty"`
	LogFormat      string   `json:"logFormat,omitempty"`
	LogGroup       string   `json:"logGroup,omitempty"`
	ApplicationLog string   `json:"applicationLog,omitempty"` // level
	SystemLog      string   `json:"systemLog,omitempty"`
	DeadLetter     string   `json:"deadLetter,omitempty"` // ARN
	KMSKey         string   `json:"kmsKey,omitempty"`
	SnapStart      string   `json:"snapStart,omitempty"`
	Subnets        []string `json:"subnets,omitempty"`
	SecurityGroups []string `json:"securityGroups,omitempty"`
	IPv6           bool     `json:"ipv6,omitempty"`
}

// Attributes are what a function has beside its versions.
type Attributes struct {
	Tags     map[string]string `json:"tags,omitempty"`
	Aliases  map[string]Alias  `json:"aliases,omitempty"`  // by name
	Policies map[string]Policy `json:"policies,omitempty"` // by qualifier; "" is the function's
	// Async are settings of invocations nobody waits for, by qualifier ("$LATEST" is that of none).
	Async     map[string]Async `json:"async,omitempty"`
	Recursion string           `json:"recursion,omitempty"` // Allow or Terminate; stored
}

// Alias is a name for a version, or for two of them by weight.
type Alias struct {
	Name        string `json:"name"`
	Version     string `json:"version"`
	Description string `json:"description,omitempty"`
	// Weights is which share of invocations goes to another version, 0 to 1. One entry at most.
	Weights  map[string]float64 `json:"weights,omitempty"`
	Revision string             `json:"revision"` // a UUID, another with each change
}

// MaxAlias is the most characters of an alias's name.
const MaxAlias = 128

var aliased = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)

// Validate names every fault of an alias, in one error that wraps [ErrInvalid]. Whether
// there are such versions it does not know.
func (a Alias) Validate() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(a.Name) > MaxAlias || !aliased.MatchString(a.Name) || strings.Trim(a.Name, "0123456789") == "" {
		fault("alias %.140q: want 1 to %d letters, digits, - and _, and not digits alone, as versions have", a.Name, MaxAlias)
	}
	if a.Version != Unpublished && !published(a.Version) {
		fault("alias %s: version %.140q: want a published version's number, or %s", a.Name, a.Version, Unpublished)
	}
	if n := utf8.RuneCountInString(a.Description); n > MaxDescription || !utf8.ValidString(a.Description) {
		fault("alias %s: description of %d characters: want at most %d, in UTF-8", a.Name, n, MaxDescription)
	}
	if len(a.Weights) > 1 {
		fault("alias %s: weights of %d versions: want one at most, beside the alias's own version", a.Name, len(a.Weights))
	}
	for other, weight := range a.Weights {
		switch {
		case a.Version == Unpublished:
			fault("alias %s: %s cannot share its invocations: name a published version", a.Name, Unpublished)
		case !published(other):
			fault("alias %s: weight of version %.140q: want a published version's number", a.Name, other)
		case other == a.Version:
			fault("alias %s: weight of version %s: want another version than the alias's own", a.Name, other)
		}
		if !(weight >= 0 && weight <= 1) { // NaN is neither
			fault("alias %s: weight %v: want 0 to 1", a.Name, weight)
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("%w: %w", ErrInvalid, errors.Join(errs...))
	}
	return nil
}

// published says whether a version's name is a number, as those published have.
func published(version string) bool {
	n, err := strconv.Atoi(version)
	return err == nil && n >= 1 && strconv.Itoa(n) == version
}

// Names says whether an alias may choose a version.
func (a Alias) Names(version string) bool {
	_, weighed := a.Weights[version]
	return weighed || a.Version == version
}

// Policy is a resource policy: who may invoke. Stored and shown, not enforced.
type Policy struct {
	Statements []Statement `json:"statements"`
	Revision   string      `json:"revision"` // as an alias's
}

// Statement is one permission.
type Statement struct {
	ID   string          `json:"id"`
	Body json.RawMessage `json:"body"`
}

// Async are settings of invocations nobody waits for. Stored and shown: there are none yet.
type Async struct {
	Retries   *int      `json:"retries,omitempty"` // 0 to 2
	Age       *int      `json:"age,omitempty"`     // seconds, 60 to 21,600
	OnSuccess string    `json:"onSuccess,omitempty"`
	OnFailure string    `json:"onFailure,omitempty"`
	Modified  time.Time `json:"modified"`
}
