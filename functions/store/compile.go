package store

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

const (
	// compileAtOnce is how many modules Run compiles at the same time.
	compileAtOnce = 2
	// tries is how often code is compiled that fails for no fault of its own.
	tries = 4
	// creating is what AWS says of a function, and of new code, that is not ready yet.
	creating = "The function is being created."
)

// Submit makes a function whose code [Store.Run] compiles: until then it is Pending, and
// after code that cannot run Failed. Errors and warnings are those of Create, but for
// those of the code. With Publish the version is returned, else $LATEST.
func (s *Store) Submit(ctx context.Context, name string, up functions.Upload, c functions.Config, a functions.Attributes, o functions.Change) (functions.Version, []string, error) {
	f, warnings, err := s.wanted(name, c)
	if err != nil {
		return functions.Version{}, nil, err
	}
	if f.Version.Code, err = described(up); err != nil {
		return functions.Version{}, nil, err
	}
	f.Version.State, f.Version.Reason, f.Version.Update = functions.Pending, creating, ""
	f.Next = &next{Code: f.Version.Code}
	f.Attributes = a
	if _, err := f.revise(functions.Attributes{}); err != nil {
		return functions.Version{}, nil, err
	}
	if o.DryRun {
		return f.latest(), warnings, nil
	}
	n := 0
	if o.Publish {
		// Of a function that is never stored it is swept.
		if n, err = s.publish(ctx, f, ""); err != nil {
			return functions.Version{}, nil, err
		}
	}
	if err := s.create(ctx, f, up.Module, nil); err != nil {
		return functions.Version{}, nil, err
	}
	s.wake()
	if n > 0 {
		return f.version(n), warnings, nil
	}
	return f.latest(), warnings, nil
}

// SubmitCode gives $LATEST other code, which [Store.Run] compiles; until then, and should
// it fail, the code it has goes on running. Code comes one after another (ErrBusy). The
// same module and package again change nothing. With Publish the version is returned,
// else $LATEST.
func (s *Store) SubmitCode(ctx context.Context, name string, up functions.Upload, o functions.Change) (functions.Version, error) {
	code, err := described(up)
	if err != nil {
		return functions.Version{}, err
	}
	if err := s.lock(ctx, name); err != nil {
		return functions.Version{}, err
	}
	defer s.unlock()
	f, err := s.find(name)
	if err == nil {
		err = errors.Join(f.expects(o.RevisionID), f.idle())
	}
	if err != nil {
		return functions.Version{}, err
	}
	next := *f
	next.submit(code, o.Architectures)
	if o.DryRun {
		v := f.latest()
		v.Code = code
		targets(&v, o.Architectures)
		return v, nil
	}
	if err := s.code.put(ctx, code.SHA256, up.Module, nil); err != nil {
		return functions.Version{}, fmt.Errorf("functions: store the code of %s: %w", name, err)
	}
	n := 0
	if o.Publish {
		if n, err = s.publish(ctx, &next, ""); err != nil {
			return functions.Version{}, err
		}
	}
	if !unchanged(next.Version, f.Version) {
		next.touch()
	}
	if next.Next != nil || next.Published != f.Published || !unchanged(next.Version, f.Version) {
		if err := s.commit(ctx, "change", f, &next); err != nil {
			return functions.Version{}, err
		}
		s.fade(ctx, f.Version.Code.SHA256)
		s.wake()
	}
	if n > 0 {
		return next.version(n), nil
	}
	return next.latest(), nil
}

// targets declares what code was built for, if that is said.
func targets(v *functions.Version, architectures []string) {
	if architectures != nil {
		v.Config.Declared.Architectures = slices.Clone(architectures)
	}
}

// submit puts code in place, or on its way, and what is declared with it.
func (f *function) submit(code functions.Code, architectures []string) {
	v := &f.Version
	switch {
	case v.State == functions.Failed:
		// Nothing runs that it could displace.
		v.State, v.Reason = functions.Pending, creating
		v.Code = code
		targets(v, architectures)
		v.Revision++
	case v.Code.SHA256 == code.SHA256:
		code.ABI = v.Code.ABI // it was compiled
		was := f.Version
		v.Code = code
		targets(v, architectures)
		if !same(was, *v) {
			v.Revision++
		}
		v.Update, v.UpdateReason = functions.UpdateSuccessful, ""
		return
	}
	v.Update, v.UpdateReason = functions.UpdateInProgress, creating
	f.Next = &next{Code: code, Architectures: slices.Clone(architectures)}
}

// wake has Run look what there is to compile.
func (s *Store) wake() {
	select {
	case s.submitted <- struct{}{}:
	default: // it will look anyway
	}
}

