// Package wasm runs functions that are WebAssembly modules, by wazero.
//
// An [Engine] checks, rewrites (package runtime/module) and compiles a module
// once; the runtime.Program it hands out starts environments, each with its own
// memory, bounded by the function's memory size. A guest reaches nothing but its
// memory, clocks, random numbers, its environment variables, its log, and what
// Options.Dialer lets it (package runtime/door).
//
// The first environment of a version starts the guest up and freezes it: memory
// and globals become an image. All others are clones, whose memory is the image
// until they write to it, so that they take microseconds and little memory. Going
// back to the image is as quick: after a trap, an exit or a timeout, and after
// every invocation where functions.IsolationInvocation asks for it. A guest whose
// state is in more than memory and globals is started up plainly each time, and
// its environment ends when it breaks.
//
// A guest counts its steps and calls us when they are used up, about every 75
// microseconds: there it is stopped at its deadline, and nowhere else but in the
// host functions, of which poll_oneoff and http are those that wait. docs/abi.md
// says how host and guest talk.
//
// The package knows no process: [Guest] is the layer for whoever runs guests in
// another one.
package wasm

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	goruntime "runtime"
	"slices"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/runtime/module"
	"github.com/wasmill/wasmill/stream"
)

// Options shape an [Engine]. The zero value works.
type Options struct {
	// CacheDir keeps compiled code over restarts. It holds native code, so it is
	// made 0700 and must be trusted. Empty: code is compiled anew each time.
	CacheDir string
	// Workers compile the functions of one module at the same time. Defaults to
	// the number of processors.
	Workers int
	// Account and Region name what the function is told of itself. Default to
	// stream.DefaultAccount and stream.DefaultRegion.
	Account, Region string
	// Keep is how many modules that nobody uses stay compiled in memory, so that
	// code checked at deploy is ready at the first invocation. Defaults to 4.
	Keep int
	// Dialer is the guests' way out. Nil: there is none, and a guest that dials is
	// told so.
	Dialer runtime.Dialer
	// Endpoint is the URL of this server's own API for the guests, their
	// AWS_ENDPOINT_URL; they get credentials that name the function. Empty: none.
	Endpoint string

	// copying makes memories and images as systems have to that cannot reserve the
	// one and map the other copy-on-write.
	copying bool
}

func (o Options) withDefaults() Options {
	o.Workers = cmp.Or(o.Workers, goruntime.NumCPU())
	o.Account = cmp.Or(o.Account, stream.DefaultAccount)
	o.Region = cmp.Or(o.Region, stream.DefaultRegion)
	o.Keep = cmp.Or(o.Keep, 4)
	if o.Dialer == nil {
		o.Dialer = nowhere{}
	}
	return o
}

// Engine compiles modules.
type Engine struct {
	opts    Options
	cache   wazero.CompilationCache
	runtime wazero.Runtime

	mu      sync.Mutex
	modules map[string]*compiled     // by digest
	under   map[string]chan struct{} // digests being compiled; closed when that has ended
	used    uint64                   // counts up, for who was used last
	closed  bool
}

// compiled is one module; programs of the same code share it.
type compiled struct {
	code      wazero.CompiledModule
	abi       functions.ABI
	min       uint64 // bytes of memory it starts with
	segments  []module.Segment
	globals   []string // names of its mutable globals
	start     string   // name of its start function, or empty
	cloneable bool
	refs      int
	used      uint64
}

// NewEngine makes an engine. Close it when its programs are closed.
func NewEngine(ctx context.Context, o Options) (*Engine, error) {
	e := &Engine{opts: o.withDefaults(), modules: map[string]*compiled{}, under: map[string]chan struct{}{}}
	config := wazero.NewRuntimeConfigCompiler()
	if dir := e.opts.CacheDir; dir != "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("wasm: cache: %w", err)
		}
		cache, err := wazero.NewCompilationCacheWithDir(dir)
		if err != nil {
			return nil, fmt.Errorf("wasm: cache: %w", err)
		}
		e.cache = cache
		config = config.WithCompilationCache(cache)
	}
	e.runtime = wazero.NewRuntimeWithConfig(ctx, config)
	if err := offer(ctx, e.runtime); err != nil {
		return nil, errors.Join(fmt.Errorf("wasm: host functions: %w", err), e.Close(ctx))
	}
	return e, nil
}

// Load checks code and compiles it, which takes seconds for code that is not in
// the cache; progress, if not nil, is told about it from this goroutine. Errors
// that wrap functions.ErrCode are the code's fault and say what to change; when ctx
// ends first, the error wraps its cause.
func (e *Engine) Load(ctx context.Context, code []byte, progress func(runtime.Progress)) (runtime.Program, functions.Code, error) {
	if progress == nil {
		progress = func(runtime.Progress) {}
	}
	sum := sha256.Sum256(code)
	info := functions.Code{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(code))}

	c, mine, err := e.take(ctx, info.SHA256)
	if err != nil {
		return nil, info, err
	}
	if mine != nil {
		c, err = e.compile(ctx, info.SHA256, code, progress)
		if err = e.put(info.SHA256, c, err, mine); err != nil {
			return nil, info, err
		}
	}
	info.ABI = c.abi
	return e.program(info.SHA256, c), info, nil
}

func (e *Engine) program(digest string, c *compiled) *program {
	return &program{engine: e, digest: digest, compiled: c, images: map[string]*frozen{}}
}

