package wasm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

// program is a use of a compiled module.
type program struct {
	engine *Engine
	digest string
	*compiled
	once sync.Once

	mu     sync.Mutex
	images map[string]*frozen // by what a start-up can see
}

// frozen is an image, or one that is being made.
type frozen struct {
	done  chan struct{} // closed when image or err is there
	image *image
	err   error
}

func (p *program) ABI() functions.ABI { return p.abi }

func (p *program) Close() (err error) {
	p.once.Do(func() {
		p.mu.Lock()
		for _, f := range p.images {
			if f.image != nil {
				f.image.close()
			}
		}
		p.images = nil
		p.mu.Unlock()
		err = p.engine.drop(p.digest)
	})
	return err
}

// New starts an environment, ready to be invoked. The first of a version starts
// the guest up, others that come meanwhile wait for it and are its clones.
func (p *program) New(ctx context.Context, v functions.Version, logs runtime.LogWriter) (runtime.Environment, error) {
	if limit := limit(v); p.min > limit {
		return nil, &runtime.InitError{Outcome: runtime.FunctionError, Type: runtime.TypeOutOfMemory,
			Message: fmt.Sprintf("Runtime exited with error: out of memory: the module starts with %d MB, the function may have %d MB; raise its memory", (p.min+1<<20-1)>>20, limit>>20)}
	}
	e := p.environment(v, logs)
	if err := p.ready(ctx, e); err != nil {
		_ = e.Close() // why it did not start is what matters
		return nil, err
	}
	return e, nil
}

// ready gives e an instance that has started up.
func (p *program) ready(ctx context.Context, e *environment) error {
	if !p.cloneable {
		return e.boot(ctx)
	}
	key, began := e.key(), time.Now()
	for {
		f, mine, err := p.image(key)
		if err != nil {
			return err
		}
		if mine {
			f.err = e.boot(ctx)
			if f.err == nil {
				f.image = e.freeze()
				e.image, e.seed = f.image, true
			}
			p.settle(key, f)
			return f.err
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return refusal(stopped(ctx, allowed(ctx, began)))
		}
		if f.err == nil {
			return e.clone(ctx, f.image)
		}
		// Whoever waited for a start-up that its own function broke has seen it
		// break; one that ended for another's reasons says nothing.
		if _, its := errors.AsType[*runtime.InitError](f.err); its {
			return f.err
		}
	}
}

// image is the one by that key, which the caller is to make if it is mine.
func (p *program) image(key string) (f *frozen, mine bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.images == nil {
		return nil, false, errors.New("wasm: program closed")
	}
	f = p.images[key]
	if f == nil {
		f, mine = &frozen{done: make(chan struct{})}, true
		p.images[key] = f
	}
	return f, mine, nil
}

// settle makes f known, which is not kept if it failed.
func (p *program) settle(key string, f *frozen) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(f.done)
	if f.err != nil {
		delete(p.images, key)
	} else if p.images == nil { // closed meanwhile
		f.image.close()
	}
}

// key tells apart what a start-up can see, or reach by what it may dial.
func (e *environment) key() string {
	v := e.version
	return fmt.Sprintf("%q %q %q %d %d %q", v.Function, v.Version, v.ID, v.Revision, limit(v), e.variable)
}

// variables are what the guest sees as its environment. The function's own win,
// but for the names that AWS reserves.
func (p *program) variables(v functions.Version) [][2]string {
	o := p.engine.opts
	reserved := [][2]string{
		{"AWS_LAMBDA_FUNCTION_NAME", v.Function},
		{"AWS_LAMBDA_FUNCTION_VERSION", v.Version},
		{"AWS_LAMBDA_FUNCTION_MEMORY_SIZE", fmt.Sprint(cmp.Or(v.Config.Memory, functions.MinMemory))},
		{"AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/" + v.Function},
		{"AWS_LAMBDA_LOG_STREAM_NAME", "[" + v.Version + "]"},
		{"AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"},
		{"AWS_EXECUTION_ENV", "wasmill"},
		{"AWS_REGION", o.Region},
		{"AWS_DEFAULT_REGION", o.Region},
		{"_HANDLER", "bootstrap"},
	}
	all := map[string]string{
		"TZ": ":UTC",
		// Go's collector must know the limit: else live memory of half of it is
		// enough to run into it. Others do not look.
		"GOMEMLIMIT": fmt.Sprint(limit(v) / 10 * 8),
	}
	if o.Endpoint != "" {
		all["AWS_ENDPOINT_URL"] = o.Endpoint
		reserved = append(reserved, [][2]string{
			{"AWS_ACCESS_KEY_ID", "wasmill-" + v.Function},
			{"AWS_SECRET_ACCESS_KEY", "wasmill"},
			{"AWS_SESSION_TOKEN", v.ARN(o.Account, o.Region)},
		}...)
	}
	for k, v := range v.Config.Environment {
		if k != "" && !strings.ContainsAny(k, "=\x00") && !strings.Contains(v, "\x00") {
			all[k] = v
		}
	}
	for _, kv := range reserved {
		all[kv[0]] = kv[1]
	}
	names := make([]string, 0, len(all))
	for k := range all {
		names = append(names, k)
	}
	slices.Sort(names) // the same start-up every time
	out := make([][2]string, len(names))
	for i, k := range names {
		out[i] = [2]string{k, all[k]}
	}
	return out
}
