package kinesis

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/stream"
)

func (s *service) tagOps() []*wire.Operation {
	return []*wire.Operation{
		{Name: "AddTagsToStream", Input: addTagsInput, Do: s.addTags},
		{Name: "RemoveTagsFromStream", Input: removeTagsInput, Do: s.removeTags},
		{Name: "ListTagsForStream", Input: listTagsInput, Do: s.listTags},
		{Name: "TagResource", Input: tagResourceInput, Do: s.tagResource},
		{Name: "UntagResource", Input: untagResourceInput, Do: s.untagResource},
		{Name: "ListTagsForResource", Input: listTagsForResourceInput, Do: s.listTagsForResource},
	}
}

// maxTags is how many tags a stream or consumer may have.
const maxTags = 50

var addTagsInput = wire.Structure(must("Tags", tagsShape), byName, byARN, byID)

func (s *service) addTags(ctx context.Context, c *wire.Call) (any, error) {
	d, err := s.find(ctx, c)
	if err != nil {
		return nil, err
	}
	return nil, s.changeTags(ctx, d.Ref, "", func(tags map[string]string) (map[string]string, error) {
		return mergeTags(d.Ref, tags, c.In.Map("Tags"))
	})
}

var removeTagsInput = wire.Structure(must("TagKeys", tagKeysShape), byName, byARN, byID)

func (s *service) removeTags(ctx context.Context, c *wire.Call) (any, error) {
	d, err := s.find(ctx, c)
	if err != nil {
		return nil, err
	}
	return nil, s.changeTags(ctx, d.Ref, "", func(tags map[string]string) (map[string]string, error) {
		return dropTags(d.Ref, tags, c.In.Strings("TagKeys"))
	})
}

var listTagsInput = wire.Structure(
	may("Limit", wire.Integer(1, 50)),
	may("ExclusiveStartTagKey", tagKeyShape),
	byName, byARN, byID,
)

type tag struct{ Key, Value string }

func tagList(tags map[string]string) []tag {
	list := make([]tag, 0, len(tags))
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, tag{k, tags[k]})
	}
	return list
}

func (s *service) listTags(ctx context.Context, c *wire.Call) (any, error) {
	d, err := s.find(ctx, c)
	if err != nil {
		return nil, err
	}
	last := c.In.String("ExclusiveStartTagKey")
	list := slices.DeleteFunc(tagList(d.Attributes.Tags), func(t tag) bool { return t.Key <= last })
	page := limit(c.In.Int("Limit"), maxTags)
	return struct {
		Tags        []tag
		HasMoreTags bool
	}{list[:min(page, len(list))], len(list) > page}, nil
}

var tagResourceInput = wire.Structure(must("Tags", tagsShape), must("ResourceARN", resourceARNShape), byID)

func (s *service) tagResource(ctx context.Context, c *wire.Call) (any, error) {
	d, consumer, err := s.resource(ctx, c)
	if err != nil {
		return nil, err
	}
	return nil, s.changeTags(ctx, d.Ref, consumer, func(tags map[string]string) (map[string]string, error) {
		return mergeTags(d.Ref, tags, c.In.Map("Tags"))
	})
}

var untagResourceInput = wire.Structure(must("TagKeys", tagKeysShape), must("ResourceARN", resourceARNShape), byID)

func (s *service) untagResource(ctx context.Context, c *wire.Call) (any, error) {
	d, consumer, err := s.resource(ctx, c)
	if err != nil {
		return nil, err
	}
	return nil, s.changeTags(ctx, d.Ref, consumer, func(tags map[string]string) (map[string]string, error) {
		return dropTags(d.Ref, tags, c.In.Strings("TagKeys"))
	})
}

var listTagsForResourceInput = wire.Structure(must("ResourceARN", resourceARNShape), byID)

func (s *service) listTagsForResource(ctx context.Context, c *wire.Call) (any, error) {
	d, consumer, err := s.resource(ctx, c)
	if err != nil {
		return nil, err
	}
	tags := d.Attributes.Tags
	if consumer != "" {
		i := consumerIndex(d.Attributes.Consumers, consumer)
		tags = d.Attributes.Consumers[i].Tags
	}
	return struct{ Tags []tag }{tagList(tags)}, nil
}

