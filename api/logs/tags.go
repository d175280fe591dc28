package logs

import (
	"context"
	"strings"

	"github.com/wasmill/wasmill/api/wire"
)

func (s *service) tagOps() []*wire.Operation {
	keys := wire.List(tagKeyShape, 0, 50)
	return []*wire.Operation{
		{Name: "TagResource", Input: wire.Structure(must("resourceArn", resourceARN), must("tags", tagsShape)), Do: s.tag},
		{Name: "UntagResource", Input: wire.Structure(must("resourceArn", resourceARN), must("tagKeys", keys)), Do: s.untag},
		{Name: "ListTagsForResource", Input: wire.Structure(must("resourceArn", resourceARN)), Do: s.listTags},
		{Name: "TagLogGroup", Input: wire.Structure(must("logGroupName", groupShape), must("tags", tagsShape)), Do: s.tag},
		{Name: "UntagLogGroup", Input: wire.Structure(must("logGroupName", groupShape), must("tags", wire.List(tagKeyShape, 1, 0))), Do: s.untag},
		{Name: "ListTagsLogGroup", Input: wire.Structure(must("logGroupName", groupShape)), Do: s.listTags},
	}
}

// maxTags is the most tags of a group.
const maxTags = 50

func checkTags(tags map[string]string) error {
	for key := range tags {
		if strings.HasPrefix(key, "aws:") {
			return invalid("aws: prefixed tag key names are not allowed for external use.")
		}
	}
	return nil
}

// tagged is the group whose tags a call is about.
func tagged(c *wire.Call) (string, error) {
	if c.In.Has("resourceArn") {
		return ofARN(c, c.In.String("resourceArn"))
	}
	return c.In.String("logGroupName"), nil
}

func (s *service) tag(_ context.Context, c *wire.Call) (any, error) {
	name, err := tagged(c)
	if err != nil {
		return nil, err
	}
	return nil, fault(s.Store.SetTags(name, func(tags map[string]string) error {
		for key := range c.In.Map("tags") {
			tags[key] = c.In.Map("tags").String(key)
		}
		if len(tags) > maxTags {
			return &wire.Error{Code: codeTooManyTags, Message: "The resource has too many tags: it can have 50.", Fields: map[string]any{"resourceName": name}}
		}
		return checkTags(tags)
	}))
}

func (s *service) untag(_ context.Context, c *wire.Call) (any, error) {
	name, err := tagged(c)
	if err != nil {
		return nil, err
	}
	keys := append(c.In.Strings("tagKeys"), c.In.Strings("tags")...)
	return nil, fault(s.Store.SetTags(name, func(tags map[string]string) error {
		for _, key := range keys {
			delete(tags, key)
		}
		return nil
	}))
}

func (s *service) listTags(_ context.Context, c *wire.Call) (any, error) {
	name, err := tagged(c)
	if err != nil {
		return nil, err
	}
	g, err := s.Store.Group(name)
	if err != nil {
		return nil, fault(err)
	}
	out := struct {
		Tags map[string]string `json:"tags"`
	}{g.Tags}
	if out.Tags == nil {
		out.Tags = map[string]string{}
	}
	return out, nil
}
