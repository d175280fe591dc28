// Package functions holds the words of the function registry: functions, their
// configuration, their immutable versions, and what is wrong with them.
//
// Package functions/store keeps them; package runtime runs them.
package functions

import (
	"errors"
	"fmt"
	"time"
)

// Limits of a function's configuration, as on AWS Lambda unless noted.
const (
	MinTimeout     = 1 * time.Second
	MaxTimeout     = 900 * time.Second
	DefaultTimeout = 3 * time.Second
	MinMemory      = 128    // MB; also the default
	MaxMemory      = 10_240 // MB
	// MemoryCap is what a 32-bit WASM guest can address, in MB. More is
	// accepted, capped and warned of.
	MemoryCap = 4_096
	// MaxEnvironment is the total size of keys and values, in bytes.
	MaxEnvironment = 4 << 10
	// MaxEmits is how many streams a function may emit to. Ours.
	MaxEmits = 32
	// MaxAllow is how many places a function may dial. Ours.
	MaxAllow = 64
	// MaxConcurrency is how many invocations of all functions may run at once, and
	// MinUnreserved how many of them no function may have reserved (AWS Lambda:
	// UnreservedConcurrentExecutions).
	MaxConcurrency = 1000
	MinUnreserved  = 100
	// MaxCode is the size of a module, in bytes.
	MaxCode = 256 << 20
	// Unpublished is the version that changes with the function.
	Unpublished = "$LATEST"
)

// ABI is how a module wants to be called. See docs/abi.md.
type ABI string

const (
	ABIBatch   ABI = "batch"   // exports wm_batch: binary batch; and wm_json for the rest
	ABIJSON    ABI = "json"    // exports wm_json: Lambda's JSON
	ABICommand ABI = "command" // a WASI command: event on stdin, response on stdout
)

// Config is what a user sets. The zero value works.
type Config struct {
	// Timeout of one invocation, whole seconds, 1 s to 900 s. Defaults to 3 s.
	Timeout time.Duration `json:"timeout"`
	// Memory of one environment in MB, 128 to 10,240. Defaults to 128.
	Memory int `json:"memory"`
	// Environment is what the guest sees as environment variables; 4 KB in all.
	Environment map[string]string `json:"environment,omitempty"`
	// Description is free text, 256 characters at most.
	Description string `json:"description,omitempty"`
	// Emits are the streams that the function may emit records to by what it
	// returns (docs/abi.md), MaxEmits at most. Ours.
	Emits []string `json:"emits,omitempty"`
	// Allow are the places that the function may dial, as host:port patterns,
	// MaxAllow at most; see [ParseAllow]. Nothing by default, but for this server's
	// own endpoint, which is always allowed. Ours.
	Allow []string `json:"allow,omitempty"`
	// Isolation says what an invocation finds in memory. Defaults to
	// IsolationEnvironment. Ours.
	Isolation Isolation `json:"isolation,omitempty"`
	// Concurrency is how many invocations of the function may run at once, all its
	// versions together, and how many places of the server's it has for itself
	// (reserved concurrency). Nil: as many as there is room for; 0: none at all.
	Concurrency *int `json:"concurrency,omitempty"`
	// Declared is what AWS clients say of it.
	Declared Declared `json:"declared,omitzero"`
}

// Isolation says what of an environment an invocation shares with those before it.
type Isolation string

const (
	// IsolationEnvironment: what an invocation leaves in memory the next one of the
	// same environment finds, as on AWS Lambda.
	IsolationEnvironment Isolation = "environment"
	// IsolationInvocation: each invocation finds memory as it was after start-up.
	IsolationInvocation Isolation = "invocation"
)

// Code is a module that was checked and compiled.
type Code struct {
	SHA256 string `json:"sha256"` // hex digest of the module
	Size   int64  `json:"size"`   // bytes
	ABI    ABI    `json:"abi"`
	// Package is what the module came in; nil: it came by itself.
	Package *Package `json:"package,omitempty"`
}

// Uploaded is what a client gave: the package, or else the module itself.
func (c Code) Uploaded() Package {
	if c.Package != nil {
		return *c.Package
	}
	return Package{SHA256: c.SHA256, Size: c.Size}
}

// Version is a function as it can be invoked. Every version but $LATEST is immutable.
type Version struct {
	Function string    `json:"function"`
	Version  string    `json:"version"`  // "$LATEST", "1", "2", …
	ID       string    `json:"id"`       // incarnation of the function
	Revision uint64    `json:"revision"` // grows with every change of $LATEST
	Code     Code      `json:"code"`
	Config   Config    `json:"config"`
	Modified time.Time `json:"modified"`
	// RevisionID is a UUID, another one with each change.
	RevisionID string `json:"revisionId,omitempty"`
	// State, and how the last change came out, with what AWS's clients are told of why.
	State        State       `json:"state,omitempty"`
	Reason       string      `json:"reason,omitempty"`
	Update       UpdateState `json:"update,omitempty"`
	UpdateReason string      `json:"updateReason,omitempty"`
}

// ARN is the Amazon resource name of the function, qualified unless it is $LATEST.
func (v Version) ARN(account, region string) string {
	arn := fmt.Sprintf("arn:aws:lambda:%s:%s:function:%s", region, account, v.Function)
	if v.Version == Unpublished || v.Version == "" {
		return arn
	}
	return arn + ":" + v.Version
}

// MemoryBytes is what the guest may have, capped at what it can address.
func (c Config) MemoryBytes() int64 { return int64(min(c.Memory, MemoryCap)) << 20 }

var (
	// ErrNotFound means no function or version bears that name.
	ErrNotFound = errors.New("functions: not found")
	// ErrExists means a function bears that name already.
	ErrExists = errors.New("functions: exists")
	// ErrInvalid means a value is out of range; the text says which.
	ErrInvalid = errors.New("functions: invalid")
	// ErrCode means the module cannot run here; the text says why and what to do.
	ErrCode = errors.New("functions: code refused")
	// ErrBusy means the function's code is being compiled, or never could be, and what was
	// asked has to wait for that, or for other code.
	ErrBusy = errors.New("functions: busy")
	// ErrRevision means the caller expected another revision, or other code: somebody
	// has changed the function meanwhile.
	ErrRevision = errors.New("functions: changed meanwhile")
	// ErrInUse means an alias names the version.
	ErrInUse = errors.New("functions: in use")
)
