// Package lambda answers AWS's Lambda API (2015-03-31) from the functions and the triggers
// of this server.
//
// Functions are one set for all accounts and regions: whoever asks sees them under its own.
// What AWS checks before it looks at a function stands in a table beside each handler;
// [wire] reads input by it. Texts of errors are AWS's own where they have been recorded.
// AWS error codes exist here and nowhere below.
package lambda

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream"
)

//go:generate go test -count=1 -run PageIsUpToDate$ . -write

// Functions is what the service needs of the registry; *store.Store has it.
type Functions interface {
	// Version is that of a number, of $LATEST ("" too) or of an alias, which may choose
	// one of two by chance; Resolve is the same without chance. ErrNotFound otherwise.
	Version(ctx context.Context, name, qualifier string) (functions.Version, error)
	Resolve(ctx context.Context, name, qualifier string) (functions.Version, error)
	Versions(ctx context.Context, name string) ([]functions.Version, error)
	List(ctx context.Context) ([]functions.Version, error)
	// Submit makes a function, which is Pending until its code is compiled, and SubmitCode
	// gives it other code.
	Submit(ctx context.Context, name string, up functions.Upload, c functions.Config, a functions.Attributes, o functions.Change) (functions.Version, []string, error)
	SubmitCode(ctx context.Context, name string, up functions.Upload, o functions.Change) (functions.Version, error)
	UpdateConfig(ctx context.Context, name, revisionID string, edit func(*functions.Config) error) (functions.Version, []string, error)
	Attributes(ctx context.Context, name string) (functions.Attributes, error)
	SetAttributes(ctx context.Context, name string, edit func(*functions.Attributes) error) (functions.Attributes, error)
	// Edit changes both configuration and attributes, or neither.
	Edit(ctx context.Context, name string, edit func(*functions.Config, *functions.Attributes) error) (functions.Version, error)
	Publish(ctx context.Context, name string, p functions.Publication) (functions.Version, error)
	DeleteVersion(ctx context.Context, name, version string) error
	Delete(ctx context.Context, name string) error
}

// Streams is what mappings need of streams; *natsstream.Store has it.
type Streams interface {
	Describe(ctx context.Context, ref stream.Ref) (stream.Description, error)
}

// Objects is the S3 endpoint, where code is read from that a client names by bucket and
// key; *s3.Client is one.
type Objects interface {
	// Get reads an object of at most limit bytes; version may be empty.
	Get(ctx context.Context, bucket, key, version string, limit int64) ([]byte, error)
}

// Deps are what the service stands on.
type Deps struct {
	Functions Functions       // required
	Invoker   runtime.Invoker // required
	Mappings  Mappings        // required
	Streams   Streams         // required
	Objects   Objects         // required
	// Endpoint is this server's URL, without a slash at its end: code is downloaded from it,
	// by the name by which a caller has reached it.
	Endpoint string
	// Inner is the face that functions see: they may read and invoke, no more.
	Inner bool
	// Logger gets what clients are not told. Defaults to slog's default.
	Logger *slog.Logger
}

// service holds what operations share.
type service struct {
	Deps
	unpacking chan struct{} // a token for each upload that is in memory unpacked
}

// New makes the service.
func New(d Deps) *wire.Service {
	if d.Logger == nil {
		d.Logger = slog.Default()
	}
	s := &service{Deps: d, unpacking: make(chan struct{}, uploadsAtOnce)}
	return &wire.Service{
		Name: "lambda", Target: "AWSGirApiService", Signing: "lambda", REST: true,
		Ops: s.guarded(slices.Concat(s.functionOps(), s.versionOps(), s.aliasOps(), s.concurrencyOps(), s.policyOps(), s.asyncOps(),
			s.tagOps(), s.invokeOps(), s.settingOps(), s.mappingOps(), refusedOps())),
	}
}

// guarded refuses what functions may not do, if the service is that of functions.
func (s *service) guarded(ops []*wire.Operation) []*wire.Operation {
	if !s.Inner {
		return ops
	}
	for _, op := range ops {
		if op.Name == "Invoke" || strings.HasPrefix(op.Name, "Get") || strings.HasPrefix(op.Name, "List") {
			continue
		}
		op.Do = func(_ context.Context, c *wire.Call) (any, error) {
			return nil, &wire.Error{Code: codeAccessDenied, Status: http.StatusForbidden, Message: "Functions of this server may not call " + c.Operation.Name + ": of Lambda they may call Invoke, and what begins with Get and List."}
		}
	}
	return ops
}

