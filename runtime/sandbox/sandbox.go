// Package sandbox runs functions in processes of their own.
//
// An [Engine] is like that of package wasm to look at, but compiles each module in
// one child process, with a limit on time and memory, and runs each version of
// a function in another, which holds its environments. The child is this same binary,
// see [Child]. A guest that does not stop at its deadline is ended with its process a
// quarter of a second later; so is one that makes the process larger than its
// environments may be together.
//
// What happens then to other invocations in that process is our doing and costs them no
// attempt. A version whose process has ended so has one environment a process
// for a while: the next end has one invocation to blame.
//
// Frames go by a socket for each environment; on Linux what is long lies in sealed memory that
// the server and the child both have, written once by the one and copied once by the
// other.
//
// The child has no environment variables, no descriptors but its connections, and,
// on Linux, no way to open files, to connect, to start or see processes. What a guest dials
// the server dials for it (package door) and hands over connected. What of this
// a system does not offer [Engine.Missing] tells.
package sandbox

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	goruntime "runtime"
	"slices"
	"sync"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/runtime/wasm"
	"github.com/wasmill/wasmill/stream"
)

// Options shape an [Engine]. The zero value works.
type Options struct {
	// Options are those of the engine in the child. CacheDir is made 0700; its entries
	// are authenticated, and made anew when they are not as we left them. Empty: code is
	// kept as long as the engine. Keep has no meaning here.
	wasm.Options
	// Command starts a child, with arguments added. Defaults to this binary as it is
	// when the engine is made, whatever lies under its name later.
	Command []string
	// Portable does without what only Linux has, as on other systems.
	Portable bool
	// NoLandlock does without Landlock, as on older kernels.
	NoLandlock bool
	// Logger gets what an operator should know. Defaults to none.
	Logger *slog.Logger

	// linger is how long a child stays that has no environments; waiting is that of a child
	// that never had one.
	linger, waiting time.Duration
	// grace is what a guest has beyond its deadline to stop by itself.
	grace time.Duration
	// compileMemory is the limit of a compile child, in bytes.
	compileMemory int64
}

func (o Options) withDefaults() Options {
	o.Workers = cmp.Or(o.Workers, goruntime.NumCPU())
	o.Account = cmp.Or(o.Account, stream.DefaultAccount)
	o.Region = cmp.Or(o.Region, stream.DefaultRegion)
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	o.linger = cmp.Or(o.linger, 5*time.Second)
	o.waiting = cmp.Or(o.waiting, 60*time.Second)
	o.grace = cmp.Or(o.grace, 250*time.Millisecond)
	o.compileMemory = cmp.Or(o.compileMemory, compileMemory)
	o.Portable = o.Portable || goruntime.GOOS != "linux"
	return o
}

// Engine compiles and runs modules in child processes.
type Engine struct {
	opts    Options
	cache   *cache
	starter *starter
	missing []string
	// compiling has room for one: a compiler uses all cores and much memory.
	compiling chan struct{}

	// life ends with the engine.
	life context.Context
	end  context.CancelFunc
	work sync.WaitGroup // whatever runs in the background

	mu     sync.Mutex
	under  map[string]chan struct{} // digests being made ready; closed when that has ended
	alive  map[*process]struct{}
	told   map[string]bool // protections whose absence was logged
	closed bool
}

var errClosed = errors.New("sandbox: engine closed")

// New makes an engine, which starts no process before it is needed. ctx is only
// for the time of the call.
func New(_ context.Context, o Options) (*Engine, error) {
	e := &Engine{opts: o.withDefaults(), compiling: make(chan struct{}, 1), under: map[string]chan struct{}{},
		alive: map[*process]struct{}{}, told: map[string]bool{}}
	e.life, e.end = context.WithCancel(context.Background())
	var err error
	if e.cache, err = openCache(e.opts.CacheDir); err != nil {
		return nil, err
	}
	if e.starter, err = newStarter(e.opts); err != nil {
		return nil, errors.Join(err, e.cache.close())
	}
	if e.opts.Portable {
		e.missing = []string{"Landlock", "seccomp", "limit on descriptors", "limit on compile memory and time", "memory watchdog", "low priority"}
	} else {
		e.missing = absent(e.opts.NoLandlock)
	}
	for _, m := range e.missing {
		e.told[m] = true
	}
	return e, nil
}

// Missing names the protections that this system lacks, in words for its operator.
func (e *Engine) Missing() []string { return slices.Clone(e.missing) }

