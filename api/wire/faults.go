package wire

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Faults are errors and delays injected on request. They live in memory: a server that
// starts has none. The zero value works, and is safe for concurrent use; a nil one has no
// faults.
type Faults struct {
	mu       sync.RWMutex // never held across a wait
	services []*Service   // set by New
	last     int          // of the ids
	all      []*fault
}

// Fault is one way for calls to fail or be slow.
type Fault struct {
	ID string // given by Add
	// Service and Op name the operation; an empty Service is the one that has it.
	Service, Op string
	// Rate is which share of calls, or with Records of records, is hit: above 0, to 1.
	Rate float64
	// Error is the code of the error that is answered ("ProvisionedThroughputExceededException");
	// empty: none. Nothing is done of a call that gets it.
	Error string
	// Latency delays calls, before the error if there is one too. At most MaxLatency.
	Latency time.Duration
	// Records fails single records of a call, each by Rate, in the way of PutRecords: the call
	// itself succeeds. It wants an Error and no Latency.
	Records bool
	// Seed makes the same calls in the same order be hit again; nil: one is made up.
	Seed *uint64
	// Seen is how many calls or records there have been, Hits how many of them were hit.
	Seen, Hits int64
}

// MaxLatency is the longest delay: beyond it clients give up.
const MaxLatency = 5 * time.Minute

// MaxFaults is how many there can be at once.
const MaxFaults = 1000

// ErrFault means that a fault cannot be as it is asked for; the text says why.
var ErrFault = errors.New("wire: no such fault is possible")

// UnknownOperation names an operation, or a service, that is not served.
type UnknownOperation struct {
	What, Name string   // "service" or "operation", and what was asked for
	Known      []string // what there is
}

func (e *UnknownOperation) Error() string {
	return fmt.Sprintf("there is no %s %q", e.What, e.Name)
}

type fault struct {
	Fault
	mu   sync.Mutex // guards dice, Seen and Hits
	dice *rand.Rand
}

// roll says whether the next call or record is hit.
func (f *fault) roll() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.Seen++
	if f.dice.Float64() >= f.Rate {
		return false
	}
	f.Hits++
	return true
}

func (f *fault) view() Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.Fault
}

// answer is the error of a call or record that was hit.
func (f *fault) answer() *Error {
	e := Errorf(f.Error, "Injected by fault %s of wasmill.", f.ID)
	if slices.Contains(serverErrors, f.Error) {
		e.Status = 500
	}
	if f.Error == "TooManyRequestsException" { // Lambda's
		e.Status = 429
	}
	if strings.HasPrefix(f.Error, "ServiceUnavailable") || f.Error == "SlowDown" {
		e.Status = 503
	}
	return e
}

// serverErrors are the codes that AWS's services answer with status 500.
var serverErrors = []string{"InternalFailure", "InternalFailureException", "InternalServerError", "InternalServerErrorException", "InternalError", "ServiceException"}

var errorCode = regexp.MustCompile(`^[A-Z][A-Za-z0-9.]{0,127}$`)

// Add begins a fault. Errors are ErrFault, which says what is wrong with it, and
// *UnknownOperation.
func (f *Faults) Add(spec Fault) (Fault, error) {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: "+format, append([]any{ErrFault}, args...)...))
	}
	if !(spec.Rate > 0 && spec.Rate <= 1) { // NaN neither
		bad("rate %.4g %%: want more than 0 %%, at most 100 %%", spec.Rate*100)
	}
	if spec.Error != "" && !errorCode.MatchString(spec.Error) {
		bad("error %q: want the code of an AWS error, such as InternalFailure", spec.Error)
	}
	if spec.Latency < 0 || spec.Latency > MaxLatency {
		bad("latency %s: want 0s to %s", spec.Latency, MaxLatency)
	}
	if spec.Error == "" && spec.Latency == 0 {
		bad("neither an error nor a latency: want one or both")
	}
	if spec.Records && (spec.Error == "" || spec.Latency != 0) {
		bad("single records can only fail: want an error, and no latency")
	}
	if spec.Records && spec.Op != "PutRecords" {
		bad("single records fail in PutRecords only, not in %s", spec.Op)
	}
	if errs != nil {
		return Fault{}, errors.Join(errs...)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	service, err := f.find(spec.Service, spec.Op)
	if err != nil {
		return Fault{}, err
	}
	if len(f.all) >= MaxFaults {
		return Fault{}, fmt.Errorf("%w: there are %d already, the most there can be", ErrFault, MaxFaults)
	}
	f.last++
	spec.ID, spec.Service, spec.Seen, spec.Hits = strconv.Itoa(f.last), service, 0, 0
	if spec.Seed == nil {
		seed := rand.Uint64() >> 12 // fits a JSON number
		spec.Seed = &seed
	}
	f.all = append(f.all, &fault{Fault: spec, dice: rand.New(rand.NewPCG(*spec.Seed, 0))})
	return spec, nil
}

// serve tells which operations there are.
func (f *Faults) serve(services []*Service) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.services = services
}

// find is the service that has op. Called with mu held.
func (f *Faults) find(service, op string) (string, error) {
	var names, ops, found []string
	for _, s := range f.services {
		names = append(names, s.Name)
		if service != "" && s.Name != service {
			continue
		}
		for _, o := range s.Ops {
			ops = append(ops, o.Name)
			if o.Name == op {
				found = append(found, s.Name)
			}
		}
	}
	switch {
	case service != "" && !slices.Contains(names, service):
		return "", &UnknownOperation{"service", service, names}
	case len(found) == 0:
		return "", &UnknownOperation{"operation", op, ops}
	case len(found) > 1:
		return "", fmt.Errorf("%w: %s is an operation of %s: say which service", ErrFault, op, strings.Join(found, " and "))
	}
	return found[0], nil
}

// List is all faults, the oldest first.
func (f *Faults) List() []Fault {
	f.mu.RLock()
	defer f.mu.RUnlock()
	out := make([]Fault, len(f.all))
	for i, one := range f.all {
		out[i] = one.view()
	}
	return out
}

// Remove ends a fault and says whether there was one with that id. Calls that it delays
// already go on being delayed.
func (f *Faults) Remove(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := len(f.all)
	f.all = slices.DeleteFunc(f.all, func(one *fault) bool { return one.ID == id })
	return len(f.all) < before
}

// matching are the faults of an operation.
func (f *Faults) matching(service, op string, records bool) (hit []*fault) {
	if f == nil {
		return nil
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, one := range f.all {
		if one.Op == op && one.Service == service && one.Records == records {
			hit = append(hit, one)
		}
	}
	return hit
}

// Before is asked before an operation. An error is the answer; nil lets it happen. It
// returns early if ctx ends.
func (f *Faults) Before(ctx context.Context, service, op string) (err *Error) {
	var late time.Duration
	for _, one := range f.matching(service, op, false) {
		if !one.roll() {
			continue
		}
		late += one.Latency
		if one.Error != "" {
			err = cmp.Or(err, one.answer())
		}
	}
	if late > 0 {
		wait := time.NewTimer(late)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done():
		}
	}
	return err
}

// Records is asked before n records are put, and says which of them fail, and how. Nil:
// none.
func (f *Faults) Records(service, op string, n int) (failed []*Error) {
	for _, one := range f.matching(service, op, true) {
		for i := range n {
			if !one.roll() {
				continue
			}
			if failed == nil {
				failed = make([]*Error, n)
			}
			failed[i] = cmp.Or(failed[i], one.answer())
		}
	}
	return failed
}
