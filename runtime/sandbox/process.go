package sandbox

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os/exec"
	goruntime "runtime"
	"strings"
	"sync"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

// reason is why a child ended.
type reason uint8

const (
	itself  reason = iota // nobody here ended it
	ended                 // it was not needed any more
	late                  // a guest did not stop at its deadline
	dropped               // a guest did not stop when its invocation was given up
	swollen               // it had more memory than its environments may have
	lied                  // it broke the protocol
)

// death is how a child ended.
type death struct {
	reason reason
	by     *environment // late, dropped: whose guest
	text   string       // itself, swollen, lied: for people
	memory bool         // itself: it ran out of memory
	killed bool         // itself: by SIGKILL, so by somebody else
}

// process is a child that holds environments of one version, seen from the server.
type process struct {
	engine *Engine
	dir    string
	code   functions.Code

	cmd    *exec.Cmd
	ctl    *control
	stderr head
	slack  int64 // for what the module takes, read and compiled

	ready  chan struct{} // closed when it has loaded the module, or err is set
	err    error
	report loadReport
	gone   chan struct{} // closed when it has ended; death and verdicts are set then

	mu       sync.Mutex
	version  functions.Version // whose dialling it asks for
	fleet    *fleet            // nil until it is somebody's
	envs     map[*environment]struct{}
	last     uint32 // environment's number
	used     bool   // has an environment, or had one, that somebody asked for
	claims   int    // environments on their way
	dying    bool   // it is ended, or about to be
	over     bool   // it has ended
	cause    death
	verdicts map[*environment]*runtime.InitError
	idle     *time.Timer

	asking chan struct{} // has room for as many questions as may be open
}

// Memory that a child may have beside what its guests have: the Go runtime, native
// code, stacks of deep recursion (wazero lets one guest have 400 MB), tables.
const (
	baseMemory   = 512 << 20
	memoryOfEach = 32 << 20 // its tray included
	maxAsking    = 256
)

// launch starts a child for a cache entry. It answers at once; ready tells.
func (e *Engine) launch(code functions.Code) (*process, error) {
	p := &process{engine: e, dir: e.cache.path(code.SHA256), code: code, slack: 16 * code.Size,
		ready: make(chan struct{}), gone: make(chan struct{}), envs: map[*environment]struct{}{}, asking: make(chan struct{}, maxAsking)}
	if !e.enrol(p) {
		return nil, errClosed
	}
	go func() {
		defer e.discharge(p)
		// The child lives as long as this thread, which ends with the goroutine.
		goruntime.LockOSThread()
		p.run()
	}()
	return p, nil
}

// run is the life of a child.
func (p *process) run() {
	cmd, connect, err := p.engine.starter.start(false, &p.stderr)
	if err != nil {
		p.fail(fmt.Errorf("sandbox: starting a child: %w", err))
		p.finish(death{text: err.Error()})
		return
	}
	p.mu.Lock()
	p.cmd = cmd
	if p.dying { // ended before it began
		_ = cmd.Process.Kill()
	}
	p.mu.Unlock()
	var talks sync.WaitGroup
	talks.Go(func() {
		ctx, cancel := context.WithTimeout(p.engine.life, 30*time.Second)
		defer cancel()
		conn, err := connect(ctx)
		if err == nil {
			err = p.talk(conn)
		}
		if errors.Is(err, errFrame) {
			p.kill(death{reason: lied, text: err.Error()})
		} else {
			p.kill(death{reason: itself}) // it has ended, or must
		}
		if conn != nil {
			conn.Close()
		}
	})
	if !p.engine.opts.Portable {
		talks.Go(p.watch)
	}
	awaitEnd(cmd.Process.Pid)
	p.mu.Lock()
	p.over = true // from now on the number may be somebody else's
	p.mu.Unlock()
	_ = cmd.Wait() // the state tells
	d := death{text: "signal: unknown"}
	if cmd.ProcessState != nil {
		d.text = cmd.ProcessState.String()
	}
	d.killed = strings.Contains(d.text, "killed")
	said := p.stderr.String()
	d.memory = strings.Contains(said, "out of memory") || strings.Contains(said, "cannot allocate memory")
	p.fail(fmt.Errorf("sandbox: the child ended before it was ready: %s: %s", d.text, said)) // before gone: who waits for either looks at err
	p.finish(d)
	talks.Wait()
}

// fail ends the waiting for ready, if it has not ended well.
func (p *process) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.ready:
	default:
		p.err = err
		close(p.ready)
	}
}

