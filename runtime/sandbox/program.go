package sandbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

// program is a module that the cache has compiled.
type program struct {
	engine *Engine
	info   functions.Code
	source *os.File // the module, to compile it again should the cache lose it

	mu     sync.Mutex
	fleets map[string]*fleet // by version
	spare  *process          // started ahead of the first version
	closed bool
}

// fleet is the processes of one version of a function.
type fleet struct {
	program *program
	version functions.Version

	mu    sync.Mutex
	all   []*process // that take environments; one, but for a fleet that is apart
	spare *process   // started ahead: the next one
	// apart: until then each environment has a process of its own, for one that ended
	// could not be laid at one invocation's door.
	apart time.Time
	// deaths in a row, without an invocation answered between them; none is begun
	// before notBefore.
	deaths    int
	notBefore time.Time
}

const (
	// apartFor is how long a version has one environment a process. It is longer
	// than a mapping waits before it sends a batch again.
	apartFor = 10 * time.Minute
	// Restarts wait from the second death in a row on.
	firstPause = 100 * time.Millisecond
	maxPause   = 30 * time.Second
	// maxWait is the longest pause that a start-up sits out; beyond it is refused.
	maxWait = time.Second
	// maxTogether environments share a process.
	maxTogether = 128
)

func limitOf(v functions.Version) uint64 {
	c := v.Config
	c.Memory = cmp.Or(c.Memory, functions.MinMemory)
	return uint64(c.MemoryBytes())
}

// ABI implements runtime.Program.
func (p *program) ABI() functions.ABI { return p.info.ABI }

// ahead starts a process that loads the module while nobody waits for it.
func (p *program) ahead() {
	spare, err := p.launch(p.engine.life)
	if err != nil {
		return // whoever needs one hears why
	}
	p.mu.Lock()
	if !p.closed && p.spare == nil {
		p.spare, spare = spare, nil
	}
	p.mu.Unlock()
	if spare != nil {
		spare.kill(death{reason: ended})
	}
}

// launch starts a process, whose native code the cache has just seen to be ours.
func (p *program) launch(ctx context.Context) (*process, error) {
	again := func() ([]byte, error) { return readSource(p.source, p.info.SHA256) }
	if _, err := p.engine.ensure(ctx, p.info, again, func(runtime.Progress) {}); err != nil {
		return nil, err
	}
	return p.engine.launch(p.info)
}

// fleet is that of a version.
func (p *program) fleet(v functions.Version) (*fleet, error) {
	key := fmt.Sprintf("%q %q %q %d %v", v.Function, v.Version, v.ID, v.Revision, v.Config)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errors.New("sandbox: program closed")
	}
	f := p.fleets[key]
	if f == nil {
		f = &fleet{program: p, version: v, spare: p.spare}
		p.spare = nil
		p.fleets[key] = f
	}
	return f, nil
}

// New starts an environment, in the process of its version as long as nothing
// speaks against that.
func (p *program) New(ctx context.Context, v functions.Version, logs runtime.LogWriter) (runtime.Environment, error) {
	f, err := p.fleet(v)
	if err != nil {
		return nil, err
	}
	child, err := f.place(ctx)
	if err != nil {
		return nil, err
	}
	e, err := child.open(ctx, v, logs, false)
	if err != nil {
		return nil, err
	}
	return e, nil
}

// Close ends the processes. Environments must be closed before.
func (p *program) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	all := []*process{p.spare}
	for _, f := range p.fleets {
		f.mu.Lock()
		all = append(append(all, f.all...), f.spare)
		f.mu.Unlock()
	}
	p.spare, p.fleets = nil, nil
	p.mu.Unlock()
	for _, c := range all {
		if c != nil {
			c.kill(death{reason: ended})
		}
	}
	return p.source.Close()
}

// place finds or starts a process that is ready, with a place claimed in it.
func (f *fleet) place(ctx context.Context) (*process, error) {
	for {
		if err := f.pause(ctx); err != nil {
			return nil, err
		}
		c, err := f.pick(ctx)
		if err != nil {
			return nil, err
		}
		if !c.claim(f, f.version, false) {
			continue // it has just ended
		}
		select {
		case <-c.ready:
		case <-c.gone:
		case <-ctx.Done():
			c.unclaim(nil)
			return nil, fmt.Errorf("sandbox: starting a process: %w", context.Cause(ctx))
		}
		c.mu.Lock()
		err = c.err
		c.mu.Unlock()
		if err != nil {
			c.unclaim(nil)
			c.kill(death{reason: ended})
			return nil, err
		}
		return c, nil
	}
}

