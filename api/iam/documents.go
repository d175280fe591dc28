package iam

import (
	"encoding/json"
	"slices"
	"strings"
)

// What AWS asks of a policy's document before it stores it. Texts: localstack's recordings
// for trust policies, npm and pypi moto's (policy_validation.py) for the others.

// maxManaged is how many characters that are no white space a managed policy has, at most.
const maxManaged = 6144

// weight is a document's size as AWS counts it: without white space.
func weight(document string) int {
	n := 0
	for _, r := range document {
		if !strings.ContainsRune(" \t\r\n", r) {
			n++
		}
	}
	return n
}

// document is a policy's document as far as it is looked at.
type document struct {
	Version    *string
	ID         *string `json:"Id"`
	Statements []statement
}

type statement map[string]json.RawMessage

func (s statement) has(name string) bool { return s[name] != nil }

// texts are those of an element that is a text or a list of them.
func (s statement) texts(name string) (texts []string, ok bool) {
	raw := s[name]
	if raw == nil {
		return nil, true
	}
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return []string{one}, true
	}
	return texts, json.Unmarshal(raw, &texts) == nil
}

var errSyntax = malformed("Syntax errors in policy.")

// parse takes a document apart. notJSON is the error of one that is no JSON.
func parse(text string, notJSON error) (document, error) {
	var d document
	if !json.Valid([]byte(text)) {
		return d, notJSON
	}
	var top map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &top) != nil {
		return d, errSyntax
	}
	for name, raw := range top {
		var err error
		switch name {
		case "Version":
			err = json.Unmarshal(raw, &d.Version)
		case "Id":
			err = json.Unmarshal(raw, &d.ID)
		case "Statement":
			var one statement
			if json.Unmarshal(raw, &one) == nil {
				d.Statements = []statement{one}
			} else {
				err = json.Unmarshal(raw, &d.Statements)
			}
		default:
			err = errSyntax
		}
		if err != nil {
			return d, errSyntax
		}
	}
	if len(d.Statements) == 0 || d.Version != nil && *d.Version != "2012-10-17" && *d.Version != "2008-10-17" {
		return d, errSyntax
	}
	var sids []string
	for _, s := range d.Statements {
		if err := s.check(); err != nil {
			return d, err
		}
		var sid string
		if s.has("Sid") && json.Unmarshal(s["Sid"], &sid) != nil {
			return d, errSyntax
		}
		if sid != "" && slices.Contains(sids, sid) {
			return d, malformed("Statement IDs (SID) in a single policy must be unique.")
		}
		sids = append(sids, sid)
	}
	return d, nil
}

// check is what statements of all policies have in common.
func (s statement) check() error {
	for name := range s {
		switch name {
		case "Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition", "Principal", "NotPrincipal":
		default:
			return errSyntax
		}
	}
	var effect string
	var condition map[string]map[string]json.RawMessage
	if json.Unmarshal(s["Effect"], &effect) != nil || effect != "Allow" && effect != "Deny" ||
		s.has("Action") && s.has("NotAction") || s.has("Resource") && s.has("NotResource") ||
		s.has("Condition") && json.Unmarshal(s["Condition"], &condition) != nil {
		return errSyntax
	}
	for _, name := range []string{"Action", "NotAction", "Resource", "NotResource"} {
		if _, ok := s.texts(name); !ok {
			return errSyntax
		}
	}
	return nil
}

// checkTrust checks who may assume a role.
func checkTrust(text string) error {
	d, err := parse(text, malformed("This policy contains invalid Json"))
	if err != nil {
		return err
	}
	for _, s := range d.Statements {
		switch {
		case s.has("Resource") || s.has("NotResource"):
			return malformed("Has prohibited field Resource")
		case !s.has("Principal") && !s.has("NotPrincipal"):
			return malformed("Missing required field Principal")
		case !s.has("Action") && !s.has("NotAction"):
			return malformed("Missing required field Action")
		}
		actions, _ := s.texts("Action")
		for _, action := range actions {
			if !strings.HasPrefix(strings.ToLower(action), "sts:") {
				return malformed("AssumeRole policy may only specify STS AssumeRole actions.")
			}
		}
	}
	return nil
}

// checkManaged checks a version of a managed policy.
func checkManaged(text string) error {
	if weight(text) > maxManaged {
		return limit("Cannot exceed quota for PolicySize: %d", maxManaged)
	}
	return checkPermissions(text, true)
}

// checkPermissions checks what a policy permits; strict asks for the version of today.
func checkPermissions(text string, strict bool) error {
	d, err := parse(text, errSyntax)
	if err != nil {
		return err
	}
	if strict && (d.Version == nil || *d.Version != "2012-10-17") {
		return malformed("Policy document must be version 2012-10-17 or greater.")
	}
	for _, s := range d.Statements {
		if s.has("Principal") || s.has("NotPrincipal") {
			return malformed("Policy document should not specify a principal.")
		}
		actions, _ := s.texts("Action")
		others, _ := s.texts("NotAction")
		if actions = append(actions, others...); len(actions) == 0 {
			return malformed("Policy statement must contain actions.")
		}
		resources, _ := s.texts("Resource")
		others, _ = s.texts("NotResource")
		if resources = append(resources, others...); len(resources) == 0 {
			return malformed("Policy statement must contain resources.")
		}
		for _, action := range actions {
			switch n := strings.Count(action, ":"); {
			case n == 0 && action != "*":
				return malformed("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
			case n > 1:
				return malformed("Actions/Condition can contain only one colon.")
			}
		}
		for _, resource := range resources {
			if resource != "*" && !strings.Contains(resource, ":") {
				return malformed("Resource %s must be in ARN format or \"*\".", resource)
			}
		}
	}
	return nil
}