// ref is what a request names: a function, and a version or alias of it ("" is none).
type ref struct{ Name, Qualifier string }

// arn is the name of r as c's caller sees it, qualified as r is.
func (r ref) arn(c *wire.Call) string {
	arn := "arn:aws:lambda:" + c.Region + ":" + c.Account + ":function:" + r.Name
	if r.Qualifier != "" {
		arn += ":" + r.Qualifier
	}
	return arn
}

// namedPattern is the pattern of names that may be of anyone's functions (botocore 1.43.11,
// NamespacedFunctionName), namePattern that of one's own (FunctionName).
const (
	arnHead          = `(arn:(aws[a-zA-Z-]*)?:lambda:)?([a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?`
	namespacePattern = arnHead + `([a-zA-Z0-9-_\.]+)(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?`
	namePattern      = arnHead + `([a-zA-Z0-9-_]+)(:(\$LATEST|[a-zA-Z0-9-_]+))?`
	unqualified      = arnHead + `([a-zA-Z0-9-_]+)`
	qualifierPattern = `\$(LATEST(\.PUBLISHED)?)|[a-zA-Z0-9-_$]+`
)

// parseFunction takes apart a function's name that a table let through: a name, a part of
// an ARN or a whole one, each with a qualifier or without; qualifier is what the request
// says beside it. What belongs to other accounts and regions is refused.
//
// The pattern leaves open whether "my-fn-1:live" is a name with a qualifier or a region with a
// name; as AWS documents no names of the second kind, it is the first.
func parseFunction(c *wire.Call, name, qualifier string) (ref, error) {
	parts := strings.Split(name, ":")
	region, account := "", ""
	if parts[0] == "arn" && len(parts) > 3 {
		parts = parts[3:]
	}
	if len(parts) > 2 && regionName(parts[0]) {
		region, parts = parts[0], parts[1:]
	}
	if (len(parts) > 2 || region != "" && len(parts) > 1) && accountID(parts[0]) {
		account, parts = parts[0], parts[1:]
	}
	if len(parts) > 1 && parts[0] == "function" {
		parts = parts[1:]
	}
	r := ref{Name: parts[0], Qualifier: qualifier}
	if len(parts) > 1 {
		if qualifier != "" && parts[1] != qualifier {
			return ref{}, invalid("The derived qualifier from the function name does not match the specified qualifier.")
		}
		r.Qualifier = parts[1]
	}
	switch {
	case account != "" && account != c.Account:
		return ref{}, notAuthorized(c, name)
	case region != "" && region != c.Region:
		return ref{}, notFound("Functions from '%s' are not reachable in this region ('%s')", region, c.Region)
	}
	return r, nil
}

func regionName(s string) bool {
	return len(s) > 5 && s[2] == '-' && '0' <= s[len(s)-1] && s[len(s)-1] <= '9'
}

func accountID(s string) bool {
	return len(s) == 12 && strings.Trim(s, "0123456789") == ""
}

// function is the function that c names in its members FunctionName and Qualifier.
func function(c *wire.Call) (ref, error) {
	return parseFunction(c, c.In.String("FunctionName"), c.In.String("Qualifier"))
}

// AWS's codes.
const (
	codeInvalid      = "InvalidParameterValueException"
	codeNotFound     = "ResourceNotFoundException"
	codeConflict     = "ResourceConflictException"
	codeInUse        = "ResourceInUseException"
	codeStale        = "PreconditionFailedException"
	codeValidation   = "ValidationException"
	codeAccessDenied = "AccessDeniedException"
	codeService      = "ServiceException"
)

func invalid(format string, args ...any) *wire.Error {
	return wire.Errorf(codeInvalid, format, args...)
}

// violated is a constraint of a table that the table cannot say, in the words of one.
func violated(format string, args ...any) *wire.Error {
	e := wire.Errorf(codeValidation, "1 validation error detected: "+format, args...)
	e.Bare = true
	return e
}

func notFound(format string, args ...any) *wire.Error {
	e := wire.Errorf(codeNotFound, format, args...)
	e.Status, e.Capital = http.StatusNotFound, true
	return e
}

func noFunction(c *wire.Call, r ref) *wire.Error { return notFound("Function not found: %s", r.arn(c)) }

func conflict(format string, args ...any) *wire.Error {
	e := wire.Errorf(codeConflict, format, args...)
	e.Status = http.StatusConflict
	return e
}