// Recall is Load for a module that Options.CacheDir keeps, which takes some
// milliseconds and none of its code. It fails if it is not kept, or not whole.
func (e *Engine) Recall(ctx context.Context, digest string) (runtime.Program, error) {
	c, mine, err := e.take(ctx, digest)
	if err != nil {
		return nil, err
	}
	if mine != nil {
		c, err = e.recalled(digest)
		if err = e.put(digest, c, err, mine); err != nil {
			return nil, err
		}
	}
	return e.program(digest, c), nil
}

// Check is Load for code that is not to be run yet.
func (e *Engine) Check(ctx context.Context, code []byte, progress func(runtime.Progress)) (functions.Code, error) {
	p, info, err := e.Load(ctx, code, progress)
	if err != nil {
		return info, err
	}
	return info, p.Close()
}

func (e *Engine) compile(ctx context.Context, digest string, code []byte, progress func(runtime.Progress)) (*compiled, error) {
	size := int64(len(code))
	progress(runtime.Progress{Stage: "check", Total: size})
	refuse := func(err error) error { return fmt.Errorf("%w: %w", functions.ErrCode, err) }
	if size > functions.MaxCode {
		return nil, refuse(fmt.Errorf("%d bytes, at most %d are taken; strip it (-ldflags=-s for Go, strip for others)", size, functions.MaxCode))
	}
	if c, err := e.recalled(digest); err == nil {
		progress(runtime.Progress{Stage: "compile", Done: size, Total: size})
		return c, nil
	}
	w, err := prepare(code, digest)
	if err != nil {
		return nil, refuse(err)
	}
	progress(runtime.Progress{Stage: "check", Done: size, Total: size})

	progress(runtime.Progress{Stage: "compile", Total: size})
	done := make(chan error, 1)
	var c *compiled
	go func() {
		defer func() { // a bug of the compiler must cost this module, not the server
			if p := recover(); p != nil {
				done <- refuse(fmt.Errorf("the compiler failed: %v", p))
			}
		}()
		var err error
		c, err = e.finish(ctx, digest, w)
		done <- err
	}()
	// The compiler tells nothing on its way: the same line again is a sign of life.
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			progress(runtime.Progress{Stage: "compile", Total: size})
			continue
		case err = <-done:
		}
		break
	}
	if err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("wasm: load: %w", context.Cause(ctx)) // who gave up, not the code
	}
	if err != nil {
		return nil, err
	}
	progress(runtime.Progress{Stage: "compile", Done: size, Total: size})
	return c, nil
}

// finish compiles what was prepared, through the cache if there is one.
func (e *Engine) finish(ctx context.Context, digest string, w *prepared) (*compiled, error) {
	if e.cache != nil {
		if err := e.store(ctx, digest, w); err != nil {
			return nil, err
		}
		return e.recalled(digest)
	}
	cm, err := e.runtime.CompileModule(experimental.WithCompilationWorkers(ctx, e.opts.Workers), w.code)
	if err != nil {
		return nil, unfit(err)
	}
	return w.with(cm), nil
}

// take uses a module that is compiled already, waiting for it if it is under
// way. Otherwise the caller is to compile it and put it with the channel it got.
func (e *Engine) take(ctx context.Context, digest string) (*compiled, chan struct{}, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		if e.closed {
			return nil, nil, errClosed
		}
		if c := e.modules[digest]; c != nil {
			e.used++
			c.refs, c.used = c.refs+1, e.used
			return c, nil, nil
		}
		other := e.under[digest]
		if other == nil {
			mine := make(chan struct{})
			e.under[digest] = mine
			return nil, mine, nil
		}
		e.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
		}
		e.mu.Lock()
		if ctx.Err() != nil {
			return nil, nil, fmt.Errorf("wasm: load: %w", context.Cause(ctx))
		}
	}
}

var errClosed = errors.New("wasm: engine closed")

// put ends a compilation, with a module or an error.
func (e *Engine) put(digest string, c *compiled, err error, mine chan struct{}) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.under, digest)
	close(mine)
	if err != nil {
		return err
	}
	if e.closed {
		return errors.Join(errClosed, c.code.Close(context.Background()))
	}
	e.used++
	c.refs, c.used = 1, e.used
	e.modules[digest] = c
	return nil
}

// drop ends one use, and closes what was idle longest beyond Options.Keep.
func (e *Engine) drop(digest string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.modules[digest].refs--
	if e.closed { // all of it is freed at once, or never
		return nil
	}
	var idle []string
	for d, c := range e.modules {
		if c.refs == 0 {
			idle = append(idle, d)
		}
	}
	slices.SortFunc(idle, func(a, b string) int { return cmp.Compare(e.modules[b].used, e.modules[a].used) })
	var errs []error
	for i := e.opts.Keep; i < len(idle); i++ {
		errs = append(errs, e.modules[idle[i]].code.Close(context.Background()))
		delete(e.modules, idle[i])
	}
	return errors.Join(errs...)
}

// Close frees everything. Programs and environments must be closed before: if
// some are not, nothing is freed and the error says so, for to take the code of
// a running guest away would crash the process.
func (e *Engine) Close(ctx context.Context) error {
	e.mu.Lock()
	e.closed = true
	used := 0
	for _, c := range e.modules {
		used += min(c.refs, 1)
	}
	e.mu.Unlock()
	if used > 0 {
		return fmt.Errorf("wasm: close: %d modules are still in use", used)
	}
	errs := []error{e.runtime.Close(ctx)}
	if e.cache != nil {
		errs = append(errs, e.cache.Close(ctx))
	}
	return errors.Join(errs...)
}