// pause waits while the version's processes end one after the other.
func (f *fleet) pause(ctx context.Context) error {
	f.mu.Lock()
	wait, deaths := time.Until(f.notBefore), f.deaths
	f.mu.Unlock()
	switch {
	case wait <= 0:
		return nil
	case wait > maxWait:
		return fmt.Errorf("sandbox: the processes of %s have ended %d times in a row, the next starts in %v", f.version.Function, deaths, wait.Round(100*time.Millisecond))
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("sandbox: starting a process: %w", context.Cause(ctx))
	}
}

// pick is the process that the next environment goes to, started if need be.
func (f *fleet) pick(ctx context.Context) (*process, error) {
	f.mu.Lock()
	apart := time.Now().Before(f.apart)
	// One that ended before it had an environment is nobody's to report.
	f.all = slices.DeleteFunc(f.all, func(c *process) bool { return !c.alive() })
	for _, c := range f.all {
		if !apart && c.room() {
			f.mu.Unlock()
			return c, nil
		}
	}
	c := f.spare
	f.spare = nil
	if c != nil && c.alive() {
		f.all = append(f.all, c)
		f.mu.Unlock()
		if apart {
			f.refill()
		}
		return c, nil
	}
	f.mu.Unlock()
	c, err := f.program.launch(ctx)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	f.all = append(f.all, c)
	f.mu.Unlock()
	if apart {
		f.refill()
	}
	return c, nil
}

// refill starts the next process in the background.
func (f *fleet) refill() {
	f.program.engine.background(func() {
		if f.pause(f.program.engine.life) != nil {
			return
		}
		c, err := f.program.launch(f.program.engine.life)
		if err != nil {
			return // whoever needs one hears why
		}
		f.program.mu.Lock()
		closed := f.program.closed
		f.program.mu.Unlock()
		f.mu.Lock()
		if f.spare == nil && !closed {
			f.spare, c = c, nil
		}
		f.mu.Unlock()
		if c != nil {
			c.kill(death{reason: ended})
			return
		}
		f.warm()
	})
}

// warm has the spare start the guest up once, so that the first environment in it is a
// clone. A guest that does not start says so when somebody needs it.
func (f *fleet) warm() {
	f.mu.Lock()
	c := f.spare
	f.mu.Unlock()
	if c == nil || !c.claim(f, f.version, true) {
		return
	}
	ctx, cancel := context.WithTimeout(f.program.engine.life, 10*time.Second)
	defer cancel()
	select {
	case <-c.ready:
	case <-c.gone:
	case <-ctx.Done():
	}
	c.mu.Lock()
	err := c.err
	c.mu.Unlock()
	if err != nil || ctx.Err() != nil {
		c.unclaim(nil)
		return
	}
	if e, err := c.open(ctx, f.version, nil, true); err == nil {
		_ = e.Close() // never fails
	}
}

// lost takes a process that has ended out of the fleet. It tells whether the version is
// suspected: then an end with one invocation in it is that one's doing.
func (f *fleet) lost(c *process, d death, busy int) (suspect bool) {
	f.mu.Lock()
	for i, other := range f.all {
		if other == c {
			f.all = append(f.all[:i:i], f.all[i+1:]...)
			break
		}
	}
	if f.spare == c {
		f.spare = nil
	}
	now := time.Now()
	suspect = now.Before(f.apart)
	again := d.reason != ended
	if again {
		if busy > 0 {
			f.apart = now.Add(apartFor)
		}
		f.deaths++
		if f.deaths > 1 {
			f.notBefore = now.Add(min(maxPause, firstPause<<min(f.deaths-2, 16)))
		}
	}
	f.mu.Unlock()
	if again && busy > 0 {
		f.refill()
	}
	return suspect
}

// answered: an invocation came to an end, so the version is not one that always dies.
func (f *fleet) answered() {
	f.mu.Lock()
	f.deaths, f.notBefore = 0, time.Time{}
	f.mu.Unlock()
}

// room says whether another environment may share the process.
func (p *process) room() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.dying && p.claims < maxTogether
}

func (p *process) alive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.dying
}

func isAbsent(err error) bool { return errors.Is(err, fs.ErrNotExist) }