// resource is the stream that the call's ResourceARN is, or is a consumer of: then
// consumer is the part of its ARN that tells it from others, name:timestamp.
func (s *service) resource(ctx context.Context, c *wire.Call) (d stream.Description, consumer string, err error) {
	arn := c.In.String("ResourceARN")
	ref, consumer, ok := parseARN(arn)
	if !ok {
		return d, "", invalid("Invalid ResourceARN: %s", arn)
	}
	if err := own(c, ref, arn); err != nil {
		return d, "", err
	}
	if ref, err = s.ref(ctx, c, ref.Name, "", c.In.String("StreamId")); err != nil {
		return d, "", err
	}
	if d, err = s.describe(ctx, ref); err != nil {
		return d, "", err
	}
	if consumer != "" && consumerIndex(d.Attributes.Consumers, consumer) < 0 {
		return d, "", noConsumer(ref, arn)
	}
	return d, consumer, nil
}

// changeTags gives the stream, or one of its consumers, the tags that change makes
// of those it has.
func (s *service) changeTags(ctx context.Context, ref stream.Ref, consumer string, change func(map[string]string) (map[string]string, error)) error {
	_, err := s.Streams.SetAttributes(ctx, ref, func(a *stream.Attributes) (err error) {
		if consumer == "" {
			a.Tags, err = change(a.Tags)
			return err
		}
		i := consumerIndex(a.Consumers, consumer)
		if i < 0 {
			return noConsumer(ref, consumerARN(ref, consumer))
		}
		a.Consumers = slices.Clone(a.Consumers)
		a.Consumers[i].Tags, err = change(a.Consumers[i].Tags)
		return err
	})
	if err != nil {
		return s.fault(ctx, ref, err)
	}
	return nil
}

// mergeTags is tags with those of a call added. It changes neither.
func mergeTags(ref stream.Ref, tags map[string]string, add wire.Values) (map[string]string, error) {
	merged := make(map[string]string, len(tags)+len(add))
	maps.Copy(merged, tags)
	var texts []string
	for k := range add {
		merged[k] = add.String(k)
		texts = append(texts, k, merged[k])
	}
	if err := checkTags(texts, "add tags to stream", ref); err != nil {
		return nil, err
	}
	if len(merged) > maxTags {
		return nil, invalid("Failed to add tags to stream %s under account %s because a given stream cannot have more than %d tags associated with it.", ref.Name, ref.Account, maxTags)
	}
	return merged, nil
}

// dropTags is tags without those keys.
func dropTags(ref stream.Ref, tags map[string]string, keys []string) (map[string]string, error) {
	if err := checkTags(keys, "remove tags from stream", ref); err != nil {
		return nil, err
	}
	left := maps.Clone(tags)
	for _, k := range keys {
		delete(left, k)
	}
	return left, nil
}

// checkTags refuses characters as AWS does: in two steps, of which only the second
// knows that % is not among them, and with lists of which neither is quite right.
func checkTags(texts []string, doing string, ref stream.Ref) error {
	for _, t := range texts {
		if strings.ContainsFunc(t, func(r rune) bool { return !tagRune(r) }) {
			return invalid("Some tags contain invalid characters. Valid characters: Unicode letters, digits, white space, _ . / = + - %% @.")
		}
	}
	for _, t := range texts {
		if strings.Contains(t, "%") {
			return invalid("Failed to %s %s under account %s because some tags contained illegal characters. The allowed characters are Unicode letters, white-spaces, '_',',','/','=','+','-','@'.", doing, ref.Name, ref.Account)
		}
	}
	return nil
}

// tagRune is what AWS was seen to take, the colon of its newer documentation added.
func tagRune(r rune) bool {
	return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || strings.ContainsRune("_./-=+ @%:", r) ||
		0xC0 <= r && r <= 0x1FFF || 0x2C00 <= r && r <= 0xD7FF
}
