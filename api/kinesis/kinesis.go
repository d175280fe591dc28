// Package kinesis answers AWS's Kinesis Data Streams API (2013-12-02) from the
// streams of this server.
//
// What AWS checks before it looks at a stream stands in a table beside each
// handler; [wire] reads input by it. Texts of errors are AWS's own where they have
// been recorded, and the tests name the source of each. AWS error codes exist here
// and nowhere below.
package kinesis

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/stream"
)

//go:generate go test -count=1 -run ^TestCompatibilityPageIsUpToDate$ . -write

// Streams is what the control plane needs of the store; *natsstream.Store has it.
type Streams interface {
	Create(ctx context.Context, ref stream.Ref, c stream.Config) (stream.Description, error)
	Delete(ctx context.Context, ref stream.Ref) error
	Update(ctx context.Context, ref stream.Ref, change func(*stream.Config)) (stream.Description, error)
	Describe(ctx context.Context, ref stream.Ref) (stream.Description, error)
	ByID(ctx context.Context, id string) (stream.Description, error)
	List(ctx context.Context) ([]stream.Description, error)
	Split(ctx context.Context, ref stream.Ref, shard string, at stream.HashKey) (stream.Description, error)
	Merge(ctx context.Context, ref stream.Ref, shard, adjacent string) (stream.Description, error)
	Scale(ctx context.Context, ref stream.Ref, shards int) (stream.Description, error)
	SetAttributes(ctx context.Context, ref stream.Ref, change func(*stream.Attributes) error) (stream.Description, error)
	Account(ctx context.Context, account, region string) (stream.AccountSettings, error)
	SetAccount(ctx context.Context, account, region string, change func(*stream.AccountSettings) error) (stream.AccountSettings, error)
	dataStreams
}

// Deps are what the service stands on.
type Deps struct {
	Streams Streams // required
	// Limits are AWS's quotas; nil has none.
	Limits *Limits
	// Faults fail single records of PutRecords; nil has none.
	Faults *wire.Faults
	// StateDelay is how long a consumer is shown as CREATING and DELETING. Defaults
	// to none. That of streams is the store's.
	StateDelay time.Duration
	// Secret seals shard iterators and tokens. It must outlive the process if they are to.
	// Zero: one that is made up, and dies with the process.
	Secret [32]byte
	// Logger gets what clients are not told. Defaults to slog's default.
	Logger *slog.Logger
}

// service holds what operations share.
type service struct {
	Deps
	leaving leaving // consumers that are shown as DELETING
	seal    *sealer
	subs    subscriptions
}

// New makes the service.
func New(d Deps) *wire.Service {
	if d.Logger == nil {
		d.Logger = slog.Default()
	}
	s := &service{Deps: d, seal: newSealer(d.Secret)}
	return &wire.Service{
		Name: "kinesis", Target: "Kinesis_20131202", Signing: "kinesis",
		Ops: s.limited(slices.Concat(s.streamOps(), s.shardOps(), s.tagOps(), s.consumerOps(), s.policyOps(), s.settingOps(), s.dataOps())),
	}
}

// find is the stream that c names, in whatever state it is.
func (s *service) find(ctx context.Context, c *wire.Call) (stream.Description, error) {
	ref, err := s.ref(ctx, c, c.In.String("StreamName"), c.In.String("StreamARN"), c.In.String("StreamId"))
	if err != nil {
		return stream.Description{}, err
	}
	return s.describe(ctx, ref)
}

// describe is Streams.Describe with AWS's errors.
func (s *service) describe(ctx context.Context, ref stream.Ref) (stream.Description, error) {
	d, err := s.Streams.Describe(ctx, ref)
	if err != nil {
		return stream.Description{}, s.fault(ctx, ref, err)
	}
	return d, nil
}

// findActive is find for what AWS does to ACTIVE streams only.
func (s *service) findActive(ctx context.Context, c *wire.Call) (stream.Description, error) {
	d, err := s.find(ctx, c)
	if err == nil && d.State != stream.Active {
		err = notActive(d)
	}
	return d, err
}

// ref is the stream that a call names by one, two or all of its name, ARN and id;
// "" is not given. They must name the same, in the account and region of the call.
// Whether it exists is looked up only for an id.
func (s *service) ref(ctx context.Context, c *wire.Call, name, arn, id string) (stream.Ref, error) {
	ref := stream.Ref{Account: c.Account, Region: c.Region, Name: name}
	if arn != "" {
		of, err := ownARN(c, arn)
		if err != nil {
			return stream.Ref{}, err
		}
		if name != "" && name != of.Name {
			return stream.Ref{}, invalid("StreamName %s and StreamARN %s do not name the same stream.", name, arn)
		}
		ref.Name = of.Name
	}
	if id != "" {
		d, err := s.Streams.ByID(ctx, id)
		switch {
		case errors.Is(err, stream.ErrNotFound) || err == nil && (d.Account != c.Account || d.Region != c.Region):
			return stream.Ref{}, wire.Errorf(codeNotFound, "Stream with StreamId %s under account %s not found.", id, c.Account)
		case err != nil:
			return stream.Ref{}, s.fault(ctx, ref, err)
		case ref.Name != "" && ref.Name != d.Name:
			return stream.Ref{}, invalid("StreamId %s is not that of stream %s.", id, ref.Name)
		}
		ref = d.Ref
	}
	if ref.Name == "" {
		return stream.Ref{}, invalid("Either StreamName or StreamARN should be provided.")
	}
	return ref, nil
}

