package lambda

import (
	"context"
	"errors"
	"net/http"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/functions"
)

func (s *service) concurrencyOps() []*wire.Operation {
	const at = "/2017-10-31/functions/{FunctionName}/concurrency"
	return []*wire.Operation{
		{Name: "PutFunctionConcurrency", Method: "PUT", Path: at, Input: wire.Structure(byName, must("ReservedConcurrentExecutions", wire.Integer(0))), Do: s.putConcurrency},
		{Name: "DeleteFunctionConcurrency", Method: "DELETE", Path: at, Status: http.StatusNoContent, Input: wire.Structure(byName), Do: s.deleteConcurrency},
		{Name: "GetFunctionConcurrency", Method: "GET", Path: "/2019-09-30/functions/{FunctionName}/concurrency", Input: wire.Structure(byName), Do: s.getConcurrency},
	}
}

type reserved struct {
	ReservedConcurrentExecutions *int `json:",omitempty"`
}

// unqualified is the function that c names, which has no qualifier.
func (s *service) unqualified(ctx context.Context, c *wire.Call) (ref, functions.Version, error) {
	r, err := function(c)
	if err == nil && r.Qualifier != "" {
		err = invalid("This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. Please specify either a function name or an unqualified function ARN.")
	}
	if err != nil {
		return r, functions.Version{}, err
	}
	return s.owner(ctx, c)
}

func (s *service) putConcurrency(ctx context.Context, c *wire.Call) (any, error) {
	n := int(c.In.Int("ReservedConcurrentExecutions"))
	return s.reserve(ctx, c, &n)
}

func (s *service) deleteConcurrency(ctx context.Context, c *wire.Call) (any, error) {
	_, err := s.reserve(ctx, c, nil)
	return nil, err
}

func (s *service) reserve(ctx context.Context, c *wire.Call, n *int) (any, error) {
	r, _, err := s.unqualified(ctx, c)
	if err != nil {
		return nil, err
	}
	_, _, err = s.Functions.UpdateConfig(ctx, r.Name, "", func(config *functions.Config) error {
		config.Concurrency = n
		return nil
	})
	if errors.Is(err, functions.ErrInvalid) {
		return nil, invalid("Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [%d].", functions.MinUnreserved)
	}
	if err != nil {
		return nil, fault(c, r, err)
	}
	return reserved{n}, nil
}

func (s *service) getConcurrency(ctx context.Context, c *wire.Call) (any, error) {
	_, v, err := s.unqualified(ctx, c)
	if err != nil {
		return nil, err
	}
	return reserved{v.Config.Concurrency}, nil
}
