// Package iam answers as much of AWS's IAM (2010-05-08) and STS (2011-06-15) as tools that
// set up infrastructure ask for: roles and managed policies with all they hold, and who the
// caller is.
//
// What is created is stored and shown, and nothing of it is enforced: whoever reaches the
// server may do everything. Policies of AWS itself can be attached without being here.
//
// Texts of errors are AWS's own where they have been recorded (localstack's snapshots
// tests/aws/services/iam and sts, February 2026).
package iam

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/internal/kv"
	"github.com/wasmill/wasmill/internal/natsd"
)

// Deps are what the services stand on.
type Deps struct {
	Store *Store // required; several services may share one
	// Inner has the services serve functions, which may read IAM and ask who they are, and
	// nothing else.
	Inner bool
}

// Store keeps roles and policies.
type Store struct {
	bucket *kv.Bucket[Entity]
	// turn has one token, and whoever changes something has put it there: what is checked of
	// other roles and policies must still be so when the change is written. It is no mutex
	// since the store may take long, and callers who have gone do not wait for it.
	turn chan struct{}
}

// NewStore keeps what it has in the bucket.
func NewStore(bucket *kv.Bucket[Entity]) *Store {
	return &Store{bucket: bucket, turn: make(chan struct{}, 1)}
}

// begin waits for the turn to change something; done gives it up.
func (s *Store) begin(ctx context.Context) (done func(), err error) {
	select {
	case s.turn <- struct{}{}:
		return func() { <-s.turn }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// service holds what operations share.
type service struct{ *Store }

// New makes the services: iam and sts.
func New(d Deps) []*wire.Service {
	s := &service{d.Store}
	all := []*wire.Service{
		{Name: "iam", Signing: "iam", Query: "2010-05-08", XML: "https://iam.amazonaws.com/doc/2010-05-08/", Terse: true,
			Ops: slices.Concat(s.roleOps(), s.inlineOps(), s.attachmentOps(), s.policyOps(), s.versionOps(), s.tagOps(), s.accountOps())},
		{Name: "sts", Signing: "sts", Query: "2011-06-15", XML: "https://sts.amazonaws.com/doc/2011-06-15/", Ops: s.stsOps()},
	}
	for _, service := range all {
		for _, op := range service.Ops {
			op.Do = worded(op.Do)
			if d.Inner {
				if op.Name == "GetSessionToken" || !strings.HasPrefix(op.Name, "Get") && !strings.HasPrefix(op.Name, "List") {
					op.Do = denied
				}
			}
		}
	}
	return all
}

func denied(_ context.Context, c *wire.Call) (any, error) {
	return nil, &wire.Error{Code: "AccessDenied", Status: http.StatusForbidden,
		Message: fmt.Sprintf("%s:%s is not for functions: they may read IAM and call sts:GetCallerIdentity", c.Service.Name, c.Operation.Name)}
}

// worded tells clients why the store cannot write just now, so that they try again.
func worded(do func(context.Context, *wire.Call) (any, error)) func(context.Context, *wire.Call) (any, error) {
	return func(ctx context.Context, c *wire.Call) (any, error) {
		out, err := do(ctx, c)
		text := ""
		switch {
		case errors.Is(err, natsd.ErrReserve):
			text = "The server's disk, or its share of it, is used up to its reserve: nothing that is to be kept is taken."
		case errors.Is(err, natsd.ErrDown) || errors.Is(err, natsd.ErrNoAnswer):
			text = "The server's store does not answer at the moment. Try again."
		default:
			return out, err
		}
		err = &wire.Error{Code: "ServiceFailure", Status: http.StatusServiceUnavailable, Message: text, Cause: err}
		return out, err
	}
}

// The errors, as AWS names them.

func noSuch(format string, args ...any) error {
	return &wire.Error{Code: "NoSuchEntity", Status: http.StatusNotFound, Message: fmt.Sprintf(format, args...)}
}

func exists(format string, args ...any) error {
	return &wire.Error{Code: "EntityAlreadyExists", Status: http.StatusConflict, Message: fmt.Sprintf(format, args...)}
}

func conflict(text string) error {
	return &wire.Error{Code: "DeleteConflict", Status: http.StatusConflict, Message: text}
}

func limit(format string, args ...any) error {
	return &wire.Error{Code: "LimitExceeded", Status: http.StatusConflict, Message: fmt.Sprintf(format, args...)}
}

func malformed(format string, args ...any) error {
	return wire.Errorf("MalformedPolicyDocument", format, args...)
}

func invalid(format string, args ...any) error {
	return wire.Errorf("ValidationError", format, args...)
}

func badInput(format string, args ...any) error {
	return wire.Errorf("InvalidInput", format, args...)
}

func must(name string, s *wire.Shape) wire.Member {
	return wire.Member{Name: name, Shape: s, Required: true}
}

func may(name string, s *wire.Shape) wire.Member { return wire.Member{Name: name, Shape: s} }

// Shapes that several operations share, as botocore's model has them.
var (
	roleName      = must("RoleName", wire.String(1, 64, `[\w+=,.@-]+`))
	policyName    = must("PolicyName", wire.String(1, 128, `[\w+=,.@-]+`))
	arnShape      = wire.String(20, 2048, "")
	policyARN     = must("PolicyArn", arnShape)
	documentShape = wire.String(1, 131072, `[\u0009\u000A\u000D\u0020-\u00FF]+`).Matching(`[\x09\x0A\x0D\x20-\x{FF}]+`)
	rolePath      = wire.String(1, 512, `(\u002F)|(\u002F[\u0021-\u007E]+\u002F)`).Matching(`(/)|(/[\x21-\x7E]+/)`)
	rolePrefix    = wire.String(1, 512, `\u002F[\u0021-\u007F]*`).Matching(`/[\x21-\x7F]*`)
	policyPath    = wire.String(1, 512, `((/[A-Za-z0-9\.,\+@=_-]+)*)/`)
	descShape     = wire.String(0, 1000, `[\u0009\u000A\u000D\u0020-\u007E\u00A1-\u00FF]*`).Matching(`[\x09\x0A\x0D\x20-\x7E\x{A1}-\x{FF}]*`)
	durationShape = wire.Integer(3600, 43200)
	versionID     = must("VersionId", wire.String(0, 0, `v[1-9][0-9]*(\.[A-Za-z0-9-]*)?`))
	tagKeyShape   = wire.String(1, 128, `[\p{L}\p{Z}\p{N}_.:/=+\-@]+`)
	tagValueShape = wire.String(0, 256, `[\p{L}\p{Z}\p{N}_.:/=+\-@]*`)
	tagsShape     = wire.List(wire.Structure(must("Key", tagKeyShape), must("Value", tagValueShape)), 0, 50)
	marker        = may("Marker", wire.String(1, 320, `[\u0020-\u00FF]+`).Matching(`[\x20-\x{FF}]+`))
	maxItems      = may("MaxItems", wire.Integer(1, 1000))
)
