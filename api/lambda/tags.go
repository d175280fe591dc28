package lambda

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/functions"
)

func (s *service) tagOps() []*wire.Operation {
	const at = "/2017-03-31/tags/{Resource+}"
	return []*wire.Operation{
		{Name: "TagResource", Method: "POST", Path: at, Status: http.StatusNoContent, Input: wire.Structure(byResource, must("Tags", tagsShape)), Do: s.tagResource},
		{Name: "UntagResource", Method: "DELETE", Path: at, Status: http.StatusNoContent, Input: untagInput, Do: s.untagResource},
		{Name: "ListTags", Method: "GET", Path: at, Input: wire.Structure(byResource), Do: s.listTags},
	}
}

var (
	byResource = path("Resource", wire.String(1, 256, `arn:(aws[a-zA-Z-]*):lambda:[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:(function:[a-zA-Z0-9-_]+(:(\$LATEST|[a-zA-Z0-9-_]+))?|code-signing-config:csc-[a-z0-9]{17}|event-source-mapping:[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|capacity-provider:[a-zA-Z0-9-_]+)`))
	untagInput = wire.Structure(byResource, wire.Member{Name: "TagKeys", Key: "tagKeys", In: wire.InQuery, Required: true, Shape: keysShape})
)

// What AWS allows of tags (Lambda, "Using tags").
const (
	mostTags    = 50
	maxTagKey   = 128
	maxTagValue = 256
)

// checkTags says what is wrong with all tags of a resource together.
func checkTags(tags map[string]string) error {
	if len(tags) > mostTags {
		return invalid("Number of tags exceeds resource tag limit.")
	}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		switch {
		case key == "" || wire.Length(key) > maxTagKey:
			return invalid("The tag key %q is not valid: want 1 to %d characters.", key, maxTagKey)
		case wire.Length(tags[key]) > maxTagValue:
			return invalid("The value of tag %q is not valid: want at most %d characters.", key, maxTagValue)
		case strings.HasPrefix(strings.ToLower(key), "aws:"):
			return invalid("The tag key %q is not valid: aws: is a reserved prefix.", key)
		}
	}
	return nil
}

func stringsOf(in wire.Values) map[string]string {
	if len(in) == 0 {
		return nil
	}
	out := make(map[string]string, len(in))
	for key := range in {
		out[key] = in.String(key)
	}
	return out
}

// taggedSetting is a setting of functions that can be made by a tag.
type taggedSetting struct {
	want      string
	parameter bool // AWS has one for it too
	// set gives c what the tag's value says; false if it says nothing. "" is how it is
	// without the tag.
	set func(c *functions.Config, value string) bool
	get func(c functions.Config) string
}

var taggedSettings = map[string]taggedSetting{
	ownTag + "isolation": {
		want: string(functions.IsolationEnvironment) + " or " + string(functions.IsolationInvocation),
		set: func(c *functions.Config, value string) bool {
			c.Isolation = functions.Isolation(value)
			return value == "" || c.Isolation == functions.IsolationEnvironment || c.Isolation == functions.IsolationInvocation
		},
		get: func(c functions.Config) string { return string(c.WithDefaults().Isolation) },
	},
	ownTag + "concurrency": {
		want: "a whole number, 0 or more", parameter: true,
		set: func(c *functions.Config, value string) bool {
			if c.Concurrency = nil; value == "" {
				return true
			}
			n, err := strconv.Atoi(value)
			c.Concurrency = &n
			return err == nil && n >= 0
		},
		get: func(c functions.Config) string {
			if c.Concurrency == nil {
				return ""
			}
			return strconv.Itoa(*c.Concurrency)
		},
	},
	ownTag + "allow": {
		want: "places as host:port, with blanks or commas between them",
		set: func(c *functions.Config, value string) bool {
			c.Allow = words(value)
			return !slices.ContainsFunc(c.Allow, func(p string) bool { _, err := functions.ParseAllow(p); return err != nil })
		},
		get: func(c functions.Config) string { return strings.Join(c.Allow, " ") },
	},
	ownTag + "emit": {
		want: "names of streams, with blanks or commas between them",
		set: func(c *functions.Config, value string) bool {
			c.Emits = words(value)
			return !slices.ContainsFunc(c.Emits, func(name string) bool { return !functions.ValidStreamName(name) })
		},
		get: func(c functions.Config) string { return strings.Join(c.Emits, " ") },
	},
}

func words(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' })
}