// An ARN that the tables let through has six parts of which the third is kinesis and
// the fifth an account; what comes before the last part may still be anything.
// parseARN takes it apart into the stream and, for one of a consumer, what follows
// "/consumer/".
func parseARN(arn string) (ref stream.Ref, consumer string, ok bool) {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || !strings.HasPrefix(parts[1], "aws") || parts[2] != "kinesis" {
		return stream.Ref{}, "", false
	}
	resource, isStream := strings.CutPrefix(parts[5], "stream/")
	name, consumer, isConsumer := strings.Cut(resource, "/consumer/")
	ref = stream.Ref{Account: parts[4], Region: parts[3], Name: name}
	return ref, consumer, isStream && ref.Validate() == nil && isConsumer == (consumer != "")
}

// ownARN reads the ARN of a stream that the caller may touch. No policy is
// evaluated: what belongs to another account is refused, in the words for a caller
// whom no policy allows it. A region's endpoint knows the streams of its region only.
func ownARN(c *wire.Call, arn string) (stream.Ref, error) {
	ref, consumer, ok := parseARN(arn)
	if !ok || consumer != "" {
		return stream.Ref{}, invalid("Invalid StreamARN: %s", arn)
	}
	return ref, own(c, ref, arn)
}

func own(c *wire.Call, ref stream.Ref, arn string) error {
	switch {
	case ref.Account != c.Account:
		action := "kinesis:" + c.Operation.Name
		return wire.Errorf(codeAccessDenied, "User: arn:aws:iam::%s:root is not authorized to perform: %s on resource: %s because no resource-based policy allows the %s action", c.Account, action, arn, action)
	case ref.Region != c.Region:
		return noStream(ref)
	}
	return nil
}

// AWS's codes.
const (
	codeNotFound     = "ResourceNotFoundException"
	codeInUse        = "ResourceInUseException"
	codeInvalid      = "InvalidArgumentException"
	codeLimit        = "LimitExceededException"
	codeValidation   = "ValidationException"
	codeAccessDenied = "AccessDeniedException"
	codeTokenExpired = "ExpiredNextTokenException"
	codeUnavailable  = "ServiceUnavailable"
)

func invalid(format string, args ...any) *wire.Error {
	return wire.Errorf(codeInvalid, format, args...)
}

func noStream(ref stream.Ref) *wire.Error {
	return wire.Errorf(codeNotFound, "Stream %s under account %s not found.", ref.Name, ref.Account)
}

func noShard(ref stream.Ref, shard string) *wire.Error {
	return wire.Errorf(codeNotFound, "Could not find shard %s in stream %s under account %s.", shard, ref.Name, ref.Account)
}

func notActive(d stream.Description) *wire.Error {
	return wire.Errorf(codeInUse, "Stream %s under account %s not ACTIVE, instead in state %s", d.Name, d.Account, d.State)
}

// fault turns an error of the store about ref into AWS's. What is AWS's already,
// the end of the call and what nobody expected stay as they are.
func (s *service) fault(ctx context.Context, ref stream.Ref, err error) error {
	if _, ok := errors.AsType[*wire.Error](err); ok {
		return err
	}
	switch {
	case errors.Is(err, stream.ErrNotFound):
		return noStream(ref)
	case errors.Is(err, stream.ErrExists):
		return wire.Errorf(codeInUse, "Stream %s under account %s already exists.", ref.Name, ref.Account)
	case errors.Is(err, stream.ErrBusy):
		d, err := s.Streams.Describe(ctx, ref)
		if err != nil {
			return noStream(ref)
		}
		return notActive(d)
	case errors.Is(err, stream.ErrInvalid):
		return invalid("%s", strings.ReplaceAll(strings.ReplaceAll(err.Error(), stream.ErrInvalid.Error()+": ", ""), "\n", "; "))
	case errors.Is(err, stream.ErrUnavailable):
		return &wire.Error{Code: codeUnavailable, Status: 503, Message: "The request has failed due to a temporary failure of the server.", Cause: err}
	}
	return err
}

// shardID is a shard's id as the catalogue has it: AWS takes any text whose first
// part, or whose part behind the first "-", is the shard's number.
func shardID(text string) (id string, index int, ok bool) {
	parts := strings.SplitN(text, "-", 3)
	digits := parts[0]
	if len(parts) > 1 && parts[1] != "" {
		digits = parts[1]
	} else if len(parts) > 1 {
		digits = text
	}
	if digits == "" {
		return "", 0, false
	}
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' || index > 1<<31-1 {
			return "", 0, false
		}
		index = index*10 + int(c-'0')
	}
	return stream.ShardID(index), index, index <= 1<<31-1
}

// shard finds the shard that text names in d.
func shard(d stream.Description, text string) (stream.Shard, error) {
	id, index, ok := shardID(text)
	if !ok {
		return stream.Shard{}, noShard(d.Ref, text)
	}
	for _, sh := range d.Shards {
		if sh.Index == index {
			return sh, nil
		}
	}
	return stream.Shard{}, noShard(d.Ref, id)
}