// talk has the child load the module and answers its questions. It returns when
// the connection ends, always with an error.
func (p *process) talk(conn net.Conn) error {
	ctl := newControl(conn, false)
	o := p.engine.opts
	if err := ctl.send(kindLoad, loadOrder{Dir: p.dir, SHA256: p.code.SHA256, Account: o.Account, Region: o.Region, Endpoint: o.Endpoint,
		harden: harden{Portable: o.Portable, NoLandlock: o.NoLandlock}}, nil); err != nil {
		return err
	}
	kind, b, err := ctl.receive()
	if err != nil {
		return err
	}
	var report loadReport
	if kind != kindLoaded || json.Unmarshal(b, &report) != nil {
		return broken("it did not say that it is ready")
	}
	if report.Error != "" {
		p.fail(fmt.Errorf("sandbox: the child could not load the module: %s", report.Error))
		return errors.New("it did not load")
	}
	p.engine.lacks(report.Missing)
	p.mu.Lock()
	p.ctl, p.report = ctl, report
	if p.err == nil {
		close(p.ready)
	}
	p.mu.Unlock()
	p.rest()
	for {
		kind, b, err := ctl.receive()
		if err != nil {
			return err
		}
		var ask askOrder
		if kind != kindAsk || json.Unmarshal(b, &ask) != nil {
			return broken("a frame of kind %q", kind)
		}
		select {
		case p.asking <- struct{}{}:
			p.engine.work.Go(func() { // run has not ended, so Close still waits
				defer func() { <-p.asking }()
				p.answer(ask)
			})
		default:
			fault := int(runtime.DialTooMany)
			if err := ctl.send(kindTold, toldReport{Number: ask.Number, Fault: &fault, Error: "too many connections are being made at once"}, nil); err != nil {
				return err
			}
		}
	}
}

// kill ends the child, for d unless it is being ended already.
func (p *process) kill(d death) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dying {
		return
	}
	p.dying, p.cause = true, d
	if p.idle != nil {
		p.idle.Stop()
	}
	if p.cmd != nil {
		_ = p.cmd.Process.Kill() // it may have ended by itself
	}
}

// finish settles who is to blame when the child has ended.
func (p *process) finish(d death) {
	p.mu.Lock()
	if p.dying && p.cause.reason != itself {
		d = p.cause
	}
	p.dying, p.cause = true, d
	if p.idle != nil {
		p.idle.Stop()
	}
	var busy []*environment
	for e := range p.envs {
		if e.busy && !e.ahead {
			busy = append(busy, e)
		}
	}
	f := p.fleet
	p.mu.Unlock()
	var suspect bool
	if f != nil {
		suspect = f.lost(p, d, len(busy))
	}
	p.mu.Lock()
	p.verdicts = judge(d, busy, suspect)
	p.mu.Unlock()
	close(p.gone)
	if d.reason != ended {
		p.engine.opts.Logger.Warn("a sandbox process ended", "function", p.version.Function, "version", p.version.Version,
			"reason", d.describe(), "invocations", len(busy), "stderr", p.stderr.String())
	}
}

func (d death) describe() string {
	switch d.reason {
	case ended:
		return "it was not needed any more"
	case late:
		return "a guest did not stop at its deadline"
	case dropped:
		return "a guest did not stop when its invocation was given up"
	}
	return d.text
}

// judge says for each environment that was busy what came of it. Who cannot be told
// to be the cause is not blamed; suspect says that the version has been seen to end
// its processes and this one was alone.
func judge(d death, busy []*environment, suspect bool) map[*environment]*runtime.InitError {
	out := make(map[*environment]*runtime.InitError, len(busy))
	alone := len(busy) == 1
	for _, e := range busy {
		out[e] = &runtime.InitError{Outcome: runtime.Infrastructure, Type: runtime.TypeInternal,
			Message: "the process that the function ran in ended (" + d.describe() + "), and it is not known by which of its invocations"}
		blame := func(outcome runtime.Outcome, kind, message string) {
			out[e] = &runtime.InitError{Outcome: outcome, Type: kind, Message: message}
		}
		switch {
		case d.reason == ended:
			blame(runtime.Infrastructure, runtime.TypeInternal, "the server ended the function's process")
		case d.reason == late && d.by == e:
			blame(runtime.Timeout, runtime.TypeTimeout, fmt.Sprintf("Task timed out after %.2f seconds", e.allowed().Seconds()))
		case d.reason == late || d.reason == dropped:
			blame(runtime.Infrastructure, runtime.TypeInternal, "another invocation of the function did not end when it had to, and the process that both ran in was ended")
		case !alone:
		case d.reason == swollen || d.memory:
			blame(runtime.FunctionError, runtime.TypeOutOfMemory, "Runtime exited with error: out of memory: "+d.text)
		case d.reason == lied:
			blame(runtime.FunctionError, runtime.TypeExit, "Runtime exited with error: "+d.text)
		case !d.killed || suspect:
			blame(runtime.FunctionError, runtime.TypeExit, "Runtime exited with error: "+d.text)
		default: // somebody's kill -9, or the kernel in want of memory
			blame(runtime.Infrastructure, runtime.TypeInternal, "the function's process was killed by somebody else")
		}
	}
	return out
}

