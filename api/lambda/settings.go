package lambda

import (
	"context"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/functions"
)

// settingOps are the account's, and reads of what functions here never have: tools make
// them of each function.
func (s *service) settingOps() []*wire.Operation {
	const function = "/functions/{FunctionName}"
	return []*wire.Operation{
		{Name: "GetAccountSettings", Method: "GET", Path: "/2016-08-19/account-settings", Do: s.account},
		{Name: "GetFunctionRecursionConfig", Method: "GET", Path: "/2024-08-31" + function + "/recursion-config", Input: wire.Structure(byUnqualified), Do: s.recursion},
		{Name: "PutFunctionRecursionConfig", Method: "PUT", Path: "/2024-08-31" + function + "/recursion-config",
			Input: wire.Structure(byUnqualified, must("RecursiveLoop", wire.Enum("Allow", "Terminate"))), Do: s.setRecursion},
		{Name: "GetRuntimeManagementConfig", Method: "GET", Path: "/2021-07-20" + function + "/runtime-management-config", Input: readInput, Do: s.runtimeManagement},
		{Name: "GetFunctionCodeSigningConfig", Method: "GET", Path: "/2020-06-30" + function + "/code-signing-config", Input: wire.Structure(byNamespaced), Do: s.codeSigning},
		{Name: "GetFunctionUrlConfig", Method: "GET", Path: "/2021-10-31" + function + "/url",
			Input: wire.Structure(byName, query("Qualifier", wire.String(1, 128, `((?!^\d+$)^[0-9a-zA-Z-_]+$)`).Matching(aliasRE))), Do: s.noURL},
		{Name: "ListFunctionUrlConfigs", Method: "GET", Path: "/2021-10-31" + function + "/urls", Input: wire.Structure(byName, marker, query("MaxItems", wire.Integer(1, 50))), Do: s.noURLs},
		{Name: "GetProvisionedConcurrencyConfig", Method: "GET", Path: "/2019-09-30" + function + "/provisioned-concurrency",
			Input: wire.Structure(byName, wire.Member{Name: "Qualifier", In: wire.InQuery, Required: true, Shape: wire.String(1, 128, `(|[a-zA-Z0-9$_-]+)`)}), Do: s.notProvisioned},
		{Name: "ListProvisionedConcurrencyConfigs", Method: "GET", Path: "/2019-09-30" + function + "/provisioned-concurrency?List=ALL",
			Input: wire.Structure(byName, marker, query("MaxItems", wire.Integer(1, 50))), Do: s.noneProvisioned},
		{Name: "ListLayers", Method: "GET", Path: "/2018-10-31/layers", Input: wire.Structure(query("CompatibleRuntime", wire.Enum(runtimes...)), marker,
			query("MaxItems", wire.Integer(1, 50)), query("CompatibleArchitecture", wire.Enum("x86_64", "arm64"))), Do: noLayers},
		{Name: "ListCodeSigningConfigs", Method: "GET", Path: "/2020-04-22/code-signing-configs", Input: wire.Structure(marker, query("MaxItems", wire.Integer(1, 10_000))), Do: noCodeSigning},
	}
}

var byUnqualified = path("FunctionName", wire.String(1, 140, unqualified))

// Sizes of code that AWS allows an account; shown, and not kept to.
const (
	accountCode  = 75 << 30 // bytes of all functions
	unzippedCode = 250 << 20
)