// lacks logs what a child could not have and Missing did not foresee, once.
func (e *Engine) lacks(missing []string) {
	for _, m := range missing[:min(len(missing), 32)] {
		e.mu.Lock()
		fresh := !e.told[m] && len(e.told) < 64
		if fresh {
			e.told[m] = true
		}
		e.mu.Unlock()
		if fresh {
			e.opts.Logger.Warn("the sandbox lacks a protection", "protection", m[:min(len(m), 200)])
		}
	}
}

// Load checks code and compiles it, which takes seconds for code that is not in
// the cache; progress, if not nil, is told about it from this goroutine. Errors
// that wrap functions.ErrCode are the code's fault and say what to change; when ctx
// ends first, the error wraps its cause. A child is started ahead of the first
// environment.
func (e *Engine) Load(ctx context.Context, code []byte, progress func(runtime.Progress)) (runtime.Program, functions.Code, error) {
	info, err := e.ready(ctx, code, progress)
	if err != nil {
		return nil, info, err
	}
	p := &program{engine: e, info: info, fleets: map[string]*fleet{}}
	if p.source, err = e.cache.source(info.SHA256); err != nil {
		return nil, info, err
	}
	p.ahead()
	return p, info, nil
}

// Check is Load for code that is not to be run yet.
func (e *Engine) Check(ctx context.Context, code []byte, progress func(runtime.Progress)) (functions.Code, error) {
	return e.ready(ctx, code, progress)
}

func (e *Engine) ready(ctx context.Context, code []byte, progress func(runtime.Progress)) (functions.Code, error) {
	if progress == nil {
		progress = func(runtime.Progress) {}
	}
	sum := sha256.Sum256(code)
	info := functions.Code{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(code))}
	if len(code) > functions.MaxCode {
		return info, fmt.Errorf("%w: %d bytes, at most %d are taken; strip it (-ldflags=-s for Go, strip for others)", functions.ErrCode, len(code), functions.MaxCode)
	}
	return e.ensure(ctx, info, func() ([]byte, error) { return code, nil }, progress)
}

// ensure sees to it that the cache has an entry of a module that is as we left it. It asks
// for the module if it has not.
func (e *Engine) ensure(ctx context.Context, info functions.Code, module func() ([]byte, error), progress func(runtime.Progress)) (functions.Code, error) {
	mine, err := e.alone(ctx, info.SHA256)
	if err != nil {
		return info, err
	}
	defer mine()
	known, err := e.cache.lookup(info.SHA256)
	if err == nil {
		progress(runtime.Progress{Stage: "compile", Done: info.Size, Total: info.Size})
		return known, nil
	}
	if !isAbsent(err) {
		e.opts.Logger.Warn("compiled code in the cache is not as it was left, it is compiled again", "code", info.SHA256, "reason", err)
	}
	code, err := module()
	if err != nil {
		return info, err
	}
	return e.compile(ctx, info, code, progress)
}

// alone waits until nobody else makes that module ready. The caller calls done.
func (e *Engine) alone(ctx context.Context, digest string) (done func(), err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		if e.closed {
			return nil, errClosed
		}
		other := e.under[digest]
		if other == nil {
			mine := make(chan struct{})
			e.under[digest] = mine
			e.work.Add(1)
			return func() {
				defer e.work.Done()
				e.mu.Lock()
				defer e.mu.Unlock()
				delete(e.under, digest)
				close(mine)
			}, nil
		}
		e.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
		}
		e.mu.Lock()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("sandbox: load: %w", context.Cause(ctx))
		}
	}
}

// enrol notes a process, so that Close ends it. False: the engine is closed.
func (e *Engine) enrol(p *process) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	e.alive[p] = struct{}{}
	e.work.Add(1)
	return true
}

func (e *Engine) discharge(p *process) {
	e.mu.Lock()
	delete(e.alive, p)
	e.mu.Unlock()
	e.work.Done()
}

// background runs f unless the engine is closed; Close waits for it.
func (e *Engine) background(f func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	e.work.Go(f)
	return true
}

// Close ends all children and waits for them. Environments that are still in use
// answer Infrastructure.
func (e *Engine) Close(context.Context) error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	var all []*process
	for p := range e.alive {
		all = append(all, p)
	}
	e.mu.Unlock()
	e.end()
	for _, p := range all {
		p.kill(death{reason: ended})
	}
	e.work.Wait()
	return errors.Join(e.starter.close(), e.cache.close())
}