// verdict waits for the end of the child and tells what it means for e.
func (p *process) verdict(e *environment) *runtime.InitError {
	<-p.gone
	p.mu.Lock()
	defer p.mu.Unlock()
	if v := p.verdicts[e]; v != nil {
		return v
	}
	return &runtime.InitError{Outcome: runtime.Infrastructure, Type: runtime.TypeInternal, Message: "the function's process has ended: " + p.cause.describe()}
}

// claim takes a place for an environment, ahead of anybody's need or not. False: it is
// ending.
func (p *process) claim(f *fleet, v functions.Version, ahead bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dying {
		return false
	}
	p.fleet, p.version, p.used = f, v, p.used || !ahead
	p.claims++
	if p.idle != nil {
		p.idle.Stop()
	}
	return true
}

// unclaim gives a place back. A process without environments ends after a while.
func (p *process) unclaim(e *environment) {
	p.mu.Lock()
	p.claims--
	delete(p.envs, e)
	p.mu.Unlock()
	p.rest()
}

// rest has a process without environments end in a while.
func (p *process) rest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.claims > 0 || p.dying {
		return
	}
	after := p.engine.opts.linger
	if !p.used {
		after = p.engine.opts.waiting
	}
	if p.idle == nil {
		p.idle = time.AfterFunc(after, p.retire)
	} else {
		p.idle.Reset(after)
	}
}

func (p *process) retire() {
	p.mu.Lock()
	idle := p.claims == 0 && !p.dying
	p.mu.Unlock()
	if idle { // a claim that comes now finds it dying and takes another
		p.kill(death{reason: ended})
	}
}

// mapped is what the process may map writable for itself. Clones count in full, and while
// one is replaced by the next both do; the Go runtime maps more than it uses.
func (p *process) mapped() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return 2*p.most() + 1<<30
}

// most is the memory that the process may have, in bytes. The caller has the mutex.
func (p *process) most() int64 {
	return baseMemory + p.slack + int64(p.claims)*(int64(limitOf(p.version))+memoryOfEach)
}

// watch ends the process when it has more memory than it may.
func (p *process) watch() {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.gone:
			return
		case <-tick.C:
		}
		p.mu.Lock()
		has, err := int64(0), error(nil)
		if !p.over {
			has, err = resident(p.cmd.Process.Pid)
		}
		for e := range p.envs {
			has += e.tray.held()
		}
		most := p.most()
		p.mu.Unlock()
		if err != nil {
			p.engine.lacks([]string{fmt.Sprintf("memory watchdog (%v)", err)})
			continue
		}
		if has > most {
			p.kill(death{reason: swollen, text: fmt.Sprintf("its process has %d MB and may have %d", has>>20, most>>20)})
		}
	}
}

// cancelCall has the child give up a call.
func (p *process) cancelCall(environment, number uint32) {
	var b [8]byte
	binary.LittleEndian.PutUint32(b[:], environment)
	binary.LittleEndian.PutUint32(b[4:], number)
	_ = p.ctl.sendRaw(kindCancel, b[:], nil) // whoever does not listen is ended a moment later
}

// head keeps the first bytes that a child writes to its standard error.
type head struct {
	mu sync.Mutex
	b  []byte
}

const maxSaid = 1 << 10

func (t *head) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(p)
	// A crash says what it is at once and then where, at length.
	if room := maxSaid - len(t.b); room > 0 {
		t.b = append(t.b, p[:min(len(p), room)]...)
	}
	return n, nil
}

func (t *head) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.ToValidUTF8(strings.TrimSpace(string(t.b)), "\ufffd")
}