// stale says that somebody was faster. It has AWS's spelling of the day, two words.
func stale(read string) *wire.Error {
	e := wire.Errorf(codeStale, "The Revision Id provided does not match the latest Revision Id. Call the %s API to retrieve the latest Revision Id", read)
	e.Status = http.StatusPreconditionFailed
	return e
}

// inUse is what AWS says of a mapping that is changing.
func inUse(format string, args ...any) *wire.Error {
	e := wire.Errorf(codeInUse, format, args...)
	e.Capital = true
	return e
}

// failed is an error that is ours. Of err clients are told nothing: it is logged.
func failed(err error, text string) *wire.Error {
	return &wire.Error{Code: codeService, Status: http.StatusInternalServerError, Message: text, Capital: true, Cause: err}
}

func notAuthorized(c *wire.Call, resource string) *wire.Error {
	action := "lambda:" + c.Operation.Name
	e := wire.Errorf(codeAccessDenied, "User: arn:aws:iam::%s:root is not authorized to perform: %s on resource: %s because no resource-based policy allows the %s action", c.Account, action, resource, action)
	e.Status, e.Capital, e.Bare = http.StatusForbidden, true, true
	return e
}

// fault turns an error of the registry about r into AWS's. What is AWS's already, the end
// of the call and what nobody expected stay as they are.
func fault(c *wire.Call, r ref, err error) error {
	if _, ok := errors.AsType[*wire.Error](err); ok {
		return err
	}
	switch {
	case errors.Is(err, functions.ErrNotFound):
		return noFunction(c, r)
	case errors.Is(err, functions.ErrExists):
		return conflict("Function already exist: %s", r.Name)
	case errors.Is(err, functions.ErrBusy):
		return conflict("The operation cannot be performed at this time. An update is in progress for resource: %s", ref{Name: r.Name}.arn(c))
	case errors.Is(err, functions.ErrRevision):
		return stale("GetFunction/GetAlias")
	case errors.Is(err, functions.ErrInvalid):
		return invalid("%s", plain(err, functions.ErrInvalid))
	case errors.Is(err, functions.ErrCode):
		return invalid("%s", plain(err, functions.ErrCode))
	}
	return err
}

// refusedOf is fault of a change of v. AWS tells a function that was never ready from one
// that has been.
func refusedOf(c *wire.Call, v functions.Version, err error) error {
	if errors.Is(err, functions.ErrBusy) && (v.State == functions.Pending || v.State == functions.Failed) {
		return notActive(v)
	}
	return fault(c, ref{Name: v.Function}, err)
}

func notActive(v functions.Version) error {
	return conflict("The operation cannot be performed at this time. The function is currently in the following state: %s", v.State)
}

// plain is an error's text without the name of its sentinel, in one line.
func plain(err, sentinel error) string {
	return strings.ReplaceAll(strings.ReplaceAll(err.Error(), sentinel.Error()+": ", ""), "\n", "; ")
}

// must, may, path and query are members of operations' tables.
func must(name string, shape *wire.Shape) wire.Member {
	return wire.Member{Name: name, Shape: shape, Required: true}
}

func may(name string, shape *wire.Shape) wire.Member { return wire.Member{Name: name, Shape: shape} }

func path(name string, shape *wire.Shape) wire.Member {
	return wire.Member{Name: name, Shape: shape, Required: true, In: wire.InPath}
}

func query(name string, shape *wire.Shape) wire.Member {
	return wire.Member{Name: name, Shape: shape, In: wire.InQuery}
}

// Members of many operations.
var (
	byName       = path("FunctionName", wire.String(1, 140, namePattern))
	byNamespaced = path("FunctionName", wire.String(1, 256, namespacePattern))
	byQualifier  = query("Qualifier", wire.String(1, 128, qualifierPattern))
	marker       = query("Marker", wire.String(0, 0, ""))
	revision     = may("RevisionId", wire.String(0, 0, ""))
)

// page is one page of a list, and the marker of the next ("" at the end). Markers are the key
// of the last element shown; key must grow along the list.
func page[T any](list []T, key func(T) string, c *wire.Call, most int) ([]T, string) {
	if after := c.In.String("Marker"); after != "" {
		i, found := slices.BinarySearchFunc(list, after, func(e T, after string) int { return strings.Compare(key(e), after) })
		if found {
			i++
		}
		list = list[i:]
	}
	n := most
	if asked := int(c.In.Int("MaxItems")); asked > 0 {
		n = min(asked, most)
	}
	if len(list) <= n {
		return list, ""
	}
	return list[:n], key(list[n-1])
}
