package iam

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"strings"
	"time"

	"github.com/wasmill/wasmill/internal/kv"
)

// Entity is what is stored under one key: a role or a policy.
type Entity struct {
	Account string  `json:"account"`
	Role    *role   `json:"role,omitempty"`
	Policy  *policy `json:"policy,omitempty"`
}

type role struct {
	Name        string            `json:"name"`
	Path        string            `json:"path"`
	ID          string            `json:"id"`
	Created     time.Time         `json:"created"`
	Trust       string            `json:"trust"`
	Description string            `json:"description,omitempty"`
	MaxSession  int64             `json:"max_session"` // seconds
	Boundary    string            `json:"boundary,omitempty"`
	Tags        []tag             `json:"tags,omitempty"`
	Inline      map[string]string `json:"inline,omitempty"`   // documents by their policies' names
	Attached    []string          `json:"attached,omitempty"` // ARNs of policies
}

type policy struct {
	Name        string    `json:"name"`
	Path        string    `json:"path"`
	ID          string    `json:"id"`
	Created     time.Time `json:"created"`
	Updated     time.Time `json:"updated"`
	Description string    `json:"description,omitempty"`
	Tags        []tag     `json:"tags,omitempty"`
	Versions    []version `json:"versions"` // the oldest first; never none
	Default     int       `json:"default"`  // number of one of them
	Last        int       `json:"last"`     // number given last
}

type version struct {
	Number   int       `json:"number"`
	Document string    `json:"document"`
	Created  time.Time `json:"created"`
}

func (r *role) arn(account string) string {
	return "arn:aws:iam::" + account + ":role" + r.Path + r.Name
}

func (p *policy) arn(account string) string {
	return "arn:aws:iam::" + account + ":policy" + p.Path + p.Name
}

// Names are told apart whatever their case.
func roleKey(account, name string) string   { return "role/" + account + "/" + strings.ToLower(name) }
func policyKey(account, name string) string { return "policy/" + account + "/" + strings.ToLower(name) }

// newID is an identifier of AWS's form: a prefix for the kind, and 17 letters and digits.
func newID(prefix string) string {
	var b [17]byte
	_, _ = rand.Read(b[:]) // never fails
	return prefix + base32.StdEncoding.EncodeToString(b[:])[:17]
}

// now is the time as AWS keeps it: whole seconds.
func now() time.Time { return time.Now().UTC().Truncate(time.Second) }

// entities are all of an account.
func (s *Store) entities(ctx context.Context, account string) ([]Entity, error) {
	all, err := s.bucket.All(ctx)
	if err != nil {
		return nil, err
	}
	var out []Entity
	for _, e := range all {
		if e.Account == account {
			out = append(out, e)
		}
	}
	return out, nil
}

// roles are those of an account, in no order.
func (s *Store) roles(ctx context.Context, account string) ([]*role, error) {
	all, err := s.entities(ctx, account)
	var out []*role
	for _, e := range all {
		if e.Role != nil {
			out = append(out, e.Role)
		}
	}
	return out, err
}

func noRole(name string) error { return noSuch("The role with name %s cannot be found.", name) }

func (s *Store) role(ctx context.Context, account, name string) (*role, error) {
	e, _, err := s.get(ctx, roleKey(account, name))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, noRole(name)
	}
	return e.Role, err
}

// get is an entity, or kv.ErrNotFound: also of names from ARNs that are too long for a key.
func (s *Store) get(ctx context.Context, key string) (Entity, uint64, error) {
	if len(key) > kv.MaxKey {
		return Entity{}, 0, kv.ErrNotFound
	}
	return s.bucket.Get(ctx, key)
}

// changeRole changes a role, unless change returns an error.
func (s *Store) changeRole(ctx context.Context, account, name string, change func(*role) error) (*role, error) {
	done, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	key := roleKey(account, name)
	e, revision, err := s.get(ctx, key)
	if errors.Is(err, kv.ErrNotFound) {
		return nil, noRole(name)
	}
	if err != nil {
		return nil, err
	}
	if err := change(e.Role); err != nil {
		return nil, err
	}
	_, err = s.bucket.Update(ctx, key, e, revision)
	return e.Role, tooLarge(err)
}

// changePolicy changes the policy of an ARN, unless change returns an error; missing is the
// error if there is none.
func (s *Store) changePolicy(ctx context.Context, account, arn string, missing error, change func(*policy) error) (*policy, error) {
	done, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	p, revision, err := s.findPolicy(ctx, account, arn)
	if errors.Is(err, kv.ErrNotFound) {
		return nil, missing
	}
	if err != nil {
		return nil, err
	}
	if err := change(p); err != nil {
		return nil, err
	}
	_, err = s.bucket.Update(ctx, policyKey(account, p.Name), Entity{Account: account, Policy: p}, revision)
	return p, tooLarge(err)
}

// findPolicy is the account's own policy of an ARN, or kv.ErrNotFound.
func (s *Store) findPolicy(ctx context.Context, account, arn string) (*policy, uint64, error) {
	name := arn[strings.LastIndexByte(arn, '/')+1:]
	e, revision, err := s.get(ctx, policyKey(account, name))
	if err != nil {
		return nil, 0, err
	}
	if e.Policy.arn(account) != arn {
		return nil, 0, kv.ErrNotFound
	}
	return e.Policy, revision, nil
}

// tooLarge words the error of what does not fit into one value of the store.
func tooLarge(err error) error {
	if errors.Is(err, kv.ErrInvalid) {
		return limit("The documents and tags of a role or policy may take %d bytes together.", kv.MaxValue)
	}
	return err
}