// job is code to be compiled.
type job struct{ function, id, digest string }

// jobs are what is to be compiled, oldest first.
func (s *Store) jobs() []job {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var waiting []*function
	for _, f := range s.functions {
		if f.Next != nil {
			waiting = append(waiting, f)
		}
	}
	slices.SortFunc(waiting, func(a, b *function) int {
		return cmp.Or(a.Version.Modified.Compare(b.Version.Modified), strings.Compare(a.Version.Function, b.Version.Function))
	})
	out := make([]job, len(waiting))
	for i, f := range waiting {
		out[i] = job{f.Version.Function, f.Version.ID, f.Next.Code.SHA256}
	}
	return out
}

// Run compiles what was submitted, now and by earlier processes, until ctx ends: what is
// not ready then waits for the next Run. There is one at a time.
func (s *Store) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	compiling := map[job]context.CancelFunc{}
	ended := make(chan job) // from each compilation, to the loop; never closed
	for {
		jobs := s.jobs()
		for j, cancel := range compiling {
			if !slices.Contains(jobs, j) {
				cancel() // the function is gone
			}
		}
		for _, j := range jobs {
			if compiling[j] != nil || len(compiling) >= compileAtOnce {
				continue
			}
			work, cancel := context.WithCancel(ctx)
			compiling[j] = cancel
			wg.Go(func() {
				s.compile(work, j)
				select {
				case ended <- j:
				case <-ctx.Done():
				}
			})
		}
		select {
		case <-s.submitted:
		case j := <-ended:
			compiling[j]()
			delete(compiling, j)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// compile compiles code and puts it in place, or says why that cannot be. Only the end
// of ctx leaves it as it was.
func (s *Store) compile(ctx context.Context, j job) {
	var info functions.Code
	var err error
	for n := range tries {
		if n > 0 && !wait(ctx, s.pause<<(n-1)) {
			return
		}
		var code []byte
		if code, err = s.code.get(ctx, j.digest); err == nil {
			info, err = s.check.Check(ctx, code, func(runtime.Progress) {})
		}
		if ctx.Err() != nil {
			return
		}
		if err == nil || errors.Is(err, functions.ErrCode) {
			break
		}
	}
	for s.finish(ctx, j, info.ABI, err) != nil && wait(ctx, s.pause) {
	}
}

// wait says whether ctx lasted so long.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// finish ends what Submit or SubmitCode began. The version published of it is stored
// first: a crash in between has it all compiled and stored again.
func (s *Store) finish(ctx context.Context, j job, abi functions.ABI, fault error) error {
	if err := s.lock(ctx, j.function); err != nil {
		return err
	}
	defer s.unlock()
	f, err := s.find(j.function)
	if err != nil || f.Version.ID != j.id || f.Next == nil {
		return nil // it was deleted
	}
	after := *f
	after.Next = nil
	after.arrive(f.Next, abi, fault)
	if f.Next.Version != "" {
		n := slices.IndexFunc(f.versions, func(v functions.Version) bool { return v.Version == f.Next.Version })
		after.versions = slices.Clone(f.versions)
		v := &after.versions[n]
		v.State, v.Reason, v.Update = functions.Active, "", functions.UpdateSuccessful
		if v.Code.ABI = abi; fault != nil {
			v.State, v.Reason, v.Update = functions.Failed, reason(fault), ""
		}
		if err := s.keep(ctx, *v); err != nil {
			return fmt.Errorf("functions: publish %s: %w", j.function, err)
		}
	}
	if err := s.commit(ctx, "change", f, &after); err != nil {
		return err
	}
	s.fade(ctx, f.Version.Code.SHA256, f.Next.Code.SHA256)
	return nil
}

// arrive is the end of submit.
func (f *function) arrive(n *next, abi functions.ABI, fault error) {
	v := &f.Version
	if v.Update == functions.UpdateInProgress || fault == nil {
		v.Update, v.UpdateReason = functions.UpdateSuccessful, ""
		if fault != nil {
			v.Update, v.UpdateReason = functions.UpdateFailed, reason(fault)
		}
	}
	switch {
	case fault == nil:
		if v.State != functions.Pending {
			v.Revision++ // other code ran until now
		}
		v.Code = n.Code
		v.Code.ABI = abi
		targets(v, n.Architectures)
		v.State, v.Reason = functions.Active, ""
	case v.State == functions.Pending:
		v.State, v.Reason = functions.Failed, reason(fault)
	}
}

// reason is an error in words for the function's user.
func reason(err error) string {
	return strings.TrimPrefix(err.Error(), functions.ErrCode.Error()+": ")
}
