package build

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wasmill/wasmill/functions"
)

// The module that is exchanged in part, and its packages.
const (
	lambdaModule  = "github.com/aws/aws-lambda-go"
	lambdaPackage = lambdaModule + "/lambda"
	eventsPackage = lambdaModule + "/events"
	tracePackage  = lambdaPackage + "/handlertrace"
)

// listed is a package as the Go command lists it.
type listed struct {
	Name, ImportPath, Dir string
	Standard, DepOnly     bool
	GoFiles               []string
	Imports, Deps         []string
	Module                *struct {
		Path, Version, Dir string
		Main               bool
		Replace            *struct{ Path, Version, Dir string }
	}
}

const listedFields = "-json=Name,ImportPath,Dir,Standard,DepOnly,GoFiles,Imports,Deps,Module"

// project is a function's package main with all it imports.
type project struct {
	g        *toolchain
	main     *listed
	packages map[string]*listed
	lambda   *listed // nil: not a Lambda function
	vendored bool
}

// project finds the package to build in the toolchain's directory.
func (g *toolchain) project(ctx context.Context) (*project, error) {
	found, err := g.list(ctx, "-deps", ".")
	if err != nil || found[len(found)-1].Name != "main" {
		at, err := g.findMain(ctx, err)
		if err != nil {
			return nil, err
		}
		g.dir = at
		g.env = append(g.env, "PWD="+at)
		if found, err = g.list(ctx, "-deps", "."); err != nil {
			return nil, fmt.Errorf("%w: %w%s", ErrProject, err, hint(err.Error()))
		}
	}
	p := &project{g: g, packages: make(map[string]*listed, len(found))}
	for _, l := range found {
		p.packages[l.ImportPath] = l
		if !l.DepOnly {
			p.main = l
		}
	}
	p.lambda = p.packages[lambdaPackage]
	if p.lambda != nil {
		vendor := filepath.Join(g.root(), "vendor") + string(filepath.Separator)
		p.vendored = strings.HasPrefix(p.lambda.Dir, vendor)
	}
	return p, nil
}

// list runs go list. The package asked for comes last with -deps.
func (g *toolchain) list(ctx context.Context, args ...string) ([]*listed, error) {
	out, err := g.run(ctx, append(append([]string{"list", listedFields}, g.mod...), args...)...)
	if err != nil {
		return nil, err
	}
	var found []*listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		l := new(listed)
		if err := d.Decode(l); err == io.EOF {
			break
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		found = append(found, l)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("go list: no package in %s", g.dir)
	}
	return found, nil
}

// findMain looks for the one package main below a directory that is none itself:
// the one that uses aws-lambda-go, if there are several. The reason is why the
// directory itself could not be listed, if it could not.
func (g *toolchain) findMain(ctx context.Context, reason error) (string, error) {
	all, err := g.list(ctx, "-e", "./...")
	if err != nil {
		err = cmp.Or(reason, err)
		return "", fmt.Errorf("%w: %w%s", ErrProject, err, hint(err.Error()))
	}
	var mains, lambdas []*listed
	for _, l := range all {
		if l.Name != "main" {
			continue
		}
		if l.Dir == g.dir && reason != nil { // it is here, and has a fault
			return "", fmt.Errorf("%w: %w%s", ErrProject, reason, hint(reason.Error()))
		}
		mains = append(mains, l)
		if slices.Contains(l.Deps, lambdaPackage) {
			lambdas = append(lambdas, l)
		}
	}
	choice := mains
	if len(lambdas) > 0 {
		choice = lambdas
	}
	switch len(choice) {
	case 0:
		if reason != nil && !strings.Contains(reason.Error(), "no Go files") {
			return "", fmt.Errorf("%w: %w%s", ErrProject, reason, hint(reason.Error()))
		}
		return "", fmt.Errorf("%w: there is no package main in %s or below it", ErrProject, g.dir)
	case 1:
		return choice[0].Dir, nil
	}
	names := make([]string, len(choice))
	for i, l := range choice {
		names[i] = l.Dir
		if rel, err := filepath.Rel(g.dir, l.Dir); err == nil {
			names[i] = rel
		}
	}
	return "", fmt.Errorf("%w: %s holds %d functions: build one of %s", ErrProject, g.dir, len(names), strings.Join(names, ", "))
}

// abi is the grade that the module will have.
func (p *project) abi() functions.ABI {
	switch {
	case p.lambda == nil:
		return functions.ABICommand
	case p.packages[eventsPackage] != nil:
		return functions.ABIBatch
	}
	return functions.ABIJSON
}

func (p *project) lambdaVersion() string {
	m := p.lambda.Module
	switch {
	case m == nil:
		return "(unknown version)"
	case m.Replace != nil && m.Replace.Version == "":
		return cmp.Or(m.Version, "(devel)") + " from " + m.Replace.Path
	case m.Replace != nil:
		return m.Replace.Path + " " + m.Replace.Version
	}
	return cmp.Or(m.Version, "(devel)")
}
