package iam

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/wasmill/wasmill/api/wire"
)

func (s *service) stsOps() []*wire.Operation {
	serial := []wire.Member{may("SerialNumber", wire.String(9, 256, `[\w+=/:,.@-]*`)), may("TokenCode", wire.String(6, 6, `[\d]*`))}
	arn := wire.String(20, 2048, `[\u0009\u000A\u000D\u0020-\u007E\u0085\u00A0-\uD7FF\uE000-\uFFFD\u10000-\u10FFFF]+`).
		Matching(`[\x09\x0A\x0D\x20-\x7E\x{85}\x{A0}-\x{D7FF}\x{E000}-\x{FFFD}\x{10000}-\x{10FFFF}]+`)
	return []*wire.Operation{
		{Name: "GetCallerIdentity", Do: s.identity},
		{Name: "GetSessionToken", Do: s.sessionToken, Input: wire.Structure(append(serial, may("DurationSeconds", wire.Integer(900, 129600)))...)},
		{Name: "AssumeRole", Do: s.assumeRole, Input: wire.Structure(append(serial, must("RoleArn", arn), must("RoleSessionName", wire.String(2, 64, `[\w+=,.@-]*`)),
			may("PolicyArns", wire.List(wire.Structure(may("arn", arn)), 0, 0)), may("Policy", documentShape), may("DurationSeconds", wire.Integer(900, 43200)),
			may("Tags", tagsShape), may("TransitiveTagKeys", wire.List(tagKeyShape, 0, 50)), may("ExternalId", wire.String(2, 1224, `[\w+=,.@:\/-]*`)),
			may("SourceIdentity", wire.String(2, 64, `[\w+=,.@-]*`)))...)},
	}
}

// session is what a session token says of its bearer. It gives no rights, so it is not
// sealed.
type session struct {
	ARN string `json:"arn"`
	ID  string `json:"id"`
}

func (s session) token() string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // two strings
	}
	return base64.StdEncoding.EncodeToString(b)
}

// sessionOf reads the token of a call; ok is false if it has none of ours.
func sessionOf(c *wire.Call) (s session, ok bool) {
	b, err := base64.StdEncoding.DecodeString(c.Session)
	return s, err == nil && len(b) > 0 && json.Unmarshal(b, &s) == nil && s.ARN != "" && s.ID != ""
}

func (s *service) identity(_ context.Context, c *wire.Call) (any, error) {
	who := session{rootARN(c.Account), c.Account}
	if c.Function != "" {
		who = session{"arn:aws:sts::" + c.Account + ":assumed-role/wasmill/" + c.Function, derivedID("AROA", c.Account) + ":" + c.Function}
	}
	if in, ok := sessionOf(c); ok && strings.Contains(in.ARN, "::"+c.Account+":") {
		who = in
	}
	return struct {
		ARN     string `json:"Arn"`
		ID      string `json:"UserId"`
		Account string `json:"Account"`
	}{who.ARN, who.ID, c.Account}, nil
}

type keys struct {
	Key     string    `json:"AccessKeyId"`
	Secret  string    `json:"SecretAccessKey"`
	Token   string    `json:"SessionToken"`
	Expires wire.Time `json:"Expiration"`
}

// issue makes credentials for an account. Nobody asks when they expire.
func issue(account string, s session, seconds int64) keys {
	var secret [30]byte
	_, _ = rand.Read(secret[:]) // never fails
	return keys{wire.SessionKey(account), base64.StdEncoding.EncodeToString(secret[:]), s.token(), wire.Time(now().Add(time.Duration(seconds) * time.Second))}
}

func (s *service) sessionToken(_ context.Context, c *wire.Call) (any, error) {
	return struct {
		Credentials keys `json:"Credentials"`
	}{issue(c.Account, session{rootARN(c.Account), c.Account}, cmp.Or(c.In.Int("DurationSeconds"), 43200))}, nil
}

// assumeRole gives credentials for the account of the role. The role need not be there.
func (s *service) assumeRole(ctx context.Context, c *wire.Call) (any, error) {
	arn := c.In.String("RoleArn")
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || parts[1] != "aws" || parts[2] != "iam" || len(parts[4]) != 12 || strings.Trim(parts[4], "0123456789") != "" ||
		!strings.HasPrefix(parts[5], "role/") || strings.HasSuffix(parts[5], "/") {
		return nil, invalid("%s is invalid", arn)
	}
	if err := checkSessionTags(c); err != nil {
		return nil, err
	}
	if text := c.In.String("Policy"); text != "" {
		if err := checkPermissions(text, false); err != nil {
			return nil, err
		}
	}
	account, name := parts[4], parts[5][strings.LastIndexByte(parts[5], '/')+1:]
	seconds, id := cmp.Or(c.In.Int("DurationSeconds"), 3600), derivedID("AROA", arn)
	r, err := s.role(ctx, account, name)
	if e, ok := errors.AsType[*wire.Error](err); err != nil && (!ok || e.Code != "NoSuchEntity") {
		return nil, err
	}
	if err == nil {
		id = r.ID
		if seconds > r.MaxSession {
			return nil, invalid("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
		}
	}
	in := c.In.String("RoleSessionName")
	who := session{"arn:aws:sts::" + account + ":assumed-role/" + name + "/" + in, id + ":" + in}
	type user struct {
		ID  string `json:"AssumedRoleId"`
		ARN string `json:"Arn"`
	}
	return struct {
		Credentials keys   `json:"Credentials"`
		User        user   `json:"AssumedRoleUser"`
		Source      string `json:"SourceIdentity,omitempty"`
	}{issue(account, who, seconds), user{who.ID, who.ARN}, c.In.String("SourceIdentity")}, nil
}

func checkSessionTags(c *wire.Call) error {
	tags := tagsOf(c.In)
	if doubled(tags, strings.EqualFold) {
		return wire.Errorf("InvalidParameterValue", "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
	}
	for _, key := range c.In.Strings("TransitiveTagKeys") {
		if !doubled(append(tags[:len(tags):len(tags)], tag{Key: key}), strings.EqualFold) {
			return wire.Errorf("InvalidParameterValue", "The specified transitive tag key must be included in the requested tags.")
		}
	}
	return nil
}