// applyTags makes of c what the added tags say of it.
func applyTags(c *functions.Config, added map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(added)) {
		if !strings.HasPrefix(key, ownTag) {
			continue
		}
		setting, ok := taggedSettings[key]
		if !ok {
			return invalid("Tag %s: wasmill has no such setting of functions: want one of %s.", key, strings.Join(slices.Sorted(maps.Keys(taggedSettings)), ", "))
		}
		if added[key] == "" || !setting.set(c, added[key]) {
			return invalid("Tag %s: value %q: want %s.", key, added[key], setting.want)
		}
	}
	return nil
}

// tagsOf are the tags of a function as they are shown.
func (s *service) tagsOf(ctx context.Context, name string) (map[string]string, error) {
	a, err := s.Functions.Attributes(ctx, name)
	if err != nil {
		return nil, err
	}
	v, err := s.Functions.Resolve(ctx, name, "")
	if err != nil {
		return nil, err
	}
	return shownFunctionTags(v.Config, a.Tags), nil
}

// shownFunctionTags are the tags that a function was given, and those that say how it is set
// otherwise. A tag stays as it was written while it says what is so; else it says what is, or
// is not there. What AWS has a parameter for is shown as a tag only if one was given.
func shownFunctionTags(c functions.Config, given map[string]string) map[string]string {
	tags := map[string]string{}
	maps.Copy(tags, given)
	for key, setting := range taggedSettings {
		var usual, says functions.Config
		is := setting.get(c)
		said, tagged := tags[key]
		switch {
		case tagged && setting.set(&says, said) && setting.get(says) == is:
		case is == setting.get(usual):
			delete(tags, key)
		case tagged || !setting.parameter:
			tags[key] = is
		}
	}
	return tags
}

// resource is the function that c's ARN names, or the UUID of the mapping.
func resource(c *wire.Call) (r ref, mapping string, err error) {
	arn := c.In.String("Resource")
	parts := strings.SplitN(arn, ":", 7)
	switch {
	case parts[4] != c.Account:
		return r, "", notAuthorized(c, arn)
	case parts[3] != c.Region:
		return r, "", notFound("Functions from '%s' are not reachable in this region ('%s')", parts[3], c.Region)
	case parts[5] == "event-source-mapping":
		return r, parts[6], nil
	case parts[5] != "function":
		return r, "", notFound("The resource you requested does not exist.")
	case strings.Contains(parts[6], ":"):
		return r, "", invalid("Tags on function aliases and versions are not supported. Please specify a function ARN.")
	}
	return ref{Name: parts[6]}, "", nil
}

func (s *service) tagResource(ctx context.Context, c *wire.Call) (any, error) {
	tags := stringsOf(c.In.Map("Tags"))
	r, mapping, err := resource(c)
	switch {
	case err != nil:
		return nil, err
	case len(tags) == 0:
		return nil, invalid("An error occurred and the request cannot be processed.")
	case mapping != "":
		return nil, s.tagMapping(ctx, c, mapping, tags, nil)
	}
	return nil, s.tagFunction(ctx, c, r, tags, nil)
}

func (s *service) untagResource(ctx context.Context, c *wire.Call) (any, error) {
	r, mapping, err := resource(c)
	switch {
	case err != nil:
		return nil, err
	case mapping != "":
		return nil, s.tagMapping(ctx, c, mapping, nil, c.In.Strings("TagKeys"))
	}
	return nil, s.tagFunction(ctx, c, r, nil, c.In.Strings("TagKeys"))
}

// tagFunction changes a function's tags, and with them what they set. What is shown as a tag
// can be taken back as one.
func (s *service) tagFunction(ctx context.Context, c *wire.Call, r ref, add map[string]string, remove []string) error {
	_, err := s.Functions.Edit(ctx, r.Name, func(config *functions.Config, a *functions.Attributes) error {
		shown := shownFunctionTags(*config, a.Tags)
		for _, key := range remove {
			if _, is := shown[key]; is && taggedSettings[key].set != nil {
				taggedSettings[key].set(config, "")
			}
		}
		maps.Copy(a.Tags, add)
		for _, key := range remove {
			delete(a.Tags, key)
		}
		if err := applyTags(config, add); err != nil {
			return err
		}
		return checkTags(a.Tags)
	})
	if err != nil {
		return fault(c, r, err)
	}
	return nil
}

func (s *service) listTags(ctx context.Context, c *wire.Call) (any, error) {
	r, mapping, err := resource(c)
	var tags map[string]string
	switch {
	case err != nil:
		return nil, err
	case mapping != "":
		tags, err = s.mappingTags(ctx, c, mapping)
	default:
		tags, err = s.tagsOf(ctx, r.Name)
	}
	if err != nil {
		return nil, fault(c, r, err)
	}
	if tags == nil {
		tags = map[string]string{}
	}
	return struct{ Tags map[string]string }{tags}, nil
}