func (s *service) account(ctx context.Context, _ *wire.Call) (any, error) {
	all, err := s.Functions.List(ctx)
	if err != nil {
		return nil, err
	}
	type limit struct {
		TotalCodeSize, CodeSizeUnzipped, CodeSizeZipped      int64
		ConcurrentExecutions, UnreservedConcurrentExecutions int
	}
	type usage struct {
		TotalCodeSize int64
		FunctionCount int
	}
	out := struct {
		AccountLimit limit
		AccountUsage usage
	}{limit{accountCode, unzippedCode, maxPackage, functions.MaxConcurrency, functions.MaxConcurrency}, usage{FunctionCount: len(all)}}
	for _, v := range all {
		if n := v.Config.Concurrency; n != nil {
			out.AccountLimit.UnreservedConcurrentExecutions -= *n
		}
		versions, err := s.Functions.Versions(ctx, v.Function)
		if err != nil {
			continue // it was deleted meanwhile
		}
		for _, v := range versions {
			out.AccountUsage.TotalCodeSize += v.Code.Uploaded().Size
		}
	}
	return out, nil
}

type recursion struct{ RecursiveLoop string }

func (s *service) recursion(ctx context.Context, c *wire.Call) (any, error) {
	r, _, err := s.owner(ctx, c)
	if err != nil {
		return nil, err
	}
	a, err := s.Functions.Attributes(ctx, r.Name)
	if err != nil {
		return nil, fault(c, r, err)
	}
	if a.Recursion == "" {
		a.Recursion = "Terminate"
	}
	return recursion{a.Recursion}, nil
}

func (s *service) setRecursion(ctx context.Context, c *wire.Call) (any, error) {
	r, _, err := s.owner(ctx, c)
	if err != nil {
		return nil, err
	}
	a, err := s.Functions.SetAttributes(ctx, r.Name, func(a *functions.Attributes) error {
		a.Recursion = c.In.String("RecursiveLoop")
		return nil
	})
	if err != nil {
		return nil, fault(c, r, err)
	}
	return recursion{a.Recursion}, nil
}

func (s *service) runtimeManagement(ctx context.Context, c *wire.Call) (any, error) {
	r, v, err := s.find(ctx, c)
	if err != nil {
		return nil, err
	}
	r.Qualifier = v.Version
	return struct{ UpdateRuntimeOn, FunctionArn string }{"Auto", r.arn(c)}, nil
}

func (s *service) codeSigning(ctx context.Context, c *wire.Call) (any, error) {
	r, _, err := s.owner(ctx, c)
	if err != nil {
		return nil, err
	}
	return struct{ FunctionName string }{r.Name}, nil
}

func (s *service) noURL(ctx context.Context, c *wire.Call) (any, error) {
	if _, _, err := s.owner(ctx, c); err != nil {
		return nil, err
	}
	return nil, notFound("The resource you requested does not exist.")
}

func (s *service) noURLs(ctx context.Context, c *wire.Call) (any, error) {
	if _, _, err := s.owner(ctx, c); err != nil {
		return nil, err
	}
	return struct{ FunctionUrlConfigs []string }{[]string{}}, nil
}

func (s *service) notProvisioned(ctx context.Context, c *wire.Call) (any, error) {
	r, _, err := s.owner(ctx, c)
	if err != nil {
		return nil, err
	}
	switch r.Qualifier = c.In.String("Qualifier"); r.Qualifier {
	case functions.Unpublished:
		return nil, invalid("The function resource provided must be an alias or a published version.")
	default:
		if _, err := s.Functions.Resolve(ctx, r.Name, r.Qualifier); err != nil {
			return nil, fault(c, r, err)
		}
	}
	e := wire.Errorf("ProvisionedConcurrencyConfigNotFoundException", "No Provisioned Concurrency Config found for this function")
	e.Status = 404
	return nil, e
}

func (s *service) noneProvisioned(ctx context.Context, c *wire.Call) (any, error) {
	if _, _, err := s.owner(ctx, c); err != nil {
		return nil, err
	}
	return struct{ ProvisionedConcurrencyConfigs []string }{[]string{}}, nil
}

func noLayers(context.Context, *wire.Call) (any, error) {
	return struct{ Layers []string }{[]string{}}, nil
}

func noCodeSigning(context.Context, *wire.Call) (any, error) {
	return struct{ CodeSigningConfigs []string }{[]string{}}, nil
}
