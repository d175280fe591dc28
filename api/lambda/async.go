package lambda

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/functions"
)

func (s *service) asyncOps() []*wire.Operation {
	const at = "/2019-09-25/functions/{FunctionName}/event-invoke-config"
	return []*wire.Operation{
		{Name: "PutFunctionEventInvokeConfig", Method: "PUT", Path: at, Input: asyncInput, Do: s.putAsync},
		{Name: "UpdateFunctionEventInvokeConfig", Method: "POST", Path: at, Input: asyncInput, Do: s.updateAsync},
		{Name: "GetFunctionEventInvokeConfig", Method: "GET", Path: at, Input: readInput, Do: s.getAsync},
		{Name: "DeleteFunctionEventInvokeConfig", Method: "DELETE", Path: at, Status: http.StatusNoContent, Input: readInput, Do: s.deleteAsync},
		{Name: "ListFunctionEventInvokeConfigs", Method: "GET", Path: at + "/list", Input: listAsyncInput, Do: s.listAsync},
	}
}

var asyncInput = wire.Structure(byNamespaced, byQualifier,
	may("MaximumRetryAttempts", wire.Integer(0, 2)),
	may("MaximumEventAgeInSeconds", wire.Integer(60, 21_600)),
	may("DestinationConfig", destinations),
)

// async is how AWS shows settings of invocations nobody waits for.
type async struct {
	LastModified             wire.Time
	FunctionArn              string
	MaximumRetryAttempts     *int `json:",omitempty"`
	MaximumEventAgeInSeconds *int `json:",omitempty"`
	DestinationConfig        asyncDestinations
}

type (
	asyncDestinations struct{ OnSuccess, OnFailure asyncDestination }
	asyncDestination  struct {
		Destination string `json:",omitempty"`
	}
)

func showAsync(c *wire.Call, r ref, a functions.Async) async {
	return async{wire.Time(a.Modified), r.arn(c), a.Retries, a.Age, asyncDestinations{asyncDestination{a.OnSuccess}, asyncDestination{a.OnFailure}}}
}

func noAsync(c *wire.Call, r ref) error {
	return notFound("The function %s doesn't have an EventInvokeConfig", r.arn(c))
}

// asyncOf is what c names, which must exist.
func (s *service) asyncOf(ctx context.Context, c *wire.Call) (ref, error) {
	r, err := function(c)
	if err != nil {
		return r, err
	}
	r.Qualifier = cmp.Or(r.Qualifier, functions.Unpublished)
	if _, err = s.Functions.Resolve(ctx, r.Name, r.Qualifier); err != nil {
		if err = fault(c, r, err); isMissing(err) {
			err = notFound("The function doesn't exist.")
		}
	}
	return r, err
}

func isMissing(err error) bool {
	e, ok := err.(*wire.Error)
	return ok && e.Code == codeNotFound
}

func (s *service) putAsync(ctx context.Context, c *wire.Call) (any, error) {
	return s.setAsync(ctx, c, false)
}

func (s *service) updateAsync(ctx context.Context, c *wire.Call) (any, error) {
	return s.setAsync(ctx, c, true)
}

