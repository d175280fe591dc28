// Package logs answers AWS's CloudWatch Logs API (2014-03-28) from what functions have
// written here, and from what clients put beside it.
//
// Groups are one set for all accounts and regions, as functions are: whoever asks sees them
// under its own. What AWS checks before it looks at a group stands in a table beside each
// handler; [wire] reads input by it. AWS error codes exist here and nowhere below.
package logs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/functions/logs"
)

// Deps are what the service stands on.
type Deps struct {
	Store *logs.Store // required
	// Inner is the face that functions see: each may write into its own group, no more.
	Inner bool
	// Logger gets what clients are not told. Defaults to slog's default.
	Logger *slog.Logger
}

// service holds what operations share.
type service struct{ Deps }

// New makes the service.
func New(d Deps) *wire.Service {
	if d.Logger == nil {
		d.Logger = slog.Default()
	}
	s := &service{d}
	return &wire.Service{
		Name: "logs", Target: "Logs_20140328", Signing: "logs", Invalid: codeInvalid,
		Ops: s.guarded(slices.Concat(s.groupOps(), s.streamOps(), s.eventOps(), s.tagOps(), refusedOps())),
	}
}

// forFunctions is what the policy AWSLambdaBasicExecutionRole allows.
var forFunctions = []string{"CreateLogGroup", "CreateLogStream", "PutLogEvents"}

// streamCost is what a stream that a function makes counts of what it may put, in bytes: all
// names of streams are written anew with each.
const streamCost = 64 << 10

// guarded refuses what functions may not do, if the service is that of functions. They write
// into their own group only: what another has printed must be what that one printed, and stay.
func (s *service) guarded(ops []*wire.Operation) []*wire.Operation {
	if !s.Inner {
		return ops
	}
	for _, op := range ops {
		do := op.Do
		if !slices.Contains(forFunctions, op.Name) {
			do = nil
		}
		op.Stream = nil
		op.Do = func(ctx context.Context, c *wire.Call) (any, error) {
			switch own := logs.FunctionGroup(c.Function); {
			case do == nil:
				return nil, deny("Functions of this server may not call %s: of CloudWatch Logs they may call %s.", c.Operation.Name, strings.Join(forFunctions, ", "))
			case c.Function == "":
				return nil, deny("It cannot be told which function calls %s: only functions may, on connections of their own.", c.Operation.Name)
			case c.In.String("logGroupName") != own:
				return nil, deny("The function %s may write into its own log group only: %s.", c.Function, own)
			}
			if !s.Store.Function(c.Function).Spend(time.Now(), costOf(c)) {
				return nil, wire.Errorf(codeThrottled, "Rate exceeded: a function may put as much into its log as it may print, and make a log stream a second.")
			}
			return do(ctx, c)
		}
	}
	return ops
}

func deny(format string, args ...any) *wire.Error {
	return &wire.Error{Code: codeDenied, Status: http.StatusForbidden, Message: fmt.Sprintf(format, args...)}
}

// costOf is what a call of a function counts, in bytes.
func costOf(c *wire.Call) int {
	switch c.Operation.Name {
	case "CreateLogStream":
		return streamCost
	case "PutLogEvents":
		n := 0
		for _, e := range c.In.List("logEvents") {
			v, _ := e.(wire.Values)
			n += len(v.String("message")) + eventCost
		}
		return min(n, maxBatch) // what is more is refused as too large
	}
	return 0
}

// AWS's codes.
const (
	codeNotFound    = "ResourceNotFoundException"
	codeExists      = "ResourceAlreadyExistsException"
	codeInvalid     = "InvalidParameterException"
	codeLimit       = "LimitExceededException"
	codeTooManyTags = "TooManyTagsException"
	codeUnavailable = "ServiceUnavailableException"
	codeDenied      = "AccessDeniedException"
	codeThrottled   = "ThrottlingException"
)

func invalid(format string, args ...any) *wire.Error {
	return wire.Errorf(codeInvalid, format, args...)
}

// fault turns an error of the store into AWS's.
func fault(err error) error {
	switch {
	case errors.Is(err, logs.ErrNoGroup):
		return wire.Errorf(codeNotFound, "The specified log group does not exist.")
	case errors.Is(err, logs.ErrNoStream):
		return wire.Errorf(codeNotFound, "The specified log stream does not exist.")
	case errors.Is(err, logs.ErrTooMany):
		return wire.Errorf(codeLimit, "Resource limit exceeded.")
	case errors.Is(err, logs.ErrFull):
		return &wire.Error{Code: codeUnavailable, Status: http.StatusServiceUnavailable, Message: "The service is unable to complete the request: its disk takes nothing at the moment.", Cause: err}
	}
	return err
}

// groupARN is a group's name as c's caller sees it.
func groupARN(c *wire.Call, group string) string {
	return "arn:aws:logs:" + c.Region + ":" + c.Account + ":log-group:" + group
}

// ofARN takes the ARN of a group apart, with or without the ":*" that some have at the end.
func ofARN(c *wire.Call, arn string) (group string, err error) {
	parts := strings.SplitN(arn, ":", 7)
	if len(parts) != 7 || parts[0] != "arn" || !strings.HasPrefix(parts[1], "aws") || parts[2] != "logs" || parts[5] != "log-group" {
		return "", invalid("Invalid ARN: %s", arn)
	}
	group, rest, more := strings.Cut(parts[6], ":")
	if group == "" || more && rest != "*" {
		return "", invalid("Invalid ARN: %s", arn)
	}
	if parts[3] != c.Region || parts[4] != c.Account {
		return "", fault(logs.ErrNoGroup)
	}
	return group, nil
}

// group is the name of the group that a call names by logGroupName or logGroupIdentifier.
func group(c *wire.Call) (string, error) {
	name, id := c.In.String("logGroupName"), c.In.String("logGroupIdentifier")
	switch {
	case name == "" && id == "":
		return "", invalid("Must specify either logGroupName or logGroupIdentifier")
	case name != "" && id != "":
		return "", invalid("LogGroup name and LogGroup ARN are mutually exclusive parameters.")
	case strings.HasPrefix(id, "arn:"):
		return ofARN(c, id)
	}
	return name + id, nil
}

func must(name string, s *wire.Shape) wire.Member {
	return wire.Member{Name: name, Shape: s, Required: true}
}

func may(name string, s *wire.Shape) wire.Member { return wire.Member{Name: name, Shape: s} }

// Shapes that several operations share, as botocore's model 2014-03-28 has them (1.43.11).
var (
	groupShape   = wire.String(1, 512, `[\.\-_/#A-Za-z0-9]+`)
	streamShape  = wire.String(1, 512, `[^:*]*`)
	idShape      = wire.String(1, 2048, `[\w#+=/:,.@-]*`)
	resourceARN  = wire.String(1, 1011, `[\w+=/:,.@-]*`)
	tokenShape   = wire.String(1, 0, "")
	pageShape    = wire.Integer(1, 50)
	eventsShape  = wire.Integer(1, 10_000)
	timeShape    = wire.Long(0)
	classShape   = wire.Enum("STANDARD", "INFREQUENT_ACCESS", "DELIVERY")
	tagKeyShape  = wire.String(1, 128, `^([\p{L}\p{Z}\p{N}_.:/=+\-@]+)$`)
	tagsShape    = wire.Map(tagKeyShape, wire.String(0, 256, `^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$`), 1, 50)
	patternShape = wire.String(0, 1024, "")
)

var byGroup, byID = may("logGroupName", groupShape), may("logGroupIdentifier", idShape)