// setAsync replaces the settings; with keep those that are not given stay, and there must be
// some.
func (s *service) setAsync(ctx context.Context, c *wire.Call, keep bool) (any, error) {
	if !c.In.Has("MaximumRetryAttempts") && !c.In.Has("MaximumEventAgeInSeconds") && !c.In.Has("DestinationConfig") {
		return nil, invalid("You must specify at least one of error handling or destination setting.")
	}
	r, err := s.asyncOf(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := s.checkDestinations(ctx, r, c.In.Map("DestinationConfig")); err != nil {
		return nil, err
	}
	attributes, err := s.Functions.SetAttributes(ctx, r.Name, func(a *functions.Attributes) error {
		var set functions.Async
		if keep {
			old, there := a.Async[r.Qualifier]
			if !there {
				return noAsync(c, r)
			}
			set = old
		}
		number(c.In, "MaximumRetryAttempts", &set.Retries)
		number(c.In, "MaximumEventAgeInSeconds", &set.Age)
		if to := c.In.Map("DestinationConfig"); to != nil {
			take(to.Map("OnSuccess"), "Destination", &set.OnSuccess)
			take(to.Map("OnFailure"), "Destination", &set.OnFailure)
		}
		set.Modified = time.Now().UTC().Truncate(time.Millisecond)
		if a.Async == nil {
			a.Async = map[string]functions.Async{}
		}
		a.Async[r.Qualifier] = set
		return nil
	})
	if err != nil {
		return nil, fault(c, r, err)
	}
	return showAsync(c, r, attributes.Async[r.Qualifier]), nil
}

func number(in wire.Values, name string, to **int) {
	if in.Has(name) {
		n := int(in.Int(name))
		*to = &n
	}
}

// checkDestinations refuses what AWS refuses of where results go: other services, functions
// that are not there, and the function itself.
func (s *service) checkDestinations(ctx context.Context, r ref, to wire.Values) error {
	shown := func(which string) string {
		if d := to.Map(which).String("Destination"); d != "" {
			return which + "(destination=" + d + ")"
		}
		return "null"
	}
	for _, which := range []string{"OnSuccess", "OnFailure"} {
		arn := to.Map(which).String("Destination")
		if arn == "" {
			continue
		}
		parts := strings.SplitN(arn, ":", 7)
		switch {
		case len(parts) == 7 && parts[2] == "lambda" && parts[5] == "function":
			name, _, _ := strings.Cut(parts[6], ":")
			if name == r.Name {
				return invalid("You can't specify the function as a destination for itself.")
			}
			if _, err := s.Functions.Resolve(ctx, name, ""); err != nil {
				return invalid("The destination ARN %s is invalid.", arn)
			}
		case len(parts) > 5 && slices.Contains([]string{"sns", "sqs", "events"}, parts[2]), len(parts) > 5 && parts[2] == "s3" && which == "OnFailure":
		default:
			return invalid("The provided destination config DestinationConfig(onSuccess=%s, onFailure=%s) is invalid.", shown("OnSuccess"), shown("OnFailure"))
		}
	}
	return nil
}

func (s *service) getAsync(ctx context.Context, c *wire.Call) (any, error) {
	r, err := function(c)
	if err != nil {
		return nil, err
	}
	r.Qualifier = cmp.Or(r.Qualifier, functions.Unpublished)
	a, err := s.Functions.Attributes(ctx, r.Name)
	if err != nil {
		if err = fault(c, r, err); isMissing(err) {
			err = noAsync(c, r)
		}
		return nil, err
	}
	set, there := a.Async[r.Qualifier]
	if !there {
		return nil, noAsync(c, r)
	}
	return showAsync(c, r, set), nil
}

func (s *service) deleteAsync(ctx context.Context, c *wire.Call) (any, error) {
	r, err := function(c)
	if err != nil {
		return nil, err
	}
	r.Qualifier = cmp.Or(r.Qualifier, functions.Unpublished)
	_, err = s.Functions.SetAttributes(ctx, r.Name, func(a *functions.Attributes) error {
		if _, there := a.Async[r.Qualifier]; !there {
			return noAsync(c, r)
		}
		delete(a.Async, r.Qualifier)
		return nil
	})
	if err != nil {
		if err = fault(c, r, err); isMissing(err) {
			err = noAsync(c, r)
		}
		return nil, err
	}
	return nil, nil
}

var listAsyncInput = wire.Structure(byNamespaced, marker, query("MaxItems", wire.Integer(1, 50)))

func (s *service) listAsync(ctx context.Context, c *wire.Call) (any, error) {
	r, err := function(c)
	if err != nil {
		return nil, err
	}
	a, err := s.Functions.Attributes(ctx, r.Name)
	if err != nil {
		if err = fault(c, r, err); isMissing(err) {
			err = notFound("The function doesn't exist.")
		}
		return nil, err
	}
	all := []async{}
	for _, qualifier := range slices.Sorted(maps.Keys(a.Async)) {
		all = append(all, showAsync(c, ref{r.Name, qualifier}, a.Async[qualifier]))
	}
	all, next := page(all, func(a async) string { return a.FunctionArn }, c, pageSize)
	return struct {
		NextMarker                 string `json:",omitempty"`
		FunctionEventInvokeConfigs []async
	}{next, all}, nil
}
